/**
 * CPython's own tests, stock against archived or restored, test by test:
 *
 *   npm run test:cpython -- [VERSION…|all] [--restored] [--types check|fast] [--tests a,b] [--jobs N] [--rounds N]
 *                           [--limit SECONDS] [--dir FOLDER] [--json] [--verbose]
 *
 * VERSION: 3.11, 3.12, 3.13, 3.14 (all of these when none is named). --restored:
 * `IMAGE -m test` of a warm image in the place of the archive. --types: with
 * PYCDS_TYPES set, over modules about classes; check prints each class that differs from stock's. --tests: modules
 * of the suite, modules.ts when not given. A test that differs is run again in
 * both arms, --rounds times in all (3). --limit: a module's time, 600 seconds.
 * --dir: where the copies of the interpreters stay ($XDG_CACHE_HOME/pycds-test-cpython).
 * --verbose shows what a run of ours that differs printed.
 *
 * Exit: 0 no difference but explained ones; 1 differences, or a module whose
 * code was not served; 2 usage. docs/cpython-tests.md says what was found.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { PycdsError, exitCode } from "../../src/base/errors.ts";
import { builtPycds } from "../../test/support/built.ts";
import { allPythons } from "../../test/support/pythons.ts";
import { readArguments, runScript, wholeNumber } from "../arguments.ts";
import { compare, differing } from "./compare.ts";
import type { Comparison, Difference } from "./compare.ts";
import { restoredModules, testModules, typesModules } from "./modules.ts";
import { preparePrefixes } from "./prefix.ts";
import type { Opposite, Prefixes } from "./prefix.ts";
import { runModule } from "./run.ts";
import type { ModuleRun } from "./run.ts";

const versions = ["3.11", "3.12", "3.13", "3.14"] as const;

interface Settings {
  readonly arm: Opposite;
  readonly types?: string;
  readonly rounds: number;
  readonly jobs: number;
  readonly limitSeconds: number;
  readonly cache: string;
  readonly verbose: boolean;
  readonly modules: readonly string[];
  readonly say: (text: string) => void;
}

interface ModuleReport extends Comparison {
  readonly module: string;
  /** Absent from this version's suite. */
  readonly absent?: true;
  readonly served: boolean;
  readonly hits: number;
  readonly notServed: Readonly<Record<string, number>>;
  readonly seconds: { readonly stock: number; readonly ours: number };
  readonly types: ModuleRun["types"];
  readonly diedIn?: string;
  readonly text?: string;
}

interface VersionReport {
  readonly version: string;
  readonly release?: string;
  /** Why nothing could be run. */
  readonly skipped?: string;
  readonly modules: readonly ModuleReport[];
}

/** The words that start our command line. */
const commandLine = (built: string): readonly string[] => [process.execPath, built];

async function testModule(module: string, version: string, prefixes: Prefixes, settings: Settings, scratch: string): Promise<ModuleReport> {
  const { arm, limitSeconds, types } = settings;
  const pycds = commandLine(await builtPycds());
  const stock: ModuleRun[] = [];
  const ours: ModuleRun[] = [];
  for (let round = 0; round < settings.rounds; round++) {
    stock.push(await runModule({ exe: prefixes.stock, arm: "stock", module, scratch, limitSeconds }));
    ours.push(await runModule({ exe: prefixes.ours, arm, module, scratch, limitSeconds, pycds, ...(types === undefined ? {} : { types }) }));
    const [s, a] = [stock[0]?.outcomes, ours[0]?.outcomes];
    if (s === undefined || a === undefined || differing(s, a).length === 0) break;
  }
  rmSync(join(scratch, `image-${module}`), { force: true });
  const [s, a] = [stock[0], ours[0]];
  if (s === undefined || a === undefined) throw new PycdsError("TEST_USAGE", "cannot compare", "--rounds is less than 1", { next: "ask for 1 round or more" });
  const comparison = compare(module, version, stock.map((run) => run.outcomes), ours.map((run) => run.outcomes), arm);
  return {
    module,
    ...comparison,
    // a round that was not ours proves nothing of what it is compared with
    served: ours.every((run) => run.served),
    hits: a.hits,
    types: { checked: a.types.checked, mismatches: ours.flatMap((run) => run.types.mismatches) },
    notServed: a.notServed,
    seconds: { stock: s.seconds, ours: a.seconds },
    ...(a.diedIn === undefined ? {} : { diedIn: a.diedIn }),
    ...(comparison.different.length > 0 ? { text: a.text } : {}),
  };
}

