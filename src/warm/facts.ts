/** What the driver (python/pycds_warm) tells of the process before it parks. */
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";

const factsSchema = z.object({
  version: z.string(),
  hexversion: z.int(),
  executable: z.string(),
  prefix: z.string(),
  stdlib: z.string(),
  /** The interpreter's own options. */
  options: z.array(z.string()),
  /** The image takes the interpreter's arguments, not a program's. */
  interpreter: z.boolean(),
  /** Names of modules and their files. */
  modules: z.array(z.tuple([z.string(), z.string()])),
  path: z.array(z.string()),
  /** The folders of packages. */
  packages: z.array(z.string()),
  /** Files and folders that site looks for, there or not: pyvenv.cfg, site-packages. */
  site: z.array(z.string()),
  /** Top-level names that imports found or missed, and whether a plain folder of that name would be found. */
  names: z.array(z.tuple([z.string(), z.boolean()])),
  /** PYTHONSAFEPATH or -P. */
  safePath: z.boolean(),
  /** The current folder, where sys.path begins with it (-m, -c). */
  folder: z.string().nullable(),
  /** Modules came from it. */
  needsFolder: z.boolean(),
  /** Variables that imports read, in Python and in C. */
  reads: z.array(z.string()),
  /** Modules that iterated over the environment. */
  looksThrough: z.array(z.string()),
  /** Modules that drew random bytes from the system, and how often. */
  draws: z.array(z.tuple([z.string(), z.int()])),
  /** Random generators that every restored process would begin with in the same state. */
  generators: z.array(z.string()),
  /** Global generators that the program seeded itself. */
  seeded: z.array(z.string()),
});

export type WarmFacts = z.infer<typeof factsSchema>;

/** The environment that the program was started with, as native/warm/begin.c wrote it. Of several with one name the first counts. */
export function readEnvironment(text: string): Record<string, string> {
  const entries = text.split("\0").flatMap((entry): [string, string][] => {
    const at = entry.indexOf("=");
    return at > 0 ? [[entry.slice(0, at), entry.slice(at + 1)]] : [];
  });
  return Object.fromEntries(entries.toReversed());
}

/** @throws PycdsError WARM_FACTS */
export function readFacts(text: string, file: string): WarmFacts {
  const parsed = factsSchema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new PycdsError("WARM_FACTS", "cannot read what the driver wrote", parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; "), { file });
}
