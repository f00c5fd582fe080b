/** What differs between two archives. */
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { paddedText, viewOf } from "../image/codec.ts";
import type { RecordOf } from "../image/codec.ts";
import type { ImageModule, ImageStamp } from "../image/meta.ts";
import { prelinkedUnits, withoutHints } from "../image/prelink.ts";
import { openImage } from "../image/reader.ts";
import type { ImageReader } from "../image/reader.ts";
import { nameLatin1, objectAlignment } from "../image/schema.ts";
import { addressText, featureNames, flavourOf, versionText } from "./summary.ts";

export interface DiffSide {
  readonly size: number;
  readonly stamp: ImageStamp;
}

export interface ChangedModule {
  readonly name: string;
  /** What changed: the code, its stamp, or the file it comes from. */
  readonly changed: readonly ("code" | "stamp" | "file")[];
  readonly a: DiffSide;
  readonly b: DiffSide;
}

export interface Diff {
  readonly equal: boolean;
  readonly header: readonly { readonly field: string; readonly a: string; readonly b: string }[];
  readonly added: readonly { readonly name: string; readonly size: number }[];
  readonly removed: readonly { readonly name: string; readonly size: number }[];
  readonly changed: readonly ChangedModule[];
  readonly folders: { readonly added: readonly string[]; readonly removed: readonly string[]; readonly changed: readonly string[] };
  readonly excluded: { readonly added: readonly string[]; readonly removed: readonly string[] };
}

function headerFields(image: ImageReader): ReadonlyMap<string, string> {
  const { header } = image;
  return new Map([
    ["digest", hex(header.archive_digest)],
    ["format", String(header.format_version)],
    ["size", String(header.file_size)],
    ["features", featureNames(header.required_features).join(" ")],
    ["preferred_base", addressText(header.preferred_base)],
    ["version", versionText(header.hexversion)],
    ["pyc_magic", String(header.pyc_magic & 0xffff)],
    ["flavour", flavourOf(header.abi_flags)],
    ["optimize", String(header.optimize)],
    ["platform", paddedText(header.platform) ?? ""],
    ["cache_tag", paddedText(header.cache_tag) ?? ""],
    ["layout_digest", hex(header.layout_digest)],
    ["built_with", image.meta().pycds],
  ]);
}

/** The bytes of each name's str object (a one-character name: its code point), which mean the same in every archive. */
function nameBytes(image: ImageReader): readonly Uint8Array[] {
  return image.nameBlocks.flatMap((block) => {
    const data = image.nameBlockData(block);
    const words = [...image.names.subarray(block.first_name, block.first_name + block.name_count)];
    const starts = words.filter((word) => word < nameLatin1).map((word) => word * objectAlignment);
    let next = 0;
    return words.map((word) => {
      if (word >= nameLatin1) return Uint8Array.of(word & 0xff);
      next += 1;
      return data.subarray(word * objectAlignment, starts[next] ?? data.byteLength);
    });
  });
}

/** A digest of a unit without what its neighbours decide: its address and the numbers of its names. */
function unitIdentity(image: ImageReader, unit: RecordOf<"Unit">, names: readonly Uint8Array[]): string {
  const data = new Uint8Array(image.unitData(unit)); // slice() of a Buffer is no copy
  const view = viewOf(data);
  const start = BigInt(image.base) + unit.data_offset;
  try {
    const relocations = image.unitRelocations(unit);
    for (const slot of relocations.internal) view.setBigUint64(slot, view.getBigUint64(slot, true) - start, true);
    const shape = JSON.stringify([
      unit.root, relocations.internal, [...relocations.external], relocations.filename, relocations.codeVersion, relocations.rebuilt,
      relocations.names.map(({ slot, name }) => [slot, hex(names[name] ?? new Uint8Array())]),
    ]);
    return hex(sha256(data, Buffer.from(shape)));
  } catch (error) {
    // A damaged unit equals only itself, byte for byte; saying what is damaged is verify's task.
    if (!(error instanceof PycdsError) && !(error instanceof RangeError)) throw error;
    return `damaged ${hex(sha256(data, image.unitRelocationBytes(unit)))}`;
  }
}

