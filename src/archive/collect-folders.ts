/** Lists folders with the mtime that vouches for the listing. */
import type { TreeView, NameFacts } from "./collect-view.ts";
import { joinPath } from "./path-index.ts";
import type { FolderInput } from "./types.ts";

/** Time as the racy rule needs it; a test brings its own. */
export interface Clock {
  nowNs(): bigint;
  sleep(ms: number): Promise<void>;
}

export const systemClock: Clock = {
  nowNs: () => BigInt(Date.now()) * 1_000_000n,
  sleep: (ms) => new Promise((wake) => setTimeout(wake, ms)),
};

const ms = 1_000_000n;
/** The kernel stamps files with a clock that ticks every 1 to 10 ms; five such ticks are sure to differ. */
const tickNs = 50n * ms;
/** A file system that stores whole seconds only (some network and older ones do). */
const secondNs = 1000n * ms;
/** A folder that never comes to rest is given up after so many rounds. */
const rounds = 40;

/**
 * How long a stamp must still age before a later change is sure to get another
 * one; 0n when it is old enough. A stamp from the future can't come again soon.
 */
export function racyForNs(mtimeNs: bigint, nowNs: bigint): bigint {
  const granularity = mtimeNs % secondNs === 0n ? secondNs : 0n;
  const settled = mtimeNs + granularity + tickNs;
  return nowNs >= settled || mtimeNs > nowNs + granularity + tickNs ? 0n : settled - nowNs;
}

/** The folder of a folder's .pyc files, at rest; undefined: there is none, or it keeps changing. To be asked before any of them is read. */
export async function cacheMtime(view: TreeView, path: string, clock: Clock = systemClock): Promise<bigint | undefined> {
  for (let round = 0; round < 5; round++) {
    const facts = view.stat(joinPath(path, "__pycache__"));
    if (facts?.kind !== "directory") return undefined;
    const wait = racyForNs(facts.mtimeNs, clock.nowNs());
    if (wait === 0n) return facts.mtimeNs;
    await clock.sleep(Number(wait / ms) + 1);
  }
  return undefined;
}

export interface ListedFolders {
  readonly folders: readonly FolderInput[];
  /** Folders that kept changing: stock is to be asked for them. */
  readonly restless: readonly string[];
}

/**
 * Lists the folders that there are among `paths`. A listing counts only when
 * the mtime was the same before and after, and old enough (see
 * {@link racyForNs}); the others are waited for, all at once, and listed again.
 */
export async function listFolders(view: TreeView, paths: readonly string[], clock: Clock = systemClock): Promise<ListedFolders> {
  const listed = new Map<string, FolderInput>();
  let todo: readonly string[] = [...new Set(paths)];
  for (let round = 0; todo.length > 0 && round < rounds; round++) {
    const again: string[] = [];
    let wait = 0n;
    for (const path of todo) {
      const result = listOnce(view, path, clock);
      if (result === undefined) continue;
      if (typeof result === "bigint") {
        again.push(path);
        if (result > wait) wait = result;
      } else {
        listed.set(path, result);
      }
    }
    todo = again;
    if (todo.length > 0) await clock.sleep(Number(wait / ms) + 1);
  }
  return { folders: [...listed.values()], restless: todo };
}

/** The listing; or how long to wait for a better one; or undefined: there is no such folder. */
function listOnce(view: TreeView, path: string, clock: Clock): FolderInput | bigint | undefined {
  const known = view.listed?.(path);
  if (known !== undefined) {
    const after = view.stat(path);
    const { facts, names, nowNs } = known;
    const same = after?.kind === "directory" && after.mtimeNs === facts.mtimeNs && after.id === facts.id;
    if (same && racyForNs(facts.mtimeNs, nowNs) === 0n) return { path, mtimeNs: facts.mtimeNs, names };
  }
  const before = view.stat(path);
  if (before?.kind !== "directory") return undefined;
  const names: readonly NameFacts[] | undefined = view.list(path);
  if (names === undefined) return undefined;
  // read after the listing: what counts is that no later change can carry the same stamp
  const now = clock.nowNs();
  const after = view.stat(path);
  if (after?.kind !== "directory") return undefined;
  const wait = racyForNs(after.mtimeNs, now);
  if (wait > 0n) return wait;
  return after.mtimeNs === before.mtimeNs ? { path, mtimeNs: after.mtimeNs, names } : 0n;
}

/** Times that tools give to everything: the epoch and its first second (nix, flatpak), 1980 (zip's first date; Bazel, Buck). */
const toolTimes: ReadonlySet<bigint> = new Set([0n, secondNs, 315_532_800n * secondNs]);
/** So many folders of one second are no coincidence. */
const manyFolders = 8;

/**
 * The mtime that something other than time gave to folders; undefined: there is none. With such a one a later tree
 * (the next image of a container, a reproducible tarball) has the same mtimes, whatever names came or went.
 */
export function normalisedMtime(folders: readonly Pick<FolderInput, "mtimeNs">[], sourceDateEpoch: string | undefined): bigint | undefined {
  const epoch = sourceDateEpoch !== undefined && /^\d{1,12}$/.test(sourceDateEpoch) ? BigInt(sourceDateEpoch) * secondNs : undefined;
  const counts = new Map<bigint, number>();
  for (const { mtimeNs } of folders) {
    if (toolTimes.has(mtimeNs) || mtimeNs === epoch) return mtimeNs;
    if (mtimeNs % secondNs === 0n) counts.set(mtimeNs, (counts.get(mtimeNs) ?? 0) + 1);
  }
  for (const [mtimeNs, count] of counts) if (count >= manyFolders && count * 2 >= folders.length) return mtimeNs;
  return undefined;
}
