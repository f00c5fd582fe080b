/** The packages that cases need: pinned in fixtures/differential/tools.txt, in a venv that is kept in the cache folder. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { probePython } from "../../src/bench/python.ts";
import { copyVenv, scratchFolder, scratchVenv } from "../../src/bench/scratch.ts";
import { fixtures } from "./case.ts";

/** Makes a venv with the tools at `to`. Without a network or a package index that fails, unless it was made before. */
export async function copyOfTools(exe: string, to: string): Promise<void> {
  await copyVenv(await toolsVenv(exe), to, process.env);
}

async function toolsVenv(exe: string): Promise<string> {
  const requirements = await readFile(join(fixtures, "tools.txt"), "utf8");
  return scratchVenv({ python: await probePython(exe, process.env), requirements, folder: scratchFolder(process.env), env: process.env });
}

/** Why there are no tools for an interpreter; undefined when there are. */
export async function lacksTools(exe: string): Promise<string | undefined> {
  try {
    await toolsVenv(exe);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
