/** One run of one test module in one arm. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lastStarted, outcomesOf, processName } from "./outcomes.ts";
import type { Outcomes } from "./outcomes.ts";
import type { Arm } from "./prefix.ts";
import { limited } from "./process.ts";

export interface ModuleRun {
  readonly outcomes: Outcomes;
  readonly seconds: number;
  /** Source modules that the archive served, in the test process and its children. */
  readonly hits: number;
  /** Was the test module's own code served? */
  readonly served: boolean;
  /** Reasons of refusals, stale modules and misses with their counts: of children that were started otherwise (-O, -v), or a defect. */
  readonly notServed: Readonly<Record<string, number>>;
  /** Where the process died: the test that it had begun last. */
  readonly diedIn?: string;
  /** The printed text. */
  readonly text: string;
}

export interface RunOptions {
  readonly exe: string;
  readonly arm: Arm;
  readonly module: string;
  /** Scratch folder; nothing in it outlives the run. */
  readonly scratch: string;
  readonly limitSeconds: number;
  /** More options of `python -m test`. */
  readonly more?: readonly string[];
}

const decodeText = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

/** Runs `python -m test MODULE` with nothing of our own environment. */
export async function runModule({ exe, arm, module, scratch, limitSeconds, more = [] }: RunOptions): Promise<ModuleRun> {
  const folder = mkdtempSync(join(scratch, "run-"));
  const files = { xml: join(folder, "junit.xml"), text: join(folder, "text"), log: join(folder, "log") };
  const [home, temporary] = [join(folder, "home"), join(folder, "tmp")];
  mkdirSync(home);
  mkdirSync(temporary);
  // both arms have the same variables; stock has nothing that reads them
  const env = { PATH: "/usr/bin:/bin", HOME: home, TMPDIR: temporary, LANG: "C.UTF-8", TERM: "dumb", PYCDS: "auto", PYCDS_LOG: files.log };
  // regrtest's own limit comes first: it shows where every thread hangs
  const own = Math.max(1, limitSeconds - 15);
  const argv = [exe, "-m", "test", "-v", "-u", "cpu,subprocess", "--randseed", "1", "--timeout", String(own), "--junit-xml", files.xml, ...more, module];
  const started = performance.now();
  try {
    const ending = await limited(argv, { cwd: folder, env, output: files.text, limitMs: limitSeconds * 1000 });
    const seconds = (performance.now() - started) / 1000;
    const text = decodeText(files.text);
    const outcomes = outcomesOf(existsSync(files.xml) ? decodeText(files.xml) : undefined, text, ending);
    const diedIn = outcomes.has(processName) ? lastStarted(text) : undefined;
    return { outcomes, seconds, text, ...readLog(decodeText(files.log), arm, module), ...(diedIn === undefined ? {} : { diedIn }) };
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function readLog(log: string, arm: Arm, module: string): Pick<ModuleRun, "hits" | "served" | "notServed"> {
  let hits = 0;
  let served = arm === "stock";
  const notServed: Record<string, number> = {};
  for (const line of log.split("\n")) {
    const [, kind, rest = ""] = /^pycds: (hit|miss|stale|refused) (.*)$/.exec(line) ?? [];
    if (kind === "hit") {
      hits += 1;
      if (rest === `test.${module}`) served = true;
    } else if (kind !== undefined) {
      const reason = `${kind}: ${rest.slice(rest.indexOf(": ") + 2)}`;
      notServed[reason] = (notServed[reason] ?? 0) + 1;
    }
  }
  return { hits, served, notServed };
}
