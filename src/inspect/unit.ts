/** One unit under the magnifying glass: its objects, and what is wrong with it. */
import { external, externalTypes } from "../abi/externals.ts";
import type { ExternalType } from "../abi/externals.ts";
import { xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import type { RecordOf } from "../image/codec.ts";
import { viewOf } from "../image/codec.ts";
import { strayHint } from "../image/prelink.ts";
import type { ImageReader } from "../image/reader.ts";
import { features, objectAlignment } from "../image/schema.ts";
import type { Relocations } from "../image/slots.ts";

export interface UnitObject {
  /** In the unit. */
  readonly offset: number;
  readonly type: ExternalType;
}

/** `why` and the offset in the unit's data (or none: the unit as a whole). */
export type UnitReport = (why: string, offset?: number) => void;

/** Every object of a unit, ascending: each has exactly one slot that points at a type. */
export function unitObjects(image: ImageReader, relocations: Relocations): UnitObject[] {
  const typeOffset = image.abi[0]?.type_offset ?? 0;
  return externalTypes
    .flatMap((type, number) => (relocations.external.get(number) ?? []).map((slot) => ({ offset: slot - typeOffset, type })))
    .toSorted((a, b) => a.offset - b.offset);
}

/** Numbers of abi/externals.ts that stand for something in this target. */
function externalExists(number: number, abi: RecordOf<"Abi">): boolean {
  if (number < externalTypes.length) return true;
  if (number >= external.none && number <= external.stopIteration) return true;
  if (number >= external.latin1(0) && number <= external.latin1(0xff)) return true;
  if (number >= external.byte(0) && number <= external.byte(0xff)) return true;
  return number >= external.smallInt(abi.small_int_min) && number <= external.smallInt(abi.small_int_max);
}

/** Marks each slot's bytes; a slot out of range, misaligned, out of order, or on top of another is reported. */
class SlotMap {
  /** One byte for each 4-byte word of the unit. */
  private readonly words: Uint8Array;
  private readonly size: number;
  private readonly report: UnitReport;

  constructor(size: number, report: UnitReport) {
    this.words = new Uint8Array(Math.ceil(size / 4));
    this.size = size;
    this.report = report;
  }

  mark(kind: string, slots: readonly number[], width: 4 | 8): void {
    let previous = -1;
    for (const slot of slots) {
      if (slot <= previous) this.report(`${kind} slots are not in order`, slot);
      previous = slot;
      if (slot % width !== 0 || slot + width > this.size) {
        this.report(`${kind} slot is misaligned or behind the unit's ${this.size} bytes`, slot);
        continue;
      }
      for (let word = slot / 4; word < (slot + width) / 4; word++) {
        if (this.words[word] === 1) this.report(`${kind} slot is on top of another slot`, slot);
        this.words[word] = 1;
      }
    }
  }

  has(slot: number): boolean {
    return this.words[slot / 4] === 1;
  }
}

/** Checks all of a unit's relocations; false when pointers cannot be looked at. */
function checkSlots(image: ImageReader, size: number, relocations: Relocations, abi: RecordOf<"Abi">, report: UnitReport): void {
  const slots = new SlotMap(size, report);
  slots.mark("internal", relocations.internal, 8);
  for (const [number, list] of relocations.external) {
    if (!externalExists(number, abi)) report(`external ${number} does not exist`, list[0]);
    if (list.length === 0) report(`external ${number} has an empty group`);
    slots.mark(`external ${number}`, list, 8);
  }
  slots.mark("name", relocations.names.map(({ slot }) => slot), 8);
  for (const { slot, name } of relocations.names) if (name >= image.names.length) report(`name ${name} of ${image.names.length} does not exist`, slot);
  slots.mark("filename", relocations.filename, 8);
  slots.mark("code version", relocations.codeVersion, 4);
  for (const { slots: list } of relocations.rebuilt) slots.mark("rebuilt", list, 8);
  relocations.rebuilt.forEach(({ items, count }, index) => {
    if (items % 8 !== 0 || items + count * 8 > size) {
      report(`rebuilt object ${index}: its ${count} items do not lie in the unit`, items);
      return;
    }
    for (let item = items; item < items + count * 8; item += 8) if (!slots.has(item)) report(`rebuilt object ${index}: an item is no pointer`, item);
  });
}

/** Every internal pointer leads to an object of the unit; only a str (wstr, to 3.11) and a code object (co_cell2arg, to 3.10) may point into or right behind themselves. */
function checkPointers(data: Uint8Array, start: number, relocations: Relocations, objects: readonly UnitObject[], codeSize: number, report: UnitReport): void {
  const view = viewOf(data);
  const byOffset = new Map(objects.map((object) => [object.offset, object]));
  for (const slot of relocations.internal) {
    if (slot + 8 > data.byteLength) continue;
    const address = view.getBigUint64(slot, true);
    const target = Number(address - BigInt(start));
    if (target < 0 || target >= data.byteLength) report(`pointer 0x${address.toString(16)} leads out of its unit`, slot);
    else if (!byOffset.has(target) && !leadsIntoItself(objects, slot, target, codeSize)) report(`pointer 0x${address.toString(16)} leads to no object`, slot);
  }
}

/** The last object that begins at or before an offset. */
function holder(objects: readonly UnitObject[], offset: number): UnitObject | undefined {
  let low = 0;
  let high = objects.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const object = objects[middle];
    if (object !== undefined && object.offset <= offset) low = middle + 1;
    else high = middle;
  }
  return objects[low - 1];
}

