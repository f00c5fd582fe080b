/** What a cold start must find out of the page cache. */
import { readdir, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cleanEnv, mustRun } from "./process.ts";
import type { Env } from "./process.ts";
import { venvPython } from "./scratch.ts";

const question = `
import json, os, sys
mapped = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if line.count("/") and len(line.split(None, 5)) > 5}
print(json.dumps({"stdlib": os.path.dirname(os.__file__), "mapped": sorted(path for path in mapped if path.startswith("/"))}))`;

/**
 * All files of the venvs and of their standard library, the interpreter and its
 * shared libraries, and the archives: whatever of these a start reads comes
 * from the disk, but for pages that another running process has mapped.
 */
export async function filesOfStarts(venvs: readonly string[], archives: readonly string[], env: Env): Promise<string[]> {
  const files = new Set(archives);
  for (const venv of venvs) {
    const done = await mustRun("ask what a start reads", [venvPython(venv), "-I", "-c", question], cleanEnv(env));
    const { stdlib, mapped } = JSON.parse(done.stdout) as { stdlib: string; mapped: string[] };
    for (const file of mapped) files.add(file);
    for (const folder of [join(venv, "lib"), stdlib]) {
      for (const entry of await readdir(await realpath(folder), { recursive: true, withFileTypes: true })) {
        if (entry.isFile()) files.add(join(entry.parentPath, entry.name));
      }
    }
    files.add(join(dirname(venvPython(venv)), "..", "pyvenv.cfg"));
  }
  return [...files].sort();
}
