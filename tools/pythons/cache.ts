/**
 * The cache outside the tree: one folder an entry, complete once its manifest is there.
 *
 *   FOLDER/NAME/                 an entry; made as .new-NAME and renamed
 *   FOLDER/NAME/pycds-python.json  written last
 *   FOLDER/.locks/NAME           held while an entry is made
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";
import { headersOf, inquire, manifestName, readManifest } from "./find.ts";
import type { Manifest } from "./find.ts";
import { withLock } from "./lock.ts";

/** What every step gets: where to work, when to stop, whom to tell. */
export interface Work {
  readonly cache: string;
  readonly signal: AbortSignal;
  /** One line of progress. */
  readonly say: (text: string) => void;
}

/** Makes one entry. */
export interface Recipe {
  readonly name: string;
  /** Part of the manifest: an entry of another recipe is made anew. */
  readonly recipe: string;
  /**
   * Fills `made`, an empty folder that becomes `final` by a rename, and may use
   * `scratch`, which is removed. Paths written into files are those below `final`.
   */
  make(folders: { readonly made: string; readonly final: string; readonly scratch: string }): Promise<Made>;
  /** What is left to do once the folder is in its place: byte-compile, say. */
  finish?(final: string): Promise<void>;
}

export interface Made {
  /** For people: `Debian forky 3.14.8-1`. */
  readonly how: string;
  /** Executables, relative to the entry. */
  readonly exes: readonly string[];
  /** Where gdb finds separate debug information, relative to the entry. */
  readonly debugInfo?: string;
}

/** The entry's manifest, made first if the cache lacks it. */
export async function provide(recipe: Recipe, work: Work): Promise<Manifest> {
  const final = join(work.cache, recipe.name);
  const current = (): Manifest | undefined => {
    const manifest = readManifest(final);
    return manifest?.recipe === recipe.recipe && manifest.pythons.every(({ exe }) => existsSync(join(final, exe))) ? manifest : undefined;
  };
  const there = current();
  if (there !== undefined) return there;
  const waiting = (): void => work.say(`waiting for another run that makes ${recipe.name}`);
  return await withLock(join(work.cache, ".locks", recipe.name), { signal: work.signal, waiting }, async () => current() ?? (await make(recipe, final, work)));
}

async function make(recipe: Recipe, final: string, work: Work): Promise<Manifest> {
  // Fixed names: what a killed run left is found and removed; the lock is ours.
  const made = join(work.cache, `.new-${recipe.name}`);
  const scratch = join(work.cache, `.tmp-${recipe.name}`);
  try {
    for (const folder of [made, scratch, final]) rmSync(folder, { recursive: true, force: true });
    mkdirSync(made, { recursive: true });
    mkdirSync(scratch, { recursive: true });
    const { how, exes, debugInfo } = await recipe.make({ made, final, scratch });
    work.signal.throwIfAborted();
    renameSync(made, final);
    const pythons = exes.map((exe) => describe(join(final, exe), final));
    await recipe.finish?.(final);
    work.signal.throwIfAborted();
    const manifest: Manifest = { schema: 1, recipe: recipe.recipe, how, pythons, ...(debugInfo === undefined ? {} : { debugInfo }) };
    const file = join(final, manifestName);
    writeFileSync(`${file}.tmp`, `${JSON.stringify(manifest, undefined, 2)}\n`);
    renameSync(`${file}.tmp`, file);
    return manifest;
  } catch (error) {
    // A failed call left no manifest: what stands there is no interpreter to anyone.
    rmSync(final, { recursive: true, force: true });
    throw error;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(made, { recursive: true, force: true });
  }
}

/** The new interpreter's own word: what does not run is not kept. */
function describe(exe: string, entry: string): Manifest["pythons"][number] {
  const answer = inquire({ exe, found: "named" });
  if (!("version" in answer)) throw new PycdsError("PYTHON_BROKEN", "what was brought does not run", answer.reason, { file: exe });
  const { version, minor, flavour, release } = answer;
  const headers = headersOf(answer);
  return { version, minor, flavour, release, exe: relative(entry, exe), ...(headers === undefined ? {} : { headers: relative(entry, headers) }) };
}
