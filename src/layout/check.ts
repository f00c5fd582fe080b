/**
 * Verifies a laid-out unit without knowing how it was made: every fault found
 * is reported, none stops the search.
 */
import { external } from "../abi/externals.ts";
import type { Abi } from "../abi/types.ts";
import { ObjectView, leastSize, typeNumber } from "./expect.ts";
import type { ExpectedSlot } from "./expect.ts";
import type { LaidOutObject, LaidOutUnit } from "./types.ts";

export interface Problem {
  /** Stable identifier of the rule that is broken. */
  readonly code:
    | "alignment" | "overlap" | "range" | "gap" | "size" | "header" | "zero" | "root" | "str"
    | "slot-missing" | "slot-twice" | "slot-stray" | "slot-kind" | "slot-value" | "order" | "target" | "external" | "rebuilt-order";
  /** Buffered offset. */
  readonly offset: number;
  readonly what: string;
}

/** What becomes of a slot at load. */
type Slot =
  | { readonly kind: "internal"; readonly target: number }
  | { readonly kind: "external"; readonly number: number }
  | { readonly kind: "name" | "filename" | "codeVersion" }
  | { readonly kind: "rebuilt"; readonly index: number };

/** Problems of a unit, by rule; an empty list means that it is sound. */
export function checkUnit(unit: LaidOutUnit, abi: Abi): readonly Problem[] {
  return new UnitChecker(unit, abi).check();
}

class UnitChecker {
  private readonly unit: LaidOutUnit;
  private readonly abi: Abi;
  private readonly view: DataView;
  private readonly problems: Problem[] = [];
  private readonly slots = new Map<number, Slot>();
  /** Objects whose own fields agree with their size: their slots can be listed. */
  private readonly readable = new Set<LaidOutObject>();
  private readonly objects: ReadonlyMap<number, LaidOutObject>;

  constructor(unit: LaidOutUnit, abi: Abi) {
    this.unit = unit;
    this.abi = abi;
    this.view = new DataView(unit.bytes.buffer, unit.bytes.byteOffset, unit.bytes.byteLength);
    this.objects = new Map(unit.objects.map((object) => [object.offset, object]));
  }

  check(): readonly Problem[] {
    if (!this.checkPlaces()) return this.problems;
    this.readSlots();
    const covered = new Set<number>();
    for (const object of this.unit.objects) this.checkObject(object, covered);
    for (const { items, count } of this.unit.relocations.rebuilt) {
      for (let index = 0; index < count; index++) {
        this.checkSlot(items + index * 8, { offset: 0, field: `frozenset item ${index}`, rule: "any" }, undefined, covered);
      }
    }
    for (const [slot, { kind }] of this.slots) {
      if (!covered.has(slot)) this.add("slot-stray", slot, `a ${kind} relocation where no pointer is`);
    }
    if (this.objects.get(this.unit.root)?.type !== "code") this.add("root", this.unit.root, "the root is no code object");
    this.checkRebuiltOrder();
    return this.problems;
  }

  private add(code: Problem["code"], offset: number, what: string): void {
    this.problems.push({ code, offset, what });
  }

  /** Objects and item slots: in range, aligned, apart, zeros between. False: nothing else can be read safely. */
  private checkPlaces(): boolean {
    const { bytes, objects, relocations } = this.unit;
    if (bytes.length % 16 !== 0) this.add("alignment", bytes.length, "the unit's size is no multiple of 16");
    const places = objects.map((object) => {
      if (object.offset % 8 !== 0) this.add("alignment", object.offset, `a ${object.type} at an address that is no multiple of 8`);
      return { start: object.offset - this.gcHeader(object), end: object.offset + object.size, what: object.type as string };
    });
    if (objects.some((object, index) => index > 0 && object.offset <= (objects[index - 1]?.offset ?? 0))) {
      this.add("order", 0, "objects are not in ascending order");
    }
    for (const { items, count } of relocations.rebuilt) {
      if (items % 8 !== 0) this.add("alignment", items, "frozenset items at an address that is no multiple of 8");
      places.push({ start: items, end: items + count * 8, what: "frozenset items" });
    }
    let end = 0;
    let sound = true;
    for (const place of places.sort((a, b) => a.start - b.start || a.end - b.end)) {
      if (!Number.isSafeInteger(place.start) || !Number.isSafeInteger(place.end) || place.start < 0 || place.end > bytes.length) {
        this.add("range", place.start, `${place.what} beyond the unit`);
        sound = false;
      }
      if (place.start < end) this.add("overlap", place.start, `${place.what} overlaps what ends at ${end}`);
      else if (sound && bytes.subarray(end, place.start).some((byte) => byte !== 0)) this.add("gap", end, "bytes between objects that are not 0");
      end = Math.max(end, place.end);
    }
    if (sound && bytes.subarray(end).some((byte) => byte !== 0)) this.add("gap", end, "bytes behind the last object that are not 0");
    return sound;
  }

