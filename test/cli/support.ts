/** Runs the command line in a scratch home. */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess, SpawnSyncReturns } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtPycds } from "../support/built.ts";
import { pythonEnvironment } from "../support/pythons.ts";

const pycds = await builtPycds();

export interface World {
  readonly root: string;
  readonly env: Record<string, string>;
  /** Folder that commands run in. */
  readonly work: string;
  readonly cache: string;
  readonly temporary: string;
  pycds(args: readonly string[], env?: Record<string, string>): SpawnSyncReturns<string>;
  start(args: readonly string[], env?: Record<string, string>): ChildProcess;
  remove(): void;
}

export function makeWorld(name: string): World {
  const root = realpathSync(mkdtempSync(join(tmpdir(), `pycds-cli-${name}-`)));
  const folder = (part: string): string => {
    mkdirSync(join(root, part));
    return join(root, part);
  };
  const [work, temporary, cache] = [folder("work"), folder("tmp"), folder("cache")];
  const env: Record<string, string> = { ...pythonEnvironment(), HOME: root, XDG_CACHE_HOME: cache, TMPDIR: temporary };
  for (const key of Object.keys(env)) if (key.startsWith("PYCDS")) delete env[key];
  delete env["VIRTUAL_ENV"];
  return {
    root, env, work, cache, temporary,
    pycds: (args, more = {}) => spawnSync(process.execPath, [pycds, ...args], { cwd: work, env: { ...env, ...more }, encoding: "utf8", input: "" }),
    start: (args, more = {}) => spawn(process.execPath, [pycds, ...args], { cwd: work, env: { ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] }),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}
