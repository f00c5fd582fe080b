/**
 * The built command line, never an old one: where sources are newer than dist,
 * it is built first, by one test process at a time.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmdirSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const checkout = fileURLToPath(new URL("../..", import.meta.url));
const main = join(checkout, "dist", "cli", "main.js");
const lock = join(checkout, "build", "test-dist.lock");

function newest(folder: string): number {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
}

function isFresh(): boolean {
  return (statSync(main, { throwIfNoEntry: false })?.mtimeMs ?? 0) >= newest(join(checkout, "src"));
}

/** The path of bin/pycds, built from the sources as they are. */
export async function builtPycds(): Promise<string> {
  for (let waited = 0; !isFresh(); waited++) {
    try {
      mkdirSync(dirname(lock), { recursive: true });
      mkdirSync(lock);
    } catch {
      if (waited > 600) throw new Error(`${lock} is there for too long: delete it`);
      await sleep(100);
      continue;
    }
    try {
      const started = new Date();
      execFileSync(process.execPath, [join(checkout, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json"], { cwd: checkout, stdio: "inherit" });
      utimesSync(main, started, started);
    } finally {
      rmdirSync(lock);
    }
  }
  return join(checkout, "bin", "pycds");
}
