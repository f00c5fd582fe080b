/** The version of this toolchain, which archives record. */
import { readFileSync } from "node:fs";
import { z } from "zod";

/** package.json lies two folders up from here, in the sources and in dist alike. */
function readVersion(): string {
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))).version;
}

export const pycdsVersion: string = readVersion();

/** Whether what lies on the disk is still what was loaded, so that more of it can be: an upgrade may come while a program runs. */
export function isInstalledAsLoaded(): boolean {
  try {
    return readVersion() === pycdsVersion;
  } catch {
    return false; // being replaced
  }
}