  private gcHeader(object: LaidOutObject): number {
    return (object.type === "tuple" || object.type === "slice" || object.type === "code") && this.abi.gcKinds.has(object.type) ? this.abi.gcHeaderSize : 0;
  }

  private readSlots(): void {
    const { internal, external: groups, names, filename, codeVersion, rebuilt } = this.unit.relocations;
    const last = new Map<string, number>();
    const put = (list: string, at: number, size: 4 | 8, read: () => Slot): void => {
      if (at <= (last.get(list) ?? -1)) this.add("order", at, `${list} slots are not ascending`);
      last.set(list, at);
      if (!Number.isInteger(at) || at < 0 || at + size > this.unit.bytes.length) return this.add("range", at, `${list} slot beyond the unit`);
      if (at % size !== 0) return this.add("alignment", at, `${list} slot at an address that is no multiple of ${size}`);
      if (this.slots.has(at)) return this.add("slot-twice", at, `${list} slot that another relocation has too`);
      this.slots.set(at, read());
    };
    for (const at of internal) put("internal", at, 8, () => ({ kind: "internal", target: Number(this.view.getBigUint64(at, true)) }));
    let lastNumber = -1;
    for (const [number, slots] of groups) {
      if (number <= lastNumber) this.add("order", 0, "external groups are not ascending");
      lastNumber = number;
      if (!this.isExternal(number)) this.add("external", slots[0] ?? 0, `no external object ${number} in this interpreter`);
      for (const at of slots) put(`external ${number}`, at, 8, () => ({ kind: "external", number }));
    }
    for (const { slot, name } of names) {
      if (!Number.isInteger(name) || name < 0) this.add("external", slot, `no name ${name}`);
      put("name", slot, 8, () => ({ kind: "name" }));
    }
    for (const at of filename) put("filename", at, 8, () => ({ kind: "filename" }));
    for (const at of codeVersion) put("code version", at, 4, () => ({ kind: "codeVersion" }));
    for (const [index, { slots }] of rebuilt.entries()) {
      for (const at of slots) put(`rebuilt ${index}`, at, 8, () => ({ kind: "rebuilt", index }));
    }
    for (const [at, slot] of this.slots) {
      const word = slot.kind === "codeVersion" ? BigInt(this.view.getUint32(at, true)) : this.view.getBigUint64(at, true);
      if (slot.kind !== "internal" && word !== 0n) this.add("slot-value", at, `a ${slot.kind} slot that is not 0`);
    }
  }

  private isExternal(number: number): boolean {
    const { min, max } = this.abi.smallInts;
    const ranges = [
      [0, 8], [external.none, external.stopIteration], [external.latin1(0), external.latin1(255)],
      [external.byte(0), external.byte(255)], [external.smallInt(min), external.smallInt(max)],
    ] as const;
    return Number.isInteger(number) && ranges.some(([first, last]) => number >= first && number <= last);
  }

