/**
 * Takes away exactly what install wrote (and what Python compiled from it), so that
 * the folder has the names and contents that it had before. _pycds.pth goes first, the
 * manifest last: an interrupted uninstall is finished by the next one.
 */
import { readFileSync, renameSync, rmSync, rmdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { entryAt, fileError, flushFolder, listFolder, temporaryName } from "./files.ts";
import { dataFolder, formerPthFile, manifestFile, packageFolder, pthFile, temporaryPrefix } from "./layout.ts";
import { readRecord } from "./manifest.ts";

export interface UninstallResult {
  readonly site: string;
  /** False: there was nothing of ours, and nothing was done. */
  readonly wasInstalled: boolean;
  /** Files removed, relative to `site`. */
  readonly removed: readonly string[];
  /** Those of `removed` that were not as install wrote them. */
  readonly changed: readonly string[];
  /** What stays in our folders since it is not ours. */
  readonly kept: readonly string[];
}

export function uninstall(site: string): UninstallResult {
  const what = "cannot uninstall";
  if (statSync(site, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new PycdsError("SITE_MISSING", what, "there is no such site-packages folder", { file: site, next: "check --venv" });
  }
  const record = readRecord(site);
  if (record.state === "none" && record.leftovers.length === 0) return { site, wasInstalled: false, removed: [], changed: [], kept: [] };
  try {
    for (const name of record.leftovers) rmSync(join(site, name), { recursive: true, force: true });
    const known = new Map(record.state === "complete" ? record.files.map((file) => [file.path, file.sha256] as const) : []);
    const paths = [...new Set([...record.files.map((file) => file.path), ...record.alsoOurs])];
    const activates = (path: string): number => Number(path === pthFile || path === formerPthFile);
    paths.sort((a, b) => activates(b) - activates(a)); // what activates goes first
    const { removed, changed } = removeOurs(site, paths, { ours: new Set(paths), known });
    removePackage(site);
    flushFolder(site);
    return { site, wasInstalled: record.state !== "none", removed, changed, kept: strangers(site) };
  } catch (error) {
    throw fileError(error, "UNINSTALL_FAILED", what, site, "put that right, then uninstall again");
  }
}

interface Removal {
  /** Every path that is ours, also those that stay. */
  readonly ours: ReadonlySet<string>;
  /** Digests of contents, for telling what was changed. */
  readonly known?: ReadonlyMap<string, string>;
}

/**
 * Removes files of ours, what Python compiled from our package, and the data folder
 * once it is empty. One whose contents changed goes too, since its name is ours,
 * unless something else has moved into its folder as well: another distribution of the
 * same name may have overwritten it, and then it is theirs.
 */
export function removeOurs(site: string, paths: readonly string[], { ours, known }: Removal): { removed: string[]; changed: string[] } {
  const removed: string[] = [];
  const changed: string[] = [];
  const shared = new Set([packageFolder, dataFolder].filter((folder) => hasStrangers(site, folder, ours)));
  for (const path of paths) {
    const file = join(site, path);
    const stats = entryAt(file);
    if (stats === undefined || stats.isDirectory()) continue;
    const digest = known?.get(path);
    const differs = digest !== undefined && (!stats.isFile() || hex(sha256(readFileSync(file))) !== digest);
    if (differs && shared.has(path.slice(0, path.indexOf("/")))) continue;
    rmSync(file, { force: true });
    removed.push(path);
    if (differs) changed.push(path);
  }
  if (!shared.has(packageFolder)) removeCompiled(join(site, packageFolder, "__pycache__"));
  removeIfEmpty(join(site, dataFolder));
  return { removed, changed };
}

function hasStrangers(site: string, folder: string, ours: ReadonlySet<string>): boolean {
  return listFolder(join(site, folder)).some((name) => {
    const path = `${folder}/${name}`;
    return !ours.has(path) && path !== manifestFile && name !== "__pycache__" && !name.startsWith(temporaryPrefix);
  });
}

/** Files as importlib names them (cache_from_source), and its temporary ones (_write_atomic: name.pyc.12345). */
function removeCompiled(folder: string): void {
  for (const name of listFolder(folder)) {
    if (/^\w+\.[\w.-]+\.pyc(\.\d+)?$/.test(name)) rmSync(join(folder, name), { force: true });
  }
  removeIfEmpty(folder);
}

/** The manifest and the package's folder, in one step where nothing else is in it. */
function removePackage(site: string): void {
  const folder = join(site, packageFolder);
  const names = listFolder(folder);
  if (names.length > 0 && names.every((name) => name === basename(manifestFile))) {
    // renamed first, so that no interruption leaves an empty folder that nobody knows the origin of
    const temporary = temporaryName(site);
    renameSync(folder, temporary);
    rmSync(temporary, { recursive: true, force: true });
    return;
  }
  rmSync(join(site, manifestFile), { force: true });
  removeIfEmpty(folder);
}

function removeIfEmpty(folder: string): void {
  const stats = entryAt(folder);
  if (stats?.isDirectory() === true && listFolder(folder).length === 0) rmdirSync(folder);
}

function strangers(site: string): string[] {
  return [packageFolder, dataFolder].flatMap((folder) => listFolder(join(site, folder)).map((name) => `${folder}/${name}`));
}
