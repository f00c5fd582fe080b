/** Which section holds what, and which sections carry a digest. */
import type { RecordOf } from "./codec.ts";
import { sectionKind } from "./schema.ts";
import type { SectionName } from "./schema.ts";

/** Sections that are arrays of one struct. */
export const tableStruct = {
  abi: "Abi",
  selfChecks: "SelfCheck",
  roots: "Root",
  suffixes: "Suffix",
  folders: "Folder",
  entries: "Entry",
  units: "Unit",
  nameBlocks: "NameBlock",
  pures: "Pure",
} as const;
export type TableName = keyof typeof tableStruct;
export type TableRecord<T extends TableName> = RecordOf<(typeof tableStruct)[T]>;

/** Sections that are arrays of u32. */
export const wordSections = ["folderHash", "entryHash", "pureHash"] as const;
export type WordSectionName = (typeof wordSections)[number];

/** All sections, in the order in which they stand in the file. */
export const sectionOrder = (Object.keys(sectionKind) as SectionName[]).toSorted((a, b) => sectionKind[a] - sectionKind[b]);

/** Units, name blocks and pure results carry the digests of what is in these; texts are compared with what is asked for. */
export const undigested: ReadonlySet<SectionName> = new Set(["pureData", "relocations", "data"]);

export function sectionName(kind: number): SectionName | undefined {
  return sectionOrder.find((name) => sectionKind[name] === kind);
}
