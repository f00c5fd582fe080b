/**
 * Slots that follow from the shape of their object (schema.ts, Relocations): a
 * code object's all but a few, and those of a tuple whose items are names,
 * which are most of a unit's.
 */
import type { RecordOf } from "./codec.ts";
import { viewOf } from "./codec.ts";
import { codeMask, none, shapedExternal } from "./schema.ts";
import type { Relocations } from "./slots.ts";

/** Where the pointers of tuples and code objects are: fields of Abi. */
export type ObjectShape = Pick<RecordOf<"Abi">,
  | "type_offset" | "tuple_size" | "tuple_items" | "code_consts" | "code_names" | "code_exceptiontable" | "code_localsplusnames" | "code_localspluskinds"
  | "code_filename" | "code_name" | "code_qualname" | "code_linetable" | "code_version">;

export interface Shapes {
  /** By their starts, ascending. */
  readonly codes: readonly { readonly start: number; readonly mask: number }[];
  readonly tuples: readonly number[];
}

export interface ShapedRelocations extends Shapes {
  /** Of co_name and co_qualname as the masks tell, then of the tuples' items. */
  readonly names: readonly number[];
  /** All other slots. */
  readonly rest: Relocations;
}

const { codeType, tupleType, emptyBytes, emptyTuple } = shapedExternal;

/** Splits a unit's relocations. */
export function takeShapes(relocations: Relocations, shape: ObjectShape | undefined, data: Uint8Array | undefined): ShapedRelocations {
  if (shape === undefined || data === undefined) return { codes: [], tuples: [], names: [], rest: relocations };
  const slots = new SlotKinds(data.byteLength, relocations);
  const names: number[] = [];
  const codes = shape.code_consts === none ? [] : startsOf(relocations, codeType, shape).flatMap((start) => {
    const mask = slots.codeMask(start, shape);
    if (mask === undefined) return [];
    slots.takeCode(start, mask, shape, names);
    return [{ start, mask }];
  });
  const view = viewOf(data);
  const tuples = startsOf(relocations, tupleType, shape).filter((start) => {
    const items = start + shape.tuple_items;
    const end = items + 8 * view.getUint32(start + shape.tuple_size, true);
    for (let slot = items; slot < end; slot += 8) if (slots.nameAt(slot) === undefined) return false;
    slots.take(start + shape.type_offset);
    for (let slot = items; slot < end; slot += 8) {
      names.push(slots.nameAt(slot) ?? 0);
      slots.take(slot);
    }
    return true;
  });
  return { codes, tuples, names, rest: slots.rest(relocations) };
}

function startsOf({ external: groups }: Relocations, type: number, { type_offset }: ObjectShape): number[] {
  return (groups.get(type) ?? []).map((slot) => slot - type_offset);
}

const kinds = { taken: 0, internal: 1, filename: 2, external: 3 } as const;

/** What the slots of a unit receive, by slot. */
class SlotKinds {
  /** By word of 8 bytes: `kinds`, those of externals with their number added; names are -1 - number. */
  private readonly words: Int32Array;
  private readonly versions: Set<number>;

  constructor(size: number, { internal, external: groups, names, filename, codeVersion }: Relocations) {
    this.words = new Int32Array(Math.ceil(size / 8));
    this.versions = new Set(codeVersion);
    for (const slot of internal) this.words[slot / 8] = kinds.internal;
    for (const slot of filename) this.words[slot / 8] = kinds.filename;
    for (const [number, slots] of groups) for (const slot of slots) this.words[slot / 8] = kinds.external + number;
    for (const { slot, name } of names) this.words[slot / 8] = -1 - name;
  }

  nameAt(slot: number): number | undefined {
    const word = this.words[slot / 8] ?? 0;
    return word < 0 ? -1 - word : undefined;
  }

  take(slot: number): void {
    this.words[slot / 8] = kinds.taken;
  }

  /** Undefined: not all of its fields hold what code objects usually hold. */
  codeMask(start: number, shape: ObjectShape): number | undefined {
    const at = (field: number): number => this.words[(start + field) / 8] ?? 0;
    let mask = 0;
    for (const [field, bit, empty] of [
      [shape.code_consts, codeMask.consts, emptyTuple], [shape.code_names, codeMask.names, emptyTuple], [shape.code_localsplusnames, codeMask.localsplusnames, emptyTuple],
      [shape.code_exceptiontable, codeMask.exceptiontable, emptyBytes],
    ] as const) {
      if (at(field) === kinds.internal) mask |= bit;
      else if (at(field) !== kinds.external + empty) return undefined;
    }
    if (at(shape.code_linetable) !== kinds.internal || at(shape.code_filename) !== kinds.filename) return undefined;
    if (shape.code_version !== none && !this.versions.has(start + shape.code_version)) return undefined;
    if (at(shape.code_localspluskinds) === kinds.internal) mask |= codeMask.localspluskinds;
    else if (at(shape.code_localspluskinds) !== kinds.external + emptyBytes) mask |= codeMask.otherKinds;
    if (at(shape.code_name) < 0) mask |= codeMask.name;
    if (at(shape.code_qualname) < 0) mask |= codeMask.qualname;
    return mask;
  }

