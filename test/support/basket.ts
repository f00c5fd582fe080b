/** The pinned basket venvs that fidelity tests and measurements use. */
import { readFile } from "node:fs/promises";
import { probePython } from "../../src/bench/python.ts";
import { scratchFolder, scratchVenv } from "../../src/bench/scratch.ts";

const requirements = new URL("../../bench/requirements.txt", import.meta.url);

/**
 * The shared venv with the basket for an interpreter, made at the first call
 * (minutes) and kept in the cache folder. Do not change anything in it: take a copy.
 * @returns the venv's folder
 */
export async function basketVenv(exe: string): Promise<string> {
  return scratchVenv({ python: await probePython(exe, process.env), requirements: await readFile(requirements, "utf8"), folder: scratchFolder(process.env), env: process.env });
}
