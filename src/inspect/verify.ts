/** Checks an archive to the last byte and lists everything that is wrong. */
import { hex, xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { codecs } from "../image/codec.ts";
import type { RecordOf } from "../image/codec.ts";
import { withoutHints } from "../image/prelink.ts";
import { checkImage } from "../image/reader.ts";
import type { ImageReader } from "../image/reader.ts";
import { decodePattern } from "../image/pure.ts";
import { nameLatin1, none, objectAlignment, pureKind } from "../image/schema.ts";
import { archiveDigest } from "../image/writer.ts";
import { checkUnit } from "./unit.ts";

export interface Problem {
  /** Stable identifier. */
  readonly code: string;
  readonly what: string;
  /** In the file; null where no one place is at fault. */
  readonly offset: number | null;
}

export interface Verification {
  readonly file: string;
  readonly ok: boolean;
  readonly problems: readonly Problem[];
  readonly checked: { readonly units: number; readonly pures: number; readonly name_blocks: number; readonly objects_bytes: number };
}

type Report = (code: string, what: string, offset?: number) => void;

/** Verifies any bytes, archive or not; never throws on them. */
export function verifyFile(bytes: Uint8Array, file: string): Verification {
  const { image, faults } = checkImage(bytes, file);
  const found: Problem[] = faults.map(({ code, message, why, offset }) => ({ code, what: `${message}: ${why}`, offset: offset ?? null }));
  const inside = image === undefined ? [] : contentProblems(image);
  return result(file, [...found, ...inside], image);
}

/** Verifies an opened image: what openImage leaves to the first use of units, and identity. */
export function verify(image: ImageReader): Verification {
  return result(image.file, contentProblems(image), image);
}

function result(file: string, problems: readonly Problem[], image: ImageReader | undefined): Verification {
  return {
    file,
    ok: problems.length === 0,
    problems,
    checked: { units: image?.units.length ?? 0, pures: image?.pures.length ?? 0, name_blocks: image?.nameBlocks.length ?? 0, objects_bytes: image?.sections.data.size ?? 0 },
  };
}

function contentProblems(image: ImageReader): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (code, what, offset) => problems.push({ code, what, offset: offset ?? null });
  checkIdentity(image, report);
  checkUnits(image, report);
  checkNames(image, report);
  checkPures(image, report);
  checkGaps(image, "pureData", pureParts(image), report);
  checkGaps(image, "data", [...image.units, ...image.nameBlocks].map((part) => [Number(part.data_offset), part.data_size]), report);
  checkGaps(image, "relocations", image.units.map((unit) => [Number(unit.reloc_offset), unit.reloc_size]), report);
  checkMeta(image, report);
  return problems;
}

function checkIdentity(image: ImageReader, report: Report): void {
  const plain = plainBytes(image);
  const found = archiveDigest((name) => {
    const { offset, size } = image.sections[name];
    return plain.subarray(offset, offset + size);
  });
  if (hex(found) !== hex(image.header.archive_digest)) report("VERIFY_DIGEST", "the archive's SHA-256 differs from its header's", codecs.FileHeader.offsetOf("archive_digest"));
}

/** Without hints, which are not part of what the digest stands for. Damaged relocations are reported with their unit. */
function plainBytes(image: ImageReader): Uint8Array {
  try {
    return withoutHints(image);
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error;
    return image.bytes;
  }
}

function checkUnits(image: ImageReader, report: Report): void {
  const dataStart = image.sections.data.offset;
  const header: { bytes: Uint8Array | undefined } = { bytes: undefined };
  image.units.forEach((unit, number) => {
    const start = dataStart + Number(unit.data_offset);
    checkUnit(image, unit, header, (why, offset) => report("VERIFY_UNIT", `unit ${number}: ${why}`, start + (offset ?? 0)));
  });
  const used = new Set([...image.entries.map(({ unit }) => unit), ...image.pures.filter(isSource).map(({ result }) => result)]);
  image.units.forEach((unit, number) => {
    if (!used.has(number)) report("VERIFY_UNIT", `unit ${number}: nothing leads to it`, dataStart + Number(unit.data_offset));
  });
}

function checkNames(image: ImageReader, report: Report): void {
  const dataStart = image.sections.data.offset;
  const typeOffset = image.abi[0]?.type_offset ?? 0;
  image.nameBlocks.forEach((block, number) => {
    const data = image.nameBlockData(block);
    const start = dataStart + Number(block.data_offset);
    if (data.byteLength !== block.data_size || xxh3(data) !== block.digest) report("VERIFY_NAMES", `name block ${number}: its digest differs`, start);
    let previous = -1;
    for (const word of image.names.subarray(block.first_name, block.first_name + block.name_count)) {
      if (word >= nameLatin1) continue;
      const offset = word * objectAlignment;
      if (offset <= previous) report("VERIFY_NAMES", `name block ${number}: its names are not in order`, start + offset);
      previous = offset;
      // ob_type is the runtime's to fill in; anything else there would be taken for a pointer.
      if (data.subarray(offset + typeOffset, offset + typeOffset + 8).some((byte) => byte !== 0)) report("VERIFY_NAMES", `name block ${number}: a name's type is not 0`, start + offset);
    }
  });
}

/** Texts and results, ascending. */
function pureParts(image: ImageReader): (readonly [number, number])[] {
  return image.pures
    .flatMap((pure): (readonly [number, number])[] => (isSource(pure) ? [[pure.text, pure.text_size]] : [[pure.text, pure.text_size], [pure.result, pure.result_size]]))
    .toSorted(([a], [b]) => a - b);
}

function isSource({ kind }: RecordOf<"Pure">): boolean {
  return kind >= pureKind.exec;
}

/** Patterns: what the runtime checks at the first use, and that they can be read. */
function checkPures(image: ImageReader, report: Report): void {
  image.pures.forEach((pure, number) => {
    if (isSource(pure)) return;
    const start = image.sections.pureData.offset + pure.result;
    const bytes = image.pureResult(pure);
    if (xxh3(bytes) !== pure.digest) report("VERIFY_PURE", `pattern ${number}: its result's digest differs`, start);
    const result = decodePattern(bytes);
    if (typeof result === "string") report("VERIFY_PURE", `pattern ${number}: ${result}`, start);
  });
}

/** Bytes that belong to nothing must be 0: nobody digests them, so nothing may hide in them. */
function checkGaps(image: ImageReader, section: "data" | "relocations" | "pureData", parts: readonly (readonly [number, number])[], report: Report): void {
  const bytes = image.section(section);
  let end = 0;
  for (const [offset, size] of [...parts, [bytes.byteLength, 0] as const]) {
    const stray = offset > end ? bytes.subarray(end, offset).findIndex((byte) => byte !== 0) : -1;
    if (stray >= 0) report("VERIFY_GAP", `${section}: bytes between two parts are not 0`, image.sections[section].offset + end + stray);
    end = Math.max(end, offset + size);
  }
}

/** The description must tell of the same units and entries as the tables do. */
function checkMeta(image: ImageReader, report: Report): void {
  const { offset } = image.sections.meta;
  try {
    const meta = image.meta();
    const described = new Set<number>();
    for (const { unit } of meta.modules) described.add(unit);
    image.entries.forEach(({ unit }, number) => {
      if (unit !== none && !described.has(unit)) report("VERIFY_META", `entry ${number}: no module is described for its unit ${unit}`, offset);
    });
    if (meta.target.hexversion !== image.header.hexversion || meta.target.optimize !== image.header.optimize) report("VERIFY_META", "its target is not the header's", offset);
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error;
    report("VERIFY_META", `${error.message}: ${error.why}`, error.offset);
  }
}
