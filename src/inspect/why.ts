/** Why a module is in an archive, or is not. */
import type { ImageModule } from "../image/meta.ts";
import type { ImageReader } from "../image/reader.ts";
import { entryKind, none } from "../image/schema.ts";

/** Where the index has the module's name. */
export interface WhyPlace {
  readonly folder: string;
  readonly kind: keyof typeof entryKind;
  /** The entry's own reason for having no code. */
  readonly reason: string | null;
}

export type WhyState =
  /** its code is in the archive */
  | "archived"
  /** it was asked for and left out */
  | "excluded"
  /** the index knows the file, no code was asked for */
  | "not-traced"
  /** the index knows it, and there is no code to archive: an extension module, a namespace package */
  | "no-code"
  /** the index leaves it to stock */
  | "ask"
  /** no folder of the index has it */
  | "not-in-index";

export interface Why {
  readonly module: string;
  readonly state: WhyState;
  /** One clause for people. */
  readonly because: string;
  /** Of an archived module. */
  readonly archived: ImageModule | null;
  readonly places: readonly WhyPlace[];
}

function kindName(kind: number): keyof typeof entryKind {
  const found = (Object.keys(entryKind) as (keyof typeof entryKind)[]).find((name) => entryKind[name] === kind);
  return found ?? "ask";
}

/** Entries for a dotted name: the first part in any folder that is nobody's package, the others below it. */
function findPlaces(image: ImageReader, name: string): number[] {
  const children = new Set(image.entries.map(({ child }) => child));
  let folders = image.folders.map((_, index) => index).filter((index) => !children.has(index));
  let found: number[] = [];
  for (const tail of name.split(".")) {
    found = folders.map((folder) => image.findEntry(folder, tail)).filter((entry) => entry !== undefined);
    folders = found.map((entry) => image.entries[entry]?.child ?? none).filter((child) => child !== none);
  }
  return found;
}

/** A package's file is the __init__ of its own folder. */
function fileEntry(image: ImageReader, index: number): number {
  const entry = image.entries[index];
  if (entry?.kind !== entryKind.package) return index;
  return image.findEntry(entry.child, "__init__") ?? index;
}

export function why(image: ImageReader, module: string): Why {
  const meta = image.meta();
  const places = findPlaces(image, module).map((index) => {
    const entry = image.entries[fileEntry(image, index)];
    return {
      folder: entry === undefined ? "" : image.string(image.folders[entry.folder]?.path ?? none),
      kind: kindName(entry?.kind ?? entryKind.ask),
      reason: entry === undefined || entry.reason === none ? null : image.string(entry.reason),
      unit: entry?.unit ?? none,
    };
  });
  const shown: readonly WhyPlace[] = places.map(({ folder, kind, reason }) => ({ folder, kind, reason }));
  const answer = (state: WhyState, because: string, archived: ImageModule | null = null): Why => ({ module, state, because, archived, places: shown });

  const archived = meta.modules.find(({ name }) => name === module);
  if (archived !== undefined) return answer("archived", `its code is in unit ${archived.unit}, from ${archived.file}`, archived);
  const reasons = meta.excluded.filter(({ name }) => name === module).map(({ reason }) => reason);
  if (reasons.length > 0) return answer("excluded", reasons.join("; "));
  const [place] = places;
  if (place === undefined) return answer("not-in-index", "it was not traced, and no folder of the index has it");
  if (place.reason !== null) return answer("excluded", place.reason);
  // The same file under another name, as os.path is posixpath.
  const other = meta.modules.find(({ unit }) => unit === place.unit);
  if (other !== undefined) return answer("archived", `its file's code is in unit ${other.unit}, under the name ${other.name}`, other);
  switch (place.kind) {
    case "source":
    case "sourceless":
      return answer("not-traced", `it was not traced; ${place.folder} has it, and stock imports it`);
    case "extension":
      return answer("no-code", "it is an extension module: the index finds it, the interpreter loads it");
    case "namespace":
      return answer("no-code", "it is a namespace package: it has no code");
    case "package":
    case "ask":
      return answer("ask", `a listing of ${place.folder} cannot decide what it is, so stock is asked`);
  }
}
