/** The C timing helper (native/bench/pairs.c): built, called. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, failed, lastLines, run } from "./process.ts";
import type { Env } from "./process.ts";
import type { Arm, Sample } from "./types.ts";

/** The checkout: src/bench and dist/bench are both two levels below it. */
export const checkout = fileURLToPath(new URL("../..", import.meta.url));

const builder = join(checkout, "tools", "build-native.mjs");
const binary = join(checkout, "build", "native", "pycds_pairs");

/** Builds the helper unless it is up to date, and returns its path. */
export async function pairsHelper(env: Env): Promise<string> {
  const done = await run([process.execPath, builder, "--only", "pycds_pairs"], cleanEnv(env));
  if (done.status !== 0) {
    throw new PycdsError("BENCH_NO_HELPER", "cannot build the timing helper", lastLines(done.stderr, 2), { file: "native/bench/pairs.c", next: "apt-get install gcc libc6-dev" });
  }
  return binary;
}

interface Line {
  readonly wall_ns: number;
  readonly user_us: number;
  readonly sys_us: number;
  readonly minor_faults: number;
  readonly major_faults: number;
  readonly max_rss_kib: number;
  readonly blocks_read: number;
  readonly status: number | null;
  readonly signal: number | null;
}

/**
 * Runs an arm once. A program that fails is an error, never a sample.
 * @param stderr scratch file for the program's stderr
 * @param evict file of NUL-ended paths that are put out of the page cache first
 */
export async function timed(helper: string, arm: Arm, stderr: string, cwd?: string, evict?: string): Promise<Sample> {
  const argv = [helper, "-e", stderr, ...(evict === undefined ? [] : ["-c", evict]), "--", ...arm.argv];
  const done = await run(argv, cleanEnv({}, arm.env), cwd);
  if (done.status !== 0) throw failed(`time ${arm.name}`, arm.argv, done);
  const line = JSON.parse(done.stdout) as Line;
  if (line.status !== 0) {
    const end = line.signal === null ? `status ${String(line.status)}` : `signal ${line.signal}`;
    const said = lastLines(await readFile(stderr, "utf8").catch(() => ""));
    throw new PycdsError("BENCH_RUN_FAILED", `cannot measure ${arm.name}`, `\`${arm.argv.join(" ")}\` ended with ${end}${said === "" ? "" : `: ${said}`}`, { next: "make the program end with status 0 first" });
  }
  return {
    wallMs: line.wall_ns / 1e6,
    userMs: line.user_us / 1e3,
    sysMs: line.sys_us / 1e3,
    minorFaults: line.minor_faults,
    majorFaults: line.major_faults,
    maxRssKib: line.max_rss_kib,
    blocksRead: line.blocks_read,
  };
}