  private checkObject(object: LaidOutObject, covered: Set<number>): void {
    const at = object.offset;
    const { bytes } = this.unit;
    if (object.size < leastSize(this.abi, object.type)) return this.add("size", at, `a ${object.type} of ${object.size} bytes`);
    const seen = new ObjectView(this.abi, this.view, object);
    if (object.type === "str" && seen.strShape === undefined) return this.add("str", at, "no state word of a fresh compact str");
    const size = seen.size;
    if (size !== object.size) return this.add("size", at, `a ${object.type} of ${object.size} bytes that says it has ${size ?? "none"}`);
    this.readable.add(object);
    if (this.abi.immortalHeader.some((byte, index) => bytes[at + index] !== byte)) this.add("header", at, "a reference count that is not immortal");
    if (bytes.subarray(at - this.gcHeader(object), at).some((byte) => byte !== 0)) this.add("header", at, "a GC header that is not 0");
    for (const field of seen.zeroFields) {
      if (bytes.subarray(at + field.offset, at + field.offset + field.size).some((byte) => byte !== 0)) this.add("zero", at + field.offset, `${field.name} is not 0`);
    }
    for (const slot of seen.slots) this.checkSlot(at + slot.offset, slot, { object, seen }, covered);
    if (object.type === "code" && this.abi.hasCodeVersion) {
      const slot = at + this.abi.field("PyCodeObject", "co_version").offset;
      covered.add(slot);
      if (this.slots.get(slot)?.kind !== "codeVersion") this.add("slot-missing", slot, "co_version has no relocation");
    }
  }

  /** One place that must be relocated: exactly one relocation, of a kind that fits, to something that fits. */
  private checkSlot(
    at: number, expected: ExpectedSlot, owner: { readonly object: LaidOutObject; readonly seen: ObjectView } | undefined, covered: Set<number>,
  ): void {
    covered.add(at);
    const slot = this.slots.get(at);
    if (slot === undefined) return this.add("slot-missing", at, `${expected.field} has no relocation`);
    const bad = (): void => this.add("slot-kind", at, `${expected.field} has a relocation to ${describe(slot)}`);
    if (expected.rule === "own-data") {
      const data = owner === undefined ? -1 : owner.object.offset + owner.seen.dataOffset;
      return slot.kind === "internal" && slot.target === data ? undefined : bad();
    }
    const target = slot.kind === "internal" ? this.objects.get(slot.target) : undefined;
    if (slot.kind === "internal" && target === undefined) return this.add("target", at, `${expected.field} points at ${slot.target}, where no object begins`);
    const number = slot.kind === "external" ? slot.number : -1;
    switch (expected.rule) {
      case "type":
        return owner !== undefined && number === typeNumber(owner.object.type) ? undefined : bad();
      case "tuple":
        return target?.type === "tuple" || number === external.emptyTuple ? undefined : bad();
      case "bytes":
        return target?.type === "bytes" || number === external.emptyBytes || (number >= external.byte(0) && number <= external.byte(255)) ? undefined : bad();
      case "str": case "filename":
        return (slot.kind === "filename" && expected.rule === "filename") || slot.kind === "name" || target?.type === "str"
          || number === external.emptyStr || (number >= external.latin1(0) && number <= external.latin1(255)) ? undefined : bad();
      case "any":
        return slot.kind === "filename" || slot.kind === "codeVersion" || (slot.kind === "external" && number <= 8) ? bad() : undefined;
    }
  }

  /** When a frozenset is made, everything that its items' hashes reach is complete. */
  private checkRebuiltOrder(): void {
    for (const [index, { items, count }] of this.unit.relocations.rebuilt.entries()) {
      const seen = new Set<number>();
      const pending = Array.from({ length: count }, (_, item) => items + item * 8);
      for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
        const slot = this.slots.get(at);
        if (slot?.kind === "rebuilt" && slot.index >= index) this.add("rebuilt-order", at, `frozenset ${index} needs frozenset ${slot.index}, which is made later`);
        const object = slot?.kind === "internal" ? this.objects.get(slot.target) : undefined;
        if (object === undefined || seen.has(object.offset) || !this.readable.has(object)) continue;
        seen.add(object.offset);
        pending.push(...new ObjectView(this.abi, this.view, object).slots.map((each) => object.offset + each.offset));
      }
    }
  }
}

function describe(slot: Slot): string {
  switch (slot.kind) {
    case "internal":
      return `offset ${slot.target}`;
    case "external":
      return `external ${slot.number}`;
    case "rebuilt":
      return `frozenset ${slot.index}`;
    case "name": case "filename": case "codeVersion":
      return slot.kind;
  }
}