/** A wide str's wstr (to 3.11) is its own text; co_cell2arg (to 3.10) lies right behind its code object. */
function leadsIntoItself(objects: readonly UnitObject[], slot: number, target: number, codeSize: number): boolean {
  const own = holder(objects, slot);
  if (own === undefined || own !== holder(objects, target)) return false;
  return own.type === "PyUnicode_Type" ? target > slot : own.type === "PyCode_Type" && target === own.offset + codeSize;
}

/** An external slot holds its group's hint: where the hints are right, the runtime leaves it alone. */
function checkHints(image: ImageReader, unit: RecordOf<"Unit">, report: UnitReport): void {
  try {
    const stray = strayHint(image, unit);
    if (stray !== undefined) report("an external slot does not hold its group's hint", stray - image.sections.data.offset - Number(unit.data_offset));
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error; // reported by checkSlots
  }
}

/**
 * Checks what openImage leaves out: a unit's digest, relocations, pointers and
 * objects. `header` are the bytes in front of ob_type that every object of the
 * archive must have (its reference count); the first object sets them.
 */
export function checkUnit(image: ImageReader, unit: RecordOf<"Unit">, header: { bytes: Uint8Array | undefined }, report: UnitReport): void {
  const [abi] = image.abi;
  const data = image.unitData(unit);
  if (data.byteLength !== unit.data_size || abi === undefined) {
    report(`${unit.data_size} bytes are not all in the file`);
    return;
  }
  if (xxh3(data, image.unitRelocationBytes(unit)) !== unit.digest) report("its digest differs");

  let relocations: Relocations;
  try {
    relocations = image.unitRelocations(unit);
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error;
    report(`${error.message}: ${error.why} (offset ${error.offset ?? 0} of the stream)`);
    return;
  }
  checkSlots(image, data.byteLength, relocations, abi, report);
  checkHints(image, unit, report);

  const objects = unitObjects(image, relocations);
  checkPointers(data, image.base + Number(unit.data_offset), relocations, objects, abi.code_basicsize, report);
  for (const { offset, type } of objects) {
    if (offset < 0 || offset % objectAlignment !== 0) {
      report(`a ${type} object does not lie in it, or is not aligned`, offset);
      continue;
    }
    const bytes = data.subarray(offset, offset + abi.type_offset);
    header.bytes ??= bytes;
    if (Buffer.compare(bytes, header.bytes) !== 0) report(`a ${type} object has another reference count than the rest`, offset);
  }
  const root = objects.find(({ offset }) => offset === unit.root);
  if (root?.type !== "PyCode_Type" || unit.root + abi.code_basicsize > data.byteLength) report("its root is no code object", unit.root);
  const codes = objects.filter(({ type }) => type === "PyCode_Type").length;
  const versions = (image.header.required_features & features.codeVersion) === 0n ? 0 : codes;
  if (relocations.codeVersion.length !== versions) report(`${relocations.codeVersion.length} code version slots, not ${versions}`);
}
