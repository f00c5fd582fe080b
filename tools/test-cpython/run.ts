/** One run of one test module in one arm. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lastStarted, outcomesOf, processName } from "./outcomes.ts";
import type { Outcomes } from "./outcomes.ts";
import { makeTestImage } from "./image.ts";
import { leftOut } from "./modules.ts";
import type { Arm, Opposite } from "./prefix.ts";
import { limited } from "./process.ts";

export interface ModuleRun {
  readonly outcomes: Outcomes;
  readonly seconds: number;
  /** Source modules that the archive served, or processes that were restored: the test process and its children. */
  readonly hits: number;
  /** Was the test module's own code served from the archive; did the tests run in a restored process? */
  readonly served: boolean;
  /** Reasons of refusals, stale modules and misses with their counts: of children that were started otherwise (-O, -v), or a defect. */
  readonly notServed: Readonly<Record<string, number>>;
  /** Classes that were compared with stock's (PYCDS_TYPES=check), and those that differed, by name. */
  readonly types: { readonly checked: number; readonly mismatches: readonly string[] };
  /** Where the process died: the test that it had begun last. */
  readonly diedIn?: string;
  /** The printed text. */
  readonly text: string;
}

export interface RunOptions {
  /** The interpreter of the arm; in the restored arm of which the image is made. */
  readonly exe: string;
  readonly arm: Arm | Opposite;
  readonly module: string;
  /** A folder for this module's runs alone, one after the other: HOME and the rest are the same in each, since an image is for one HOME. */
  readonly scratch: string;
  readonly limitSeconds: number;
  /** The command line that makes images; for the restored arm. */
  readonly pycds?: readonly string[];
  /** PYCDS_TYPES. */
  readonly types?: string;
  /** More options of `python -m test`. */
  readonly more?: readonly string[];
}

const decodeText = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

/** Runs `python -m test MODULE`, or `IMAGE -m test MODULE`, with nothing of our own environment. */
export async function runModule({ exe, arm, module, scratch, limitSeconds, pycds = [], types, more = [] }: RunOptions): Promise<ModuleRun> {
  const folder = join(scratch, `run-${module}`);
  const files = { xml: join(folder, "junit.xml"), text: join(folder, "text"), log: join(folder, "log"), witness: join(folder, "witness"), image: join(scratch, `image-${module}`) };
  const [home, temporary] = [join(folder, "home"), join(folder, "tmp")];
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  mkdirSync(home, { recursive: true });
  mkdirSync(temporary);
  // all arms have the same variables; stock has nothing that reads them
  const env = { PATH: "/usr/bin:/bin", HOME: home, TMPDIR: temporary, LANG: "C.UTF-8", TERM: "dumb", PYCDS: "auto", PYCDS_LOG: files.log, PYCDS_TEST_WITNESS: files.witness, ...(types === undefined ? {} : { PYCDS_TYPES: types }) };
  try {
    if (arm === "restored" && !existsSync(files.image)) await makeTestImage(pycds, exe, files.image, env);
    // regrtest's own limit comes first: it shows where every thread hangs
    const own = Math.max(1, limitSeconds - 15);
    const argv = [arm === "restored" ? files.image : exe, "-m", "test", "-v", "-u", "cpu,subprocess", "--randseed", "1", "--timeout", String(own), "--junit-xml", files.xml, ...(leftOut[module] ?? []).flatMap(({ pattern }) => ["--ignore", pattern]), ...more, module];
    const started = performance.now();
    const ending = await limited(argv, { cwd: folder, env, output: files.text, limitMs: limitSeconds * 1000 });
    const seconds = (performance.now() - started) / 1000;
    const text = decodeText(files.text);
    const outcomes = outcomesOf(existsSync(files.xml) ? decodeText(files.xml) : undefined, text, ending);
    const diedIn = outcomes.has(processName) ? lastStarted(text) : undefined;
    const log = decodeText(files.log);
    const told = arm === "restored" ? readRestored(log, files.image, text, decodeText(files.witness)) : readLog(log, arm, module);
    return { outcomes, seconds, text, types: readTypes(log), ...told, ...(diedIn === undefined ? {} : { diedIn }) };
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

type Told = Pick<ModuleRun, "hits" | "served" | "notServed">;

function countReasons(lines: readonly string[]): Record<string, number> {
  const reasons: Record<string, number> = {};
  for (const line of lines) reasons[line] = (reasons[line] ?? 0) + 1;
  return reasons;
}

/** Of all processes that wrote into the log. A difference is logged at once, the counts when a process ends as Python does. */
export function readTypes(log: string): ModuleRun["types"] {
  const all = (pattern: RegExp): string[] => [...log.matchAll(pattern)].map(([, found = ""]) => found);
  return { checked: all(/^pycds: types .* checked=(\d+)/gm).reduce((sum, text) => sum + Number(text), 0), mismatches: all(/^pycds: types mismatch: (.*)$/gm) };
}

function readLog(log: string, arm: Arm, module: string): Told {
  const lines = log.split("\n").flatMap((line) => {
    const [, kind, rest = ""] = /^pycds: (hit|miss|stale|refused) (.*)$/.exec(line) ?? [];
    return kind === undefined ? [] : [{ kind, rest }];
  });
  const hits = lines.filter(({ kind }) => kind === "hit");
  return {
    hits: hits.length,
    served: arm === "stock" || hits.some(({ rest }) => rest === `test.${module}`),
    notServed: countReasons(lines.filter(({ kind }) => kind !== "hit").map(({ kind, rest }) => `${kind}: ${rest.slice(rest.indexOf(": ") + 2)}`)),
  };
}

/**
 * The log says that the image was restored; regrtest's header names the process that ran the tests (its working
 * folder has the ID in its name: Lib/test/libregrtest/utils.py, get_work_dir); and the witness, in the restored
 * memory, wrote that ID at the end, so nothing was executed anew in between. A process that died has no end: for
 * it the log must do.
 */
export function readRestored(log: string, image: string, text: string, witness: string): Told {
  const lines = log.split("\n");
  const restored = lines.filter((line) => line === `pycds: restored ${image}`).length;
  const [, pid] = /^== cwd: .*\/test_python_(?:worker_)?(\d+)\S*$/m.exec(text) ?? [];
  const ended = /^Result: /m.test(text);
  const sawIt = pid !== undefined && witness.split("\n").includes(pid);
  return { hits: restored, served: restored > 0 && (sawIt || !ended), notServed: countReasons(lines.filter((line) => line.startsWith("pycds: refused ")).map((line) => line.replace(`${image}: `, "").slice("pycds: ".length))) };
}
