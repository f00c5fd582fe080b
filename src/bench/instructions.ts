/** Instruction counts by callgrind: they do not depend on the machine's mood. */
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, failed, run } from "./process.ts";
import type { Env } from "./process.ts";
import { onPath } from "./python.ts";
import type { Arm, ArmName } from "./types.ts";

/** User-mode instructions of one start of each arm, with one hash seed: between runs they vary by less than 1 %. */
export async function countInstructions(arms: readonly Arm[], env: Env, scratch: string, cwd: string | undefined, progress: (arm: ArmName) => void): Promise<Map<ArmName, number>> {
  const valgrind = await onPath("valgrind", env);
  if (valgrind === undefined) throw new PycdsError("BENCH_NO_VALGRIND", "cannot count instructions", "valgrind is not installed", { next: "apt-get install valgrind, or leave --instructions out" });
  const counts = new Map<ArmName, number>();
  for (const arm of arms) {
    progress(arm.name);
    const argv = [valgrind, "--tool=callgrind", `--callgrind-out-file=${join(scratch, "callgrind.out")}`, ...arm.argv];
    const done = await run(argv, cleanEnv({}, { ...arm.env, PYTHONHASHSEED: "1" }), cwd);
    const collected = /Collected : (\d+)/.exec(done.stderr)?.[1];
    if (done.status !== 0 || collected === undefined) throw failed(`count the instructions of ${arm.name}`, argv, done);
    counts.set(arm.name, Number(collected));
  }
  return counts;
}
