/**
 * Interleaved rounds. In each round every arm runs once; the order is rotated
 * from round to round, so that no arm is always the first or always follows
 * the same disturbance. A ratio is only ever taken within a round.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { countInstructions } from "./instructions.ts";
import { pairsHelper, timed } from "./pairs.ts";
import type { Env, Progress } from "./process.ts";
import { reportOf } from "./stats.ts";
import type { Arm, ArmName, BenchRun, Measured, Sample, Served } from "./types.ts";

/** A case that is ready to be measured. */
export interface Ready {
  readonly arms: readonly Arm[];
  readonly served?: Served;
  /** For cold starts: files that are put out of the page cache before each run. */
  readonly evict?: readonly string[];
  /** Why the peer takes no part, where it was wanted. */
  readonly peerFault?: string;
}

export interface Case {
  readonly name: string;
  /** Part of the geometric mean. */
  readonly counted: boolean;
  /** Called just before the case is measured: builds and installs what its arms need. */
  readonly prepare: () => Promise<Ready>;
}

export interface BenchOptions {
  /** Version, for the report. */
  readonly python: string;
  readonly cases: readonly Case[];
  /** Counted rounds; at least 21 for a figure that is quoted. */
  readonly rounds: number;
  /** Rounds before them that are not counted. */
  readonly warmups?: number;
  readonly env: Env;
  /** Working folder of the programs. */
  readonly cwd?: string;
  readonly progress?: Progress;
  /** Count instructions too, one run an arm. */
  readonly instructions?: boolean;
}

/** Measures the cases one after the other. */
export async function runBench(options: BenchOptions): Promise<BenchRun> {
  const { rounds, warmups = 2 } = options;
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new PycdsError("BENCH_ROUNDS", "cannot measure", `${rounds} rounds`, { next: "give a whole number of rounds, 21 or more for a figure that is quoted" });
  if (options.cases.length === 0) throw new PycdsError("BENCH_NO_CASES", "cannot measure", "there is no case", { next: "name cases of bench/basket.json" });
  const [loadBefore = 0] = loadavg();
  const helper = await pairsHelper(options.env);
  const scratch = await mkdtemp(join(tmpdir(), "pycds-bench-"));
  try {
    const measured: Measured[] = [];
    let cold = false;
    for (const one of options.cases) {
      const { arms, evict, ...known } = await one.prepare();
      const evicted = evict === undefined ? undefined : join(scratch, "evict");
      if (evicted !== undefined) await writeFile(evicted, (evict ?? []).map((file) => `${file}\0`).join(""));
      const samples = new Map<ArmName, Sample[]>(arms.map((arm) => [arm.name, []]));
      for (let round = -warmups; round < rounds; round += 1) {
        options.progress?.(round < 0 ? `${one.name}: warming up` : `${one.name}: round ${round + 1} of ${rounds}`);
        for (const arm of rotated(arms, round + warmups)) {
          const sample = await timed(helper, arm, join(scratch, "stderr"), options.cwd, evicted);
          if (round >= 0) samples.get(arm.name)?.push(sample);
        }
      }
      const instructions = options.instructions === true ? { instructions: await countInstructions(arms, options.env, scratch, options.cwd, (arm) => options.progress?.(`${one.name}: counting instructions, ${arm}`)) } : {};
      cold ||= evicted !== undefined;
      measured.push({ name: one.name, counted: one.counted, samples, ...instructions, ...known });
    }
    return {
      report: reportOf(options.python, measured),
      measured,
      rounds,
      warmups,
      cold,
      machine: { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, kernel: release(), loadBefore },
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The items, begun at a later one each time. */
export function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