/** Runs `work` on each item, `jobs` at a time, in order of the items. */
async function pool<T, R>(items: readonly T[], jobs: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}

async function testVersion(version: string, settings: Settings): Promise<VersionReport> {
  const { say } = settings;
  const python = allPythons().find((each) => each.version === version);
  if (python === undefined) return { version, skipped: "there is no such interpreter on this machine", modules: [] };
  let prefixes: Prefixes;
  try {
    prefixes = await preparePrefixes(python.exe, settings.arm, commandLine(await builtPycds()), settings.cache, say);
  } catch (error) {
    if (error instanceof PycdsError && (error.code === "NO_TEST_PACKAGE" || error.code === "NOT_COPIED")) return { version, skipped: error.why, modules: [] };
    throw error;
  }
  say(`CPython ${prefixes.release}, ${settings.arm}: ${prefixes.built.split("\n")[0] ?? ""}`);
  const scratch = mkdtempSync(join(tmpdir(), "pycds-test-cpython-"));
  try {
    const modules = await pool(settings.modules, settings.jobs, async (module) => {
      const report = hasModule(prefixes, version, module) ? await testModule(module, version, prefixes, settings, scratch) : absentReport(module);
      say(line(report));
      for (const difference of report.different) say(`    ${show(difference, settings.arm)}`);
      return report;
    });
    return { version, release: prefixes.release, modules };
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
  }
}

function hasModule(prefixes: Prefixes, version: string, module: string): boolean {
  const file = join(prefixes.ours, "..", "..", "lib", `python${version}`, "test", module);
  return existsSync(`${file}.py`) || existsSync(join(file, "__init__.py"));
}

function absentReport(module: string): ModuleReport {
  return { module, absent: true, served: true, hits: 0, types: { checked: 0, mismatches: [] }, notServed: {}, tests: 0, same: 0, different: [], explained: [], flaky: [], seconds: { stock: 0, ours: 0 } };
}

function line(report: ModuleReport): string {
  const { module, same, different, explained, flaky } = report;
  const name = module.padEnd(22);
  if (report.absent === true) return `  ${name} not in this version's suite`;
  const checked = report.types.checked > 0 ? `, ${report.types.checked} classes compared, ${report.types.mismatches.length} mismatches` : "";
  const seconds = `${report.seconds.stock.toFixed(1)} s, ${report.seconds.ours.toFixed(1)} s`;
  const parts = [`${same} same`, `${different.length} different`, ...(explained.length > 0 ? [`${explained.length} explained`] : []), ...(flaky.length > 0 ? [`${flaky.length} flaky in stock`] : [])];
  return `  ${name} ${parts.join(", ")}; ${report.hits} hits${checked}; ${seconds}${report.served ? "" : "  NOT SERVED"}${report.diedIn === undefined ? "" : `  died in ${report.diedIn}`}`;
}

function show({ test, stock, ours, reason }: Difference, arm: Opposite): string {
  return `${test}: stock ${stock.join(", ")} | ${arm} ${ours.join(", ")}${reason === undefined ? "" : ` — ${reason}`}`;
}