  takeCode(start: number, mask: number, shape: ObjectShape, names: number[]): void {
    for (const field of plainFields(shape)) this.take(start + field);
    if ((mask & codeMask.otherKinds) === 0) this.take(start + shape.code_localspluskinds);
    if (shape.code_version !== none) this.versions.delete(start + shape.code_version);
    for (const field of namedFields(mask, shape)) {
      names.push(this.nameAt(start + field) ?? 0);
      this.take(start + field);
    }
  }

  /** What was not taken. */
  rest({ internal, external: groups, names, filename, rebuilt }: Relocations): Relocations {
    const isLeft = (slot: number): boolean => this.words[slot / 8] !== kinds.taken;
    return {
      internal: internal.filter(isLeft),
      external: new Map([...groups].map(([number, slots]) => [number, slots.filter(isLeft)])),
      names: names.filter(({ slot }) => isLeft(slot)),
      filename: filename.filter(isLeft),
      codeVersion: [...this.versions],
      rebuilt,
    };
  }
}

/** Fields that every shaped code object has for itself. */
function plainFields(shape: ObjectShape): readonly number[] {
  return [
    shape.type_offset, shape.code_consts, shape.code_names, shape.code_localsplusnames, shape.code_exceptiontable, shape.code_linetable, shape.code_filename,
  ];
}

function namedFields(mask: number, shape: ObjectShape): readonly number[] {
  return [...((mask & codeMask.name) === 0 ? [] : [shape.code_name]), ...((mask & codeMask.qualname) === 0 ? [] : [shape.code_qualname])];
}

/**
 * The slots that receive ShapedRelocations.names, in order.
 * @param most what an index stream can be for; more is refused before it is counted out
 */
export function shapedNameSlots(
  { codes, tuples }: Shapes, unit: { readonly shape: ObjectShape; readonly data: Uint8Array } | undefined, most: number, fail: (why: string) => never,
): number[] {
  if (codes.length + tuples.length === 0) return [];
  if (unit === undefined) return fail("it has objects told by their shape, which is not known");
  const { shape, data } = unit;
  if (codes.length > 0 && shape.code_consts === none) return fail("it has code objects told by their shape, which the archive does not have");
  const slots: number[] = [];
  for (const { start, mask } of codes) {
    if ((mask & codeMask.otherKinds) !== 0 && (mask & codeMask.localspluskinds) !== 0) return fail("a code object whose kinds of variables lie in two places");
    for (const field of namedFields(mask, shape)) slots.push(start + field);
  }
  const view = viewOf(data);
  for (const start of tuples) {
    const items = start + shape.tuple_items;
    if (start + shape.tuple_size + 8 > data.byteLength) return fail(`a tuple at ${start} of the unit's ${data.byteLength} bytes`);
    const count = view.getBigUint64(start + shape.tuple_size, true);
    if (count > BigInt(most - slots.length)) return fail(`a tuple of ${count} names`);
    for (let slot = items; slot < items + 8 * Number(count); slot += 8) slots.push(slot);
  }
  return slots;
}

/** The reverse of takeShapes. */
export function putShapes({ codes, tuples, names, rest }: ShapedRelocations, places: readonly number[], shape: ObjectShape | undefined): Relocations {
  if (shape === undefined || codes.length + tuples.length === 0) return rest;
  const internal = [...rest.internal];
  const groups = new Map([...rest.external].map(([number, slots]) => [number, [...slots]]));
  const filename = [...rest.filename];
  const codeVersion = [...rest.codeVersion];
  const point = (number: number, slot: number): void => {
    const slots = groups.get(number);
    if (slots === undefined) groups.set(number, [slot]);
    else slots.push(slot);
  };
  for (const { start, mask } of codes) {
    point(codeType, start + shape.type_offset);
    for (const [field, bit, empty] of [
      [shape.code_consts, codeMask.consts, emptyTuple], [shape.code_names, codeMask.names, emptyTuple],
      [shape.code_localsplusnames, codeMask.localsplusnames, emptyTuple], [shape.code_exceptiontable, codeMask.exceptiontable, emptyBytes],
      [shape.code_localspluskinds, codeMask.localspluskinds, emptyBytes],
    ] as const) {
      if ((mask & bit) !== 0) internal.push(start + field);
      else if (bit !== codeMask.localspluskinds || (mask & codeMask.otherKinds) === 0) point(empty, start + field);
    }
    internal.push(start + shape.code_linetable);
    filename.push(start + shape.code_filename);
    if (shape.code_version !== none) codeVersion.push(start + shape.code_version);
  }
  for (const start of tuples) point(tupleType, start + shape.type_offset);
  const ascending = (slots: number[]): number[] => slots.sort((a, b) => a - b);
  return {
    internal: ascending(internal),
    external: new Map([...groups].toSorted(([a], [b]) => a - b).map(([number, slots]) => [number, ascending(slots)])),
    names: [...places.map((slot, index) => ({ slot, name: names[index] ?? 0 })), ...rest.names].sort((a, b) => a.slot - b.slot),
    filename: ascending(filename),
    codeVersion: ascending(codeVersion),
    rebuilt: rest.rebuilt,
  };
}
