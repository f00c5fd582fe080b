/** The version of this toolchain, which archives record. */
import { readFileSync } from "node:fs";
import { z } from "zod";

/** package.json lies two folders up from here, in the sources and in dist alike. */
export const pycdsVersion: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))).version;
