/**
 * Finds the CPythons of this machine: pyenv's, the system's, and those that the
 * cache holds (cache.ts says how they come there). Starts each that the cache
 * does not describe.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { toolEnvironment } from "./run.ts";
import { flavourOf, versionName } from "./plan.ts";
import type { Flavour } from "./plan.ts";

/** CPython before 3.9 has no place in this project. */
export const oldestMinor = 9;

export interface Interpreter {
  /** `3.11`; `3.13t` and `3.14d` with the letters of sys.abiflags. */
  readonly version: string;
  readonly minor: number;
  readonly flavour: Flavour;
  /** `3.11.7` */
  readonly release: string;
  readonly exe: string;
  readonly found: "named" | "pyenv" | "system" | "cache";
  /** The cache's folder when it came from there, with what it was made of. */
  readonly entry?: { readonly folder: string; readonly how: string; readonly debugInfo?: string };
  /** The folder of Python.h when the cache describes it; `undefined`: not asked yet, see {@link headersOf}. */
  readonly headers?: string;
}

/** What cannot be used, and why. */
export interface Unusable {
  readonly exe: string;
  readonly reason: string;
}

/** The description of a cache entry, written when it is complete; paths are relative to its folder. */
export const manifestName = "pycds-python.json";
export const manifestSchema = z.object({
  schema: z.literal(1),
  /** Changes when an entry has to be made anew. */
  recipe: z.string(),
  how: z.string(),
  debugInfo: z.string().optional(),
  pythons: z.array(
    z.object({
      version: z.string(),
      minor: z.number(),
      flavour: z.enum(["release", "debug", "freethreaded"]),
      release: z.string(),
      exe: z.string(),
      headers: z.string().optional(),
    }),
  ),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** $XDG_CACHE_HOME/pycds-pythons */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env["XDG_CACHE_HOME"];
  return join(base !== undefined && base.startsWith("/") ? base : join(homedir(), ".cache"), "pycds-pythons");
}

/** The manifest of a complete entry. */
export function readManifest(folder: string): Manifest | undefined {
  const file = join(folder, manifestName);
  if (!existsSync(file)) return undefined;
  try {
    const parsed = manifestSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // another program's file, or one that just went
  }
}

/** What the cache holds, complete entries only. */
export function inCache(folder = cacheFolder()): Interpreter[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map((entry) => join(folder, entry.name));
  // Maven's fixed versions before what moves with a suite.
  return entries.sort().toReversed().flatMap((entry) => {
    const manifest = readManifest(entry);
    return (manifest?.pythons ?? []).flatMap(({ exe, headers, ...facts }) => existsSync(join(entry, exe)) ? [{
      ...facts,
      exe: join(entry, exe),
      found: "cache" as const,
      entry: { folder: entry, how: manifest?.how ?? "", ...(manifest?.debugInfo === undefined ? {} : { debugInfo: join(entry, manifest.debugInfo) }) },
      ...(headers === undefined ? {} : { headers: join(entry, headers) }),
    }] : []);
  });
}

interface Candidate {
  readonly exe: string;
  readonly found: "named" | "pyenv" | "system";
}

function candidates(): Candidate[] {
  const pyenv = join(process.env["PYENV_ROOT"] ?? join(homedir(), ".pyenv"), "versions");
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const list = (folder: string, pattern: RegExp): string[] =>
    (existsSync(folder) ? readdirSync(folder) : []).filter((name) => Number(pattern.exec(name)?.[1] ?? 0) >= oldestMinor).sort(order);
  const all: Candidate[] = [
    ...list(pyenv, /^3\.(\d+)\b/).map((name) => ({ exe: join(pyenv, name, "bin/python"), found: "pyenv" as const })),
    ...list("/usr/bin", /^python3\.(\d+)[dt]?$/).map((name) => ({ exe: join("/usr/bin", name), found: "system" as const })),
  ];
  const seen = new Set<string>();
  return all.filter(({ exe }) => {
    if (!existsSync(exe)) return false;
    const real = realpathSync(exe);
    if (seen.has(real)) return false;
    seen.add(real);
    return true;
  });
}

const factsSchema = z.object({ name: z.string(), version: z.tuple([z.number(), z.number(), z.number()]), abiflags: z.string() });
const factsProgram = "import json, sys; print(json.dumps({'name': sys.implementation.name, 'version': sys.version_info[:3], 'abiflags': getattr(sys, 'abiflags', '')}))";

/** What an executable says of itself. */
export function inquire({ exe, found }: Candidate): Interpreter | Unusable {
  try {
    const facts = factsSchema.parse(JSON.parse(ask(exe, factsProgram)));
    const [major, minor, micro] = facts.version;
    const flavour = flavourOf(facts.abiflags);
    if (facts.name !== "cpython" || major !== 3 || minor < oldestMinor) return { exe, reason: `${facts.name} ${major}.${minor}, not CPython 3.${oldestMinor} or later` };
    if (flavour === undefined) return { exe, reason: `a build with ABI flags "${facts.abiflags}"` };
    return { version: versionName(minor, facts.abiflags), minor, flavour, release: `${major}.${minor}.${micro}`, exe, found };
  } catch (error) {
    return { exe, reason: error instanceof Error ? (error.message.split("\n").find((line) => line !== "") ?? "it cannot be started") : String(error) };
  }
}

function ask(exe: string, program: string): string {
  return execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: toolEnvironment(), stdio: ["ignore", "pipe", "pipe"], timeout: 60_000 });
}

/** The folder of an interpreter's Python.h, if it has one. */
export function headersOf(python: Interpreter): string | undefined {
  if (python.entry !== undefined) return python.headers;
  const folder = ask(python.exe, "import sysconfig; print(sysconfig.get_path('include'))").trim();
  return existsSync(join(folder, "Python.h")) ? folder : undefined;
}

export interface Findings {
  /** By version; of one version pyenv's first, then the system's, then the cache's. */
  readonly pythons: readonly Interpreter[];
  readonly unusable: readonly Unusable[];
}

/** Everything usable on this machine; with `named`, those executables and no others. */
export function findPythons(named?: readonly string[]): Findings {
  const answers = (named?.map((exe) => ({ exe, found: "named" as const })) ?? candidates()).map(inquire);
  const cached = named === undefined ? inCache() : [];
  const usable = answers.filter((answer): answer is Interpreter => "version" in answer);
  const letters = (python: Interpreter): string => python.version.replace(/^[\d.]+/, "");
  return {
    pythons: [...usable, ...cached].sort((a, b) => a.minor - b.minor || letters(a).localeCompare(letters(b))),
    unusable: answers.filter((answer): answer is Unusable => !("version" in answer)),
  };
}
