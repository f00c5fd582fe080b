/**
 * The map file: where everything in an archive is, for people with a debugger.
 *
 * One item a line: `KIND NUMBER key=value …`, and indented under a unit its
 * objects. Addresses are requested ones (layout/types.ts). {@link checkMap}
 * reads a map back and compares every line and every reference with the image.
 */
import { hex } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { entryKind, none, pureKind } from "../image/schema.ts";
import type { ImageReader } from "../image/reader.ts";
import { sectionOrder } from "../image/sections.ts";
import { addressText } from "./summary.ts";
import { unitObjects } from "./unit.ts";

const head = "# pycds map 1";

type Fields = Readonly<Record<string, string | number | bigint>>;

interface Item {
  readonly kind: string;
  /** Number or name, unique among its kind. */
  readonly id: string;
  readonly fields: Fields;
}

const index = (value: number): string => (value === none ? "-" : String(value));
const kindNames = new Map<number, string>(Object.entries(entryKind).map(([name, kind]) => [kind, name]));

const pureNames = new Map<number, string>(Object.entries(pureKind).map(([name, kind]) => [kind, name]));

/** Every item of the image, in file order. */
function* itemsOf(image: ImageReader): Generator<Item> {
  const { header } = image;
  yield { kind: "archive", id: hex(header.archive_digest), fields: { size: header.file_size, base: addressText(header.preferred_base), hot: addressText(header.data_hot_size * 4096) } };
  for (const name of sectionOrder) {
    const { offset, size, digest } = image.sections[name];
    yield { kind: "section", id: name, fields: { offset: addressText(offset), size, digest: addressText(digest) } };
  }
  for (const [number, folder] of image.folders.entries()) {
    yield { kind: "folder", id: String(number), fields: { root: index(folder.root), first: folder.first_entry, entries: folder.entry_count, mtime: folder.mtime_ns, path: image.string(folder.path) } };
  }
  for (const [number, entry] of image.entries.entries()) {
    yield {
      kind: "entry",
      id: String(number),
      fields: { folder: entry.folder, is: kindNames.get(entry.kind) ?? "?", unit: index(entry.unit), child: index(entry.child), name: image.string(entry.name) },
    };
  }
  for (const [number, pure] of image.pures.entries()) {
    const unit = pure.kind > pureKind.bytesPattern ? pure.result : none;
    const text = Buffer.from(image.pureText(pure)).toString(pure.kind === pureKind.bytesPattern ? "latin1" : "utf8");
    yield { kind: "pure", id: String(number), fields: { is: pureNames.get(pure.kind) ?? "?", flags: addressText(pure.flags), unit: index(unit), uses: pure.uses, text } };
  }
  const sources = new Map(image.pures.flatMap((pure, number) => (pure.kind > pureKind.bytesPattern ? [[pure.result, `source string ${number}`] as const] : [])));
  const described = new Map(image.meta().modules.map((module) => [module.unit, module.name] as const).toReversed());
  for (const [number, unit] of image.units.entries()) {
    const at = image.base + Number(unit.data_offset);
    yield {
      kind: "unit",
      id: String(number),
      fields: {
        at: addressText(at), size: unit.data_size, root: addressText(at + unit.root), file: addressText(image.sections.data.offset + Number(unit.data_offset)),
        relocations: addressText(image.sections.relocations.offset + Number(unit.reloc_offset)), relocation_size: unit.reloc_size,
        digest: addressText(unit.digest), module: described.get(number) ?? sources.get(number) ?? "?",
      },
    };
    for (const { offset, type } of objectsOf(image, number)) yield { kind: "  object", id: addressText(at + offset), fields: { unit: number, type } };
  }
  for (const [number, block] of image.nameBlocks.entries()) {
    yield {
      kind: "name-block",
      id: String(number),
      fields: { at: addressText(image.base + Number(block.data_offset)), size: block.data_size, first: block.first_name, names: block.name_count, digest: addressText(block.digest) },
    };
  }
}

function objectsOf(image: ImageReader, number: number): ReturnType<typeof unitObjects> {
  const unit = image.units[number];
  if (unit === undefined) return [];
  try {
    return unitObjects(image, image.unitRelocations(unit));
  } catch (error) {
    // A damaged stream has no objects to name; verify says what is wrong with it.
    if (error instanceof PycdsError) return [];
    throw error;
  }
}

