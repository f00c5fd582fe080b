/**
 * Puts the runtime, the package and perhaps an archive into a site-packages folder.
 *
 * The order makes every interruption (SIGINT, a full disk, a power cut) harmless:
 * the manifest comes first, together with the package's folder, and names all that
 * will be written; _pycds.pth, which activates, comes last. Until then Python starts
 * as before. Install or uninstall after an interruption knows from the manifest what
 * is ours, and clears temporary names.
 */
import { accessSync, constants, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { prelink } from "../image/prelink.ts";
import { openImage } from "../image/reader.ts";
import { magic } from "../image/schema.ts";
import { entryAt, fileError, flushFolder, listFolder, placeFolder, replaceFile } from "./files.ts";
import { archiveCopy, dataFolder, layersFile, manifestFile, packageFolder, pthFile, pthText, runtimeFile } from "./layout.ts";
import { readRecord } from "./manifest.ts";
import type { InstallRecord, InstalledFile, Manifest } from "./manifest.ts";
import { removeOurs, uninstall } from "./uninstall.ts";

export interface InstallRequest {
  /** The site-packages folder. */
  readonly site: string;
  /** The built runtime library. */
  readonly runtime: string;
  /** The folder of the Python package's sources. */
  readonly packageDir: string;
  /** The archive; without it the runtime only, and an archive of an earlier install is removed. */
  readonly archive?: string;
  /** Further archives, looked up after it in this order; copied too. */
  readonly further?: readonly string[];
  /** Archives that are looked up first and stay where they are, by absolute path: what several environments share. */
  readonly bases?: readonly string[];
  /** Where this interpreter has what archives point at, by number (abi/externals.ts), as far as that is the same in each process. */
  readonly addresses?: ReadonlyMap<number, bigint>;
}

export interface InstallResult {
  readonly site: string;
  /** In the order of writing; paths relative to `site`. */
  readonly files: readonly InstalledFile[];
  /** An earlier installation, whole or not, was replaced. */
  readonly replaced: boolean;
  /** Units of the archive that are ready for this interpreter's addresses. */
  readonly prelinked: number;
}

const what = "cannot install";

export function install(request: InstallRequest): InstallResult {
  const { site } = request;
  checkSite(site);
  const { contents, prelinked } = readContents(request);
  const files = [...contents].map(([path, bytes]) => ({ path, size: bytes.byteLength, sha256: hex(sha256(bytes)) }));

  const record = readRecord(site);
  refuseForeign(site, record, contents.keys());
  const replaced = record.state !== "none";
  try {
    for (const name of record.leftovers) rmSync(join(site, name), { recursive: true, force: true });
    write(site, contents, files, record);
  } catch (error) {
    if (!replaced) tidy(site);
    const next = replaced ? "put that right, then install again or uninstall" : "put that right, then install again; nothing was left behind";
    throw fileError(error, "INSTALL_FAILED", what, site, next);
  }
  return { site, files, replaced, prelinked };
}

/** From here on the folder is changed. */
function write(site: string, contents: ReadonlyMap<string, Uint8Array>, files: readonly InstalledFile[], record: InstallRecord): void {
  const inPackage = new Map([...contents].filter(([path]) => path.startsWith(`${packageFolder}/`)));
  const previous = [...record.files, ...record.alsoOurs.map((path) => ({ path, size: 0, sha256: "0".repeat(64) }))];
  const started = manifest({ complete: false, files, previous });
  if (entryAt(join(site, packageFolder)) === undefined) {
    placeFolder(join(site, packageFolder), new Map([[basename(manifestFile), started], ...[...inPackage].map(([path, bytes]) => [basename(path), bytes] as const)]));
  } else {
    replaceFile(join(site, manifestFile), started);
    for (const [path, bytes] of inPackage) replaceFile(join(site, path), bytes);
  }
  for (const [path, bytes] of contents) {
    if (inPackage.has(path) || path === pthFile) continue;
    if (path.startsWith(`${dataFolder}/`) && entryAt(join(site, dataFolder)) === undefined) placeFolder(join(site, dataFolder), new Map([[basename(path), bytes]]));
    else replaceFile(join(site, path), bytes);
  }
  const stale = previous.map((file) => file.path).filter((path) => !contents.has(path));
  stale.sort((a, b) => Number(b === layersFile) - Number(a === layersFile)); // what names the others goes first
  // also compiled files: of a source whose size and second of writing are the same they would pass for valid
  removeOurs(site, stale, { ours: new Set([...contents.keys(), ...stale]) });
  replaceFile(join(site, pthFile), contents.get(pthFile) ?? new Uint8Array());
  replaceFile(join(site, manifestFile), manifest({ complete: true, files, previous: [] }));
  flushFolder(site);
}

function manifest(state: { complete: boolean; files: readonly InstalledFile[]; previous: readonly InstalledFile[] }): Uint8Array {
  const whole: Manifest = { pycds: "install", version: 1, complete: state.complete, files: [...state.files], previous: [...state.previous] };
  return Buffer.from(`${JSON.stringify(whole, null, 1)}\n`);
}

/** After a first install that failed: as before it, as far as the file system lets us. */
function tidy(site: string): void {
  try {
    uninstall(site);
  } catch {
    // the first error is the one to report
  }
}

function checkSite(site: string): void {
  if (statSync(site, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new PycdsError("SITE_MISSING", what, "there is no such site-packages folder", { file: site, next: "check --venv, or make the venv again" });
  }
  try {
    accessSync(site, constants.W_OK);
  } catch (error) {
    throw new PycdsError("SITE_READ_ONLY", what, "the folder cannot be written to", { file: site, next: "install as its owner, or into a venv of your own", cause: error });
  }
}

/** What of the package's folder is installed: not what an editor left there. */
const packageSource = /^[A-Za-z_]\w*\.(pyi?|typed)$/;

/** Every file to write, path → contents, in the order in which they appear. */
function readContents({ runtime, packageDir, archive, further = [], bases = [], addresses = new Map() }: InstallRequest): { readonly contents: Map<string, Uint8Array>; readonly prelinked: number } {
  const contents = new Map<string, Uint8Array>();
  let prelinked = 0;
  const build = "build it with: npm run build";
  let names: string[];
  try {
    names = readdirSync(packageDir, { withFileTypes: true }).filter((entry) => entry.isFile() && packageSource.test(entry.name)).map((entry) => entry.name).sort();
  } catch (error) {
    throw fileError(error, "PACKAGE_MISSING", "cannot read the Python package", packageDir, "get a complete copy of PyCDS");
  }
  if (!names.includes("__init__.py")) {
    throw new PycdsError("PACKAGE_MISSING", "cannot read the Python package", "there is no __init__.py", { file: packageDir, next: "get a complete copy of PyCDS" });
  }
  for (const name of names) contents.set(`${packageFolder}/${name}`, readInput(join(packageDir, name), "the Python package", "get a complete copy of PyCDS"));
  const library = readInput(runtime, "the runtime", build);
  if (!Buffer.from(library.subarray(0, 4)).equals(Buffer.from("\x7fELF", "latin1"))) {
    throw new PycdsError("RUNTIME_FOREIGN", "cannot read the runtime", "it is not a shared library", { file: runtime, offset: 0, next: build });
  }
  contents.set(runtimeFile, library);
  const copied = [...(archive === undefined ? [] : [archive]), ...further];
  copied.forEach((file, position) => {
    const bytes = readArchive(file);
    const ready = addresses.size === 0 ? { bytes, units: 0 } : prelink(openImage(bytes, file), addresses);
    contents.set(archiveCopy(position), ready.bytes);
    prelinked += ready.units;
  });
  for (const base of bases) {
    readArchive(base);
    if (!base.startsWith("/") || base.includes("\n")) throw new PycdsError("BASE_NAME", "cannot use the base archive", "its name is not an absolute path of one line", { file: base, next: "rename it" });
  }
  if (copied.length + bases.length > 1 || bases.length > 0) {
    const lines = [...bases, ...copied.map((_, position) => archiveCopy(position).slice(dataFolder.length + 1))];
    contents.set(layersFile, Buffer.from(lines.map((line) => `${line}\n`).join("")));
  }
  contents.set(pthFile, Buffer.from(pthText));
  return { contents, prelinked };
}

function readArchive(file: string): Uint8Array {
  const next = "make one with: pycds build -o app.pycds";
  const bytes = readInput(file, "the archive", next);
  if (!Buffer.from(bytes.subarray(0, magic.byteLength)).equals(magic)) throw new PycdsError("ARCHIVE_FOREIGN", "cannot read the archive", "it is not a PyCDS archive", { file, offset: 0, next });
  return bytes;
}

/** Opens regular files only: a FIFO would block for ever. */
function readInput(file: string, subject: string, next: string): Uint8Array {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats === undefined) throw new PycdsError("INPUT_MISSING", `cannot read ${subject}`, "there is no such file", { file, next });
  if (!stats.isFile()) throw new PycdsError("INPUT_NOT_FILE", `cannot read ${subject}`, "it is not a regular file", { file, next });
  try {
    return readFileSync(file);
  } catch (error) {
    throw fileError(error, "INPUT_UNREADABLE", `cannot read ${subject}`, file, next);
  }
}

/** Names that Python would take for `pycds` or `_pycds`, whichever of the two comes first (FileFinder's suffixes). */
const shadowing = /^_?pycds(\.pyc?|(\.[\w-]+)*\.so)?$/;

/** Refuses when something is in the way that is not ours; every such thing is named. */
function refuseForeign(site: string, record: InstallRecord, paths: Iterable<string>): void {
  const ours = new Set([...record.files.map((file) => file.path), ...record.alsoOurs]);
  const ourFolders = new Set([...ours].flatMap((path) => (path.includes("/") ? [path.slice(0, path.indexOf("/"))] : [])));
  if (record.state !== "none" && record.state !== "orphaned") ourFolders.add(packageFolder);
  const foreign = new Set<string>();
  for (const name of listFolder(site)) {
    if ((shadowing.test(name) || name === dataFolder) && !ours.has(name) && !ourFolders.has(name)) foreign.add(name);
  }
  for (const path of paths) {
    const file = join(site, path);
    const stats = entryAt(file);
    if (stats === undefined) continue;
    if (!ours.has(path) && ![...foreign].some((name) => path.startsWith(`${name}/`))) foreign.add(path);
    else if (stats.isDirectory()) foreign.add(path);
  }
  if (foreign.size === 0) return;
  const list = [...foreign].sort().join(", ");
  throw new PycdsError("SITE_FOREIGN_FILE", what, `it holds ${list}, not written by PyCDS`, { file: site, next: "move that away, or choose another venv" });
}
