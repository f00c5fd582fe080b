/** Runs the command line from its sources, in a scratch home. */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess, SpawnSyncReturns } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { pythonEnvironment } from "../support/pythons.ts";

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
/** By its path: the command line runs in folders from which `tsx` would not be found. */
const tsx = pathToFileURL(fileURLToPath(new URL("../../node_modules/tsx/dist/loader.mjs", import.meta.url))).href;

export interface World {
  readonly root: string;
  readonly env: Record<string, string>;
  /** Folder that commands run in. */
  readonly work: string;
  pycds(args: readonly string[], env?: Record<string, string>): SpawnSyncReturns<string>;
  start(args: readonly string[], env?: Record<string, string>): ChildProcess;
  remove(): void;
}

export function makeWorld(name: string): World {
  const root = mkdtempSync(join(tmpdir(), `pycds-cli-${name}-`));
  const [work, temporary, cache] = ["work", "tmp", "cache"].map((folder) => {
    mkdirSync(join(root, folder));
    return join(root, folder);
  });
  if (work === undefined || temporary === undefined || cache === undefined) throw new Error("three folders");
  const env: Record<string, string> = { ...pythonEnvironment(), HOME: root, XDG_CACHE_HOME: cache, TMPDIR: temporary };
  for (const key of Object.keys(env)) if (key.startsWith("PYCDS")) delete env[key];
  delete env["VIRTUAL_ENV"];
  const argv = (args: readonly string[]): string[] => ["--import", tsx, main, ...args];
  return {
    root, env, work,
    pycds: (args, more = {}) => spawnSync(process.execPath, argv(args), { cwd: work, env: { ...env, ...more }, encoding: "utf8", input: "" }),
    start: (args, more = {}) => spawn(process.execPath, argv(args), { cwd: work, env: { ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] }),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}