function render({ version, release, skipped, modules }: VersionReport, { arm, verbose }: Settings): string {
  if (skipped !== undefined) return `CPython ${version}: skipped: ${skipped}\n`;
  const sum = (pick: (report: ModuleReport) => number): number => modules.reduce((total, report) => total + pick(report), 0);
  const lines = [`CPython ${release}: ${sum((one) => one.tests)} tests in ${modules.filter((one) => one.absent !== true).length} modules: ${sum((one) => one.same)} same, ${sum((one) => one.different.length)} different, ${sum((one) => one.explained.length)} explained, ${sum((one) => one.flaky.length)} flaky in stock`];
  const section = (title: string, pick: (report: ModuleReport) => readonly Difference[]): void => {
    const rows = modules.flatMap(pick);
    if (rows.length > 0) lines.push(`${title}:`, ...rows.map((row) => `  ${show(row, arm)}`));
  };
  section("different", (report) => report.different);
  section("explained", (report) => report.explained);
  section("flaky in stock", (report) => report.flaky);
  const checked = sum((one) => one.types.checked);
  if (checked > 0) lines.push(`${checked} classes compared with stock's, ${sum((one) => one.types.mismatches.length)} mismatches`, ...modules.flatMap((one) => one.types.mismatches.map((name) => `  ${one.module}: ${name}`)));
  const notServed = modules.filter((report) => !report.served);
  if (notServed.length > 0) lines.push(`${arm === "restored" ? "not run in a restored process" : "not served from the archive"}: ${notServed.map((report) => report.module).join(", ")}`);
  if (verbose) for (const { module, text } of modules) if (text !== undefined) lines.push(`---- ${module}, ${arm}:`, text);
  return `${lines.join("\n")}\n`;
}

function chosenVersions(words: readonly string[]): readonly string[] {
  if (words.length === 0 || words.includes("all")) return versions;
  for (const word of words) {
    if (!/^3\.\d+$/.test(word)) throw new PycdsError("TEST_USAGE", "cannot run CPython's tests", `"${word}" is no version`, { next: `name ${versions.join(", ")} or all` });
  }
  return words;
}

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = readArguments({
    args: [...argv],
    allowPositionals: true,
    options: {
      restored: { type: "boolean", default: false },
      types: { type: "string" },
      tests: { type: "string" },
      jobs: { type: "string", default: "1" },
      rounds: { type: "string", default: "3" },
      limit: { type: "string", default: "600" },
      dir: { type: "string" },
      json: { type: "boolean", default: false },
      verbose: { type: "boolean", default: false },
    },
  }, "npm run test:cpython -- 3.13 --tests test_import,test_code --restored --types check --rounds N --jobs N --limit SECONDS --dir FOLDER --json --verbose");
  const cache = values.dir ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "pycds-test-cpython");
  mkdirSync(cache, { recursive: true });
  const arm: Opposite = values.restored ? "restored" : "archived";
  const { types } = values;
  if (types !== undefined && (arm === "restored" || !["check", "fast"].includes(types))) {
    throw new PycdsError("TEST_USAGE", "cannot run CPython's tests", `--types is "${types}"`, { next: "give check or fast, without --restored" });
  }
  const settings: Settings = {
    arm,
    ...(types === undefined ? {} : { types }),
    rounds: wholeNumber(values.rounds, "--rounds"),
    jobs: wholeNumber(values.jobs, "--jobs"),
    limitSeconds: wholeNumber(values.limit, "--limit"),
    cache,
    verbose: values.verbose,
    modules: values.tests?.split(",").filter(Boolean) ?? (types === undefined ? (arm === "restored" ? restoredModules : testModules) : typesModules),
    say: (text) => void process.stderr.write(`${text}\n`),
  };
  const reports: VersionReport[] = [];
  for (const version of chosenVersions(positionals)) reports.push(await testVersion(version, settings));
  if (values.json) process.stdout.write(`${JSON.stringify({ versions: reports.map((one) => ({ ...one, modules: one.modules.map(({ text, ...rest }) => (values.verbose ? { ...rest, text } : rest)) })) }, null, 2)}\n`);
  else for (const report of reports) process.stdout.write(render(report, settings));
  const good = reports.every(({ modules }) => modules.every((one) => one.different.length === 0 && one.served && one.types.mismatches.length === 0));
  return good && reports.some((one) => one.modules.length > 0) ? exitCode.done : exitCode.no;
}

await runScript(async () => main(process.argv.slice(2)));
