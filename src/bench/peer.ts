/**
 * The peer, code-data-share, measured by its own workflow (its README):
 * PYCDSMODE=TRACE with PYCDSLIST, `cds.dump.run_dump`, PYCDSMODE=SHARE with PYCDSARCHIVE.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, mustRun } from "./process.ts";
import type { Env } from "./process.ts";
import { venvPython } from "./scratch.ts";
import type { Arm } from "./types.ts";

export const peerName = "code-data-share";
export const peerPin = "code-data-share==0.1.0";
const peerMinors = ["3.11", "3.12"];

/** Refuses an interpreter that the peer has no release for. */
export function checkPeer(minor: string): void {
  if (!peerMinors.includes(minor)) {
    throw new PycdsError("BENCH_PEER_VERSION", `cannot measure ${peerPin}`, `it does not exist for CPython ${minor}`, { next: "use CPython 3.11 or 3.12, or leave it out of --vs" });
  }
}

/** Traces and dumps an archive of the peer for one command; `venv` has the peer installed. */
export async function peerArm(venv: string, args: readonly string[], folder: string, env: Env, cwd?: string): Promise<Arm> {
  const python = venvPython(venv);
  const list = join(folder, "peer.lst");
  const image = join(folder, "peer.img");
  await mkdir(folder, { recursive: true });
  await Promise.all([rm(list, { force: true }), rm(image, { force: true })]); // its tracer appends
  await mustRun(`trace with ${peerName}`, [python, ...args], cleanEnv(env, { PYCDSMODE: "TRACE", PYCDSLIST: list }), undefined, cwd);
  await mustRun(`dump with ${peerName}`, [python, "-c", `import cds.dump; cds.dump.run_dump(${JSON.stringify(list)}, ${JSON.stringify(image)})`], cleanEnv(env), undefined, cwd);
  const share = { PYCDSMODE: "SHARE", PYCDSARCHIVE: image };
  const verbose = await mustRun(`run with ${peerName}`, [python, ...args], cleanEnv(env, { ...share, PYCDSVERBOSE: "1" }), undefined, cwd);
  if (!verbose.stderr.includes("[cds] exec_module cached")) {
    throw new PycdsError("BENCH_PEER_IDLE", `cannot measure ${peerName}`, "its archive served no module", { file: image });
  }
  return { name: "peer", argv: [python, ...args], env: cleanEnv(env, share) };
}