interface Side {
  readonly module: ImageModule;
  readonly identity: string;
}

function modulesOf(image: ImageReader): ReadonlyMap<string, Side> {
  const names = nameBytes(image);
  const identities = image.units.map((unit) => unitIdentity(image, unit, names));
  return new Map(image.meta().modules.map((module) => [module.name, { module, identity: identities[module.unit] ?? "" }]));
}

/** Path → what the index holds of a folder; the numbers in it are replaced by what they stand for. */
function foldersOf(image: ImageReader): ReadonlyMap<string, string> {
  return new Map(
    image.folders.map((folder) => {
      const entries = image.entries.slice(folder.first_entry, folder.first_entry + folder.entry_count);
      const rows = entries.map((entry) => [image.string(entry.name), entry.kind, entry.suffix, image.string(entry.reason)]);
      return [image.string(folder.path), JSON.stringify([String(folder.mtime_ns), rows])];
    }),
  );
}

function onlyIn<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, unknown>): [string, T][] {
  return [...a].filter(([name]) => !b.has(name));
}

function compare(name: string, a: Side, b: Side): ChangedModule | undefined {
  const changed: ChangedModule["changed"][number][] = [];
  if (a.identity !== b.identity) changed.push("code");
  if (JSON.stringify(a.module.stamp) !== JSON.stringify(b.module.stamp)) changed.push("stamp");
  if (a.module.file !== b.module.file) changed.push("file");
  const side = ({ module }: Side): DiffSide => ({ size: module.size, stamp: module.stamp });
  return changed.length === 0 ? undefined : { name, changed, a: side(a), b: side(b) };
}

/** As it was built: what a machine's interpreter adds is no difference. */
function built(image: ImageReader): ImageReader {
  return prelinkedUnits(image) === 0 ? image : openImage(withoutHints(image), image.file);
}

export function diff(left: ImageReader, right: ImageReader): Diff {
  const [a, b] = [built(left), built(right)];
  const headerOfB = headerFields(b);
  const header = [...headerFields(a)].map(([field, value]) => ({ field, a: value, b: headerOfB.get(field) ?? "" })).filter((row) => row.a !== row.b);
  const [modulesA, modulesB] = [modulesOf(a), modulesOf(b)];
  const [foldersA, foldersB] = [foldersOf(a), foldersOf(b)];
  const excludedOf = (image: ImageReader): ReadonlyMap<string, string> => new Map(image.meta().excluded.map(({ name, reason }) => [`${name}: ${reason}`, reason]));
  const [excludedA, excludedB] = [excludedOf(a), excludedOf(b)];
  const sized = ([name, { module }]: [string, Side]): { name: string; size: number } => ({ name, size: module.size });
  return {
    equal: Buffer.compare(a.bytes, b.bytes) === 0,
    header,
    added: onlyIn(modulesB, modulesA).map(sized),
    removed: onlyIn(modulesA, modulesB).map(sized),
    changed: [...modulesA].flatMap(([name, side]) => {
      const other = modulesB.get(name);
      const row = other === undefined ? undefined : compare(name, side, other);
      return row === undefined ? [] : [row];
    }),
    folders: {
      added: onlyIn(foldersB, foldersA).map(([path]) => path),
      removed: onlyIn(foldersA, foldersB).map(([path]) => path),
      changed: [...foldersA].filter(([path, contents]) => foldersB.has(path) && foldersB.get(path) !== contents).map(([path]) => path),
    },
    excluded: { added: onlyIn(excludedB, excludedA).map(([row]) => row), removed: onlyIn(excludedA, excludedB).map(([row]) => row) },
  };
}