/** Values that people choose (paths, names) may hold spaces and line ends: quoted as in JSON then. */
const valueText = (value: string | number | bigint): string => {
  const text = String(value);
  return /^[!#-~]+$/.test(text) ? text : JSON.stringify(text);
};

function line({ kind, id, fields }: Item): string {
  return [kind, id, ...Object.entries(fields).map(([key, value]) => `${key}=${valueText(value)}`)].join(" ");
}

export function mapFile(image: ImageReader): string {
  return `${[head, ...[...itemsOf(image)].map(line)].join("\n")}\n`;
}

// ---- reading a map back ---------------------------------------------------------

export interface MapProblem {
  /** 1-based; 0: the map as a whole. */
  readonly line: number;
  readonly what: string;
}

interface ReadItem {
  readonly line: number;
  readonly kind: string;
  readonly id: string;
  readonly fields: ReadonlyMap<string, string>;
}

function parseLine(text: string, number: number): ReadItem | undefined {
  const match = /^( *[a-z-]+) (\S+)((?: [a-z_]+=(?:"(?:[^"\\]|\\.)*"|[^\s"]+))*)$/.exec(text);
  const [, kind, id, rest] = match ?? [];
  if (kind === undefined || id === undefined || rest === undefined) return undefined;
  const fields = new Map<string, string>();
  for (const [, key = "", quoted, plain = ""] of rest.matchAll(/ ([a-z_]+)=(?:("(?:[^"\\]|\\.)*")|([^\s"]+))/g)) {
    let value: unknown = plain;
    try {
      if (quoted !== undefined) value = JSON.parse(quoted);
    } catch {
      return undefined;
    }
    fields.set(key, String(value));
  }
  return { line: number, kind, id, fields };
}

/** References from a map's own line to another of its lines: [kind, field, kind referred to]. */
const references = [
  ["entry", "folder", "folder"],
  ["entry", "unit", "unit"],
  ["entry", "child", "folder"],
  ["pure", "unit", "unit"],
  ["  object", "unit", "unit"],
] as const;

/**
 * Checks a map against an image: each line must say what the image says, each
 * reference must lead to a line of the map, each object must lie in its unit,
 * and nothing of the image may be missing.
 *
 * To make it fail: change one digit of any line, or delete a line
 * (test/inspect/map.test.ts does both).
 */
export function checkMap(text: string, image: ImageReader): MapProblem[] {
  const problems: MapProblem[] = [];
  const [first, ...lines] = text.split("\n");
  if (first !== head) problems.push({ line: 1, what: `it does not begin with "${head}"` });
  if (lines.pop() !== "") problems.push({ line: lines.length + 1, what: "it is cut: no line end" });

  const items = new Map<string, ReadItem>();
  lines.forEach((each, position) => {
    const item = parseLine(each, position + 2);
    if (item === undefined) {
      problems.push({ line: position + 2, what: "it is no item" });
      return;
    }
    const key = `${item.kind} ${item.id}`;
    if (items.has(key)) problems.push({ line: item.line, what: `${key.trim()} is there twice` });
    items.set(key, item);
  });

  checkReferences(items, problems);
  for (const expected of itemsOf(image)) {
    const key = `${expected.kind} ${expected.id}`;
    const item = items.get(key);
    if (item === undefined) {
      problems.push({ line: 0, what: `${key.trim()} of the archive is missing` });
      continue;
    }
    items.delete(key);
    for (const [field, value] of Object.entries(expected.fields)) {
      const said = item.fields.get(field);
      if (said !== String(value)) problems.push({ line: item.line, what: `${key.trim()}: ${field} is ${said ?? "missing"}, the archive says ${value}` });
    }
    if (item.fields.size > Object.keys(expected.fields).length) problems.push({ line: item.line, what: `${key.trim()} says more than the archive` });
  }
  for (const item of items.values()) problems.push({ line: item.line, what: `the archive has no ${item.kind.trim()} ${item.id}` });
  return problems;
}

function checkReferences(items: ReadonlyMap<string, ReadItem>, problems: MapProblem[]): void {
  for (const item of items.values()) {
    for (const [kind, field, target] of references) {
      const value = item.kind === kind ? item.fields.get(field) : undefined;
      if (value !== undefined && value !== "-" && !items.has(`${target} ${value}`)) problems.push({ line: item.line, what: `there is no ${target} ${value}` });
    }
    if (item.kind !== "  object") continue;
    const unit = items.get(`unit ${item.fields.get("unit") ?? ""}`);
    const start = Number(unit?.fields.get("at"));
    const end = start + Number(unit?.fields.get("size"));
    const address = Number(item.id);
    if (!(address >= start && address < end)) problems.push({ line: item.line, what: `object ${item.id} is outside of its unit` });
  }
}
