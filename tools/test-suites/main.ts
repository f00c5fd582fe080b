/**
 * Other people's test suites, stock against archived, test by test:
 *
 *   npm run test:suites -- [VERSION] [--suites a,b] [--rounds N] [--limit SECONDS] [--dir FOLDER] [--json] [--verbose]
 *
 * VERSION: 3.12 when none is named (the pins need 3.12 or later). A suite that
 * differs is run again in both arms, --rounds times in all (3). --limit: a
 * suite's time, 900 seconds. --dir: where venvs and source packages stay
 * ($XDG_CACHE_HOME/pycds-test-suites).
 *
 * Exit: 0 no difference; 1 differences, or a package that was not served; 2 usage.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { PycdsError, exitCode } from "../../src/base/errors.ts";
import { builtPycds } from "../../test/support/built.ts";
import { allPythons } from "../../test/support/pythons.ts";
import { readArguments, runScript, wholeNumber } from "../arguments.ts";
import { compare, differing } from "../test-cpython/compare.ts";
import type { Comparison } from "../test-cpython/compare.ts";
import { prepareVenvs, pinOf, suiteFolder } from "./prepare.ts";
import type { Venvs } from "./prepare.ts";
import { runSuite } from "./run.ts";
import type { SuiteRun } from "./run.ts";
import { suites } from "./suites.ts";
import type { Suite } from "./suites.ts";

interface Settings {
  readonly rounds: number;
  readonly limitSeconds: number;
  readonly scratch: string;
  readonly say: (text: string) => void;
}

interface SuiteReport extends Comparison {
  readonly suite: string;
  readonly version: string;
  readonly passed: number;
  readonly hits: number;
  readonly own: number;
  readonly stale: number;
  readonly seconds: { readonly stock: number; readonly archived: number };
  readonly text?: string;
}

async function testSuite(suite: Suite, minor: string, venvs: Venvs, settings: Settings): Promise<SuiteReport> {
  const folders = { stock: await suiteFolder(suite, venvs, "stock", settings.say), archived: await suiteFolder(suite, venvs, "archived", settings.say) };
  const runs: { stock: SuiteRun; archived: SuiteRun }[] = [];
  for (let round = 0; round < settings.rounds; round++) {
    const run = async (arm: "stock" | "archived"): Promise<SuiteRun> => runSuite(suite, venvs.exe[arm], arm, folders[arm], settings.scratch, settings.limitSeconds);
    runs.push({ stock: await run("stock"), archived: await run("archived") });
    const last = runs[0];
    if (last === undefined || differing(last.stock.outcomes, last.archived.outcomes).length === 0) break;
  }
  const first = runs[0];
  if (first === undefined) throw new PycdsError("TEST_USAGE", "cannot compare", "--rounds is less than 1", { next: "ask for 1 round or more" });
  const comparison = compare(suite.name, minor, runs.map((one) => one.stock.outcomes), runs.map((one) => one.archived.outcomes));
  return {
    suite: suite.name,
    version: pinOf(suite.name),
    ...comparison,
    passed: [...first.stock.outcomes.values()].filter((outcome) => outcome === "ok").length,
    hits: first.archived.hits,
    own: first.archived.own,
    stale: first.archived.stale,
    seconds: { stock: first.stock.seconds, archived: first.archived.seconds },
    ...(comparison.different.length > 0 || first.stock.outcomes.size === 0 ? { text: first.archived.text } : {}),
  };
}

/** A suite that compared nothing, or of which nothing came from the archive, is no proof. */
function proves(report: SuiteReport): boolean {
  return report.different.length === 0 && report.passed > 0 && report.own > 0;
}

function line(report: SuiteReport): string {
  const parts = [`${report.tests} tests`, `${report.passed} pass in stock`, `${report.different.length} different`, ...(report.flaky.length > 0 ? [`${report.flaky.length} flaky in stock`] : [])];
  const served = report.own > 0 ? `${report.hits} modules served, ${report.own} its own, ${report.stale} stale` : "NOT SERVED";
  return `  ${`${report.suite} ${report.version}`.padEnd(20)} ${parts.join(", ")}; ${served}; ${report.seconds.stock.toFixed(1)} s, ${report.seconds.archived.toFixed(1)} s`;
}

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = readArguments({
    args: [...argv],
    allowPositionals: true,
    options: {
      suites: { type: "string" },
      rounds: { type: "string", default: "3" },
      limit: { type: "string", default: "900" },
      dir: { type: "string" },
      json: { type: "boolean", default: false },
      verbose: { type: "boolean", default: false },
    },
  }, "npm run test:suites -- 3.12 --suites attrs,click --rounds N --limit SECONDS --dir FOLDER --json --verbose");
  const [rounds, limitSeconds] = [wholeNumber(values.rounds, "--rounds"), wholeNumber(values.limit, "--limit")];
  const minor = positionals[0] ?? "3.12";
  const names = values.suites?.split(",").filter(Boolean) ?? suites.map((one) => one.name);
  const chosen = names.map((name) => {
    const suite = suites.find((one) => one.name === name);
    if (suite === undefined) throw new PycdsError("TEST_USAGE", "cannot run the suites", `there is no suite "${name}"`, { next: `choose from ${suites.map((one) => one.name).join(", ")}` });
    return suite;
  });
  const python = allPythons().find((one) => one.version === minor);
  if (python === undefined) throw new PycdsError("TEST_USAGE", "cannot run the suites", `there is no CPython ${minor} on this machine`, { next: "name another version, or run `npx tsx tools/pythons/main.ts`" });
  const cache = values.dir ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "pycds-test-suites");
  mkdirSync(cache, { recursive: true });
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const venvs = await prepareVenvs(python.exe, [process.execPath, await builtPycds()], cache, say);
  say(`CPython ${venvs.release}: ${venvs.built.split("\n")[0] ?? ""}`);
  const scratch = mkdtempSync(join(tmpdir(), "pycds-test-suites-"));
  const reports: SuiteReport[] = [];
  try {
    for (const suite of chosen) {
      const report = await testSuite(suite, minor, venvs, { rounds, limitSeconds, scratch, say });
      reports.push(report);
      say(line(report));
      for (const { test, stock, ours } of [...report.different, ...report.flaky]) say(`    ${test}: stock ${stock.join(", ")} | archived ${ours.join(", ")}`);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ python: venvs.release, suites: reports.map(({ text, ...rest }) => (values.verbose ? { ...rest, text } : rest)) }, null, 2)}\n`);
  else {
    const sum = (pick: (report: SuiteReport) => number): number => reports.reduce((total, report) => total + pick(report), 0);
    process.stdout.write(`CPython ${venvs.release}: ${sum((one) => one.tests)} tests of ${reports.length} packages: ${sum((one) => one.same)} same, ${sum((one) => one.different.length)} different, ${sum((one) => one.flaky.length)} flaky in stock\n`);
    if (values.verbose) for (const { suite, text } of reports) if (text !== undefined) process.stdout.write(`---- ${suite}, archived:\n${text}\n`);
  }
  return reports.every(proves) ? exitCode.done : exitCode.no;
}

await runScript(async () => main(process.argv.slice(2)));
