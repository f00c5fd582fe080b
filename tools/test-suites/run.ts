/** One run of one suite in one arm. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Arm } from "../test-cpython/prefix.ts";
import { limited } from "../test-cpython/process.ts";
import type { Outcomes } from "../test-cpython/outcomes.ts";
import { pytestOutcomes } from "./outcomes.ts";
import type { Suite } from "./suites.ts";

export interface SuiteRun {
  readonly outcomes: Outcomes;
  readonly seconds: number;
  /** Modules that the archive served, in all processes; and how many of them are the package's own. */
  readonly hits: number;
  readonly own: number;
  readonly stale: number;
  readonly text: string;
}

export async function runSuite(suite: Suite, exe: string, arm: Arm, folder: string, scratch: string, limitSeconds: number): Promise<SuiteRun> {
  const place = mkdtempSync(join(scratch, "run-"));
  const [xml, output, log, home, temporary] = ["junit.xml", "text", "log", "home", "tmp"].map((name) => join(place, name)) as [string, string, string, string, string];
  mkdirSync(home);
  mkdirSync(temporary);
  // one hash seed, since some suites name their tests by the order of sets; -s: SQLAlchemy's conftest then leaves sys.path alone
  const env = { PATH: "/usr/bin:/bin", HOME: home, TMPDIR: temporary, LANG: "C.UTF-8", TERM: "dumb", PYTHONHASHSEED: "1", PYCDS: "auto", ...(arm === "archived" ? { PYCDS_LOG: log } : {}) };
  const argv = [exe, "-s", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--basetemp", join(place, "base"), "--junit-xml", xml, ...suite.args];
  const started = performance.now();
  try {
    const ending = await limited(argv, { cwd: folder, env, output, limitMs: limitSeconds * 1000 });
    const seconds = (performance.now() - started) / 1000;
    const read = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");
    const events = read(log).split("\n");
    const hits = events.filter((line) => line.startsWith("pycds: hit "));
    const own = hits.filter((line) => line === `pycds: hit ${suite.module}` || line.startsWith(`pycds: hit ${suite.module}.`));
    const stale = events.filter((line) => line.startsWith("pycds: stale ")).length;
    return { outcomes: pytestOutcomes(existsSync(xml) ? read(xml) : undefined, ending), seconds, hits: hits.length, own: own.length, stale, text: read(output) };
  } finally {
    rmSync(place, { recursive: true, force: true, maxRetries: 3 });
  }
}
