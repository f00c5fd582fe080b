/**
 * A compiled module in one piece: what a worker hands back, what the unit cache
 * keeps, what the linker reads. It depends on the .pyc and the layout data
 * alone: its names are its own list, and its internal slots hold buffered
 * offsets (words: layout/types.ts).
 *
 * Head: eight u32 (kind, data size, root, relocation size, number of names,
 * bytes of names or of the reason, 0, 0); the relocation stream without numbers of names, to a multiple of 8; then
 * for each name a u32 (bytes << 3 | width: 0, 1, 2 for 1, 2, 4 bytes << 1 | ASCII) and its text;
 * of a module that stays with stock the reason in UTF-8 instead. Data: the unit's bytes.
 */
import { alignUp } from "../base/bytes.ts";
import { latin1CodePoint } from "../graph/names.ts";
import type { NameEntry, NameTable } from "../graph/names.ts";
import type { StrValue } from "../graph/types.ts";
import { encodeNameless } from "../image/slots.ts";
import type { LaidOutUnit } from "../layout/types.ts";

export interface UnitRecord {
  readonly head: Uint8Array;
  readonly data: Uint8Array;
}

const headSize = 32;
const noData = new Uint8Array(0);

function makeHead(fields: readonly number[], relocations: Uint8Array, text: Uint8Array): Uint8Array {
  const behind = headSize + alignUp(relocations.byteLength, 8);
  const head = new Uint8Array(behind + text.byteLength);
  const view = new DataView(head.buffer);
  fields.forEach((value, index) => view.setUint32(index * 4, value, true));
  head.set(relocations, headSize);
  head.set(text, behind);
  return head;
}

/** @param names the module's own table: `unit`'s name numbers are indices in it */
export function packUnit(unit: LaidOutUnit, names: NameTable): UnitRecord {
  const { stream, names: numbers } = encodeNameless(unit.relocations);
  const values = numbers.map((number) => {
    const entry = names.entries[number];
    if (entry === undefined) throw new Error("a name that is not in its table");
    return entry.value;
  });
  const text = new Uint8Array(values.reduce((size, { data }) => size + 4 + data.byteLength, 0));
  const view = new DataView(text.buffer);
  let end = 0;
  for (const { data, width, ascii } of values) {
    view.setUint32(end, (data.byteLength * 8 + (width >> 1) * 2 + (ascii ? 1 : 0)) >>> 0, true);
    text.set(data, end + 4);
    end += 4 + data.byteLength;
  }
  return { head: makeHead([0, unit.bytes.byteLength, unit.root, stream.byteLength, numbers.length, text.byteLength, 0, 0], stream, text), data: unit.bytes };
}

export function packReason(reason: string): UnitRecord {
  const text = Buffer.from(reason, "utf8");
  return { head: makeHead([1, 0, 0, 0, 0, text.byteLength, 0, 0], noData, text), data: noData };
}

/** The head of a record that this toolchain made: a cache's are digested, so nothing is checked here. */
export class RecordHead {
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private word(index: number): number {
    return this.view.getUint32(index * 4, true);
  }
  private get behind(): number {
    return headSize + alignUp(this.relocationSize, 8);
  }

  /** Why the module stays with stock; undefined: it has a unit. */
  get reason(): string | undefined {
    return this.word(0) === 0 ? undefined : Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.behind, this.word(5)).toString("utf8");
  }
  get dataSize(): number {
    return this.word(1);
  }
  get root(): number {
    return this.word(2);
  }
  private get relocationSize(): number {
    return this.word(3);
  }
  /** Without numbers of names (image/slots.ts). */
  get relocations(): Uint8Array {
    return this.bytes.subarray(headSize, headSize + this.relocationSize);
  }

  /** The numbers of the unit's names in the archive. */
  numberNames(names: NameNumbers): Uint32Array {
    const numbers = new Uint32Array(this.word(4));
    let at = this.behind;
    for (let index = 0; index < numbers.length; index++) {
      const word = this.view.getUint32(at, true);
      numbers[index] = names.number(this.bytes, at + 4, word);
      at += 4 + (word >>> 3);
    }
    return numbers;
  }
}

/** The archive's names in order of first use; equal text is one name. A hash table over bytes: millions are looked up. */
export class NameNumbers {
  private text = new Uint8Array(1 << 16);
  private used = 0;
  private words = new Uint32Array(1 << 10);
  private starts = new Uint32Array(1 << 10);
  private hashes = new Uint32Array(1 << 10);
  private table = new Int32Array(1 << 11);
  private count = 0;

  get length(): number {
    return this.count;
  }

  /** @param word length, width and ASCII bit, as in a record */
  number(bytes: Uint8Array, start: number, word: number): number {
    const size = word >>> 3;
    let hash = word;
    for (let at = start; at < start + size; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
    hash ^= hash >>> 15;
    const mask = this.table.length - 1;
    let place = hash & mask;
    for (let entry = this.table[place] ?? 0; entry !== 0; entry = this.table[place] ?? 0) {
      const index = entry - 1;
      if (this.hashes[index] === hash >>> 0 && this.words[index] === word && this.same(bytes, start, index, size)) return index;
      place = (place + 1) & mask;
    }
    return this.add(bytes, start, word, hash >>> 0, place);
  }

  private same(bytes: Uint8Array, start: number, index: number, size: number): boolean {
    const own = this.starts[index] ?? 0;
    for (let at = 0; at < size; at++) if (this.text[own + at] !== bytes[start + at]) return false;
    return true;
  }

  private add(bytes: Uint8Array, start: number, word: number, hash: number, place: number): number {
    const size = word >>> 3;
    const index = this.count++;
    if (this.used + size > this.text.length) this.text = grown(this.text, Uint8Array, this.used + size);
    if (index === this.words.length) {
      this.words = grown(this.words, Uint32Array, index + 1);
      this.starts = grown(this.starts, Uint32Array, index + 1);
      this.hashes = grown(this.hashes, Uint32Array, index + 1);
    }
    this.text.set(bytes.subarray(start, start + size), this.used);
    this.words[index] = word;
    this.starts[index] = this.used;
    this.hashes[index] = hash;
    this.used += size;
    this.table[place] = index + 1;
    if (this.count * 2 > this.table.length) this.rehash();
    return index;
  }

  private rehash(): void {
    const table = new Int32Array(this.table.length * 4);
    for (let index = 0; index < this.count; index++) {
      let place = (this.hashes[index] ?? 0) & (table.length - 1);
      while (table[place] !== 0) place = (place + 1) & (table.length - 1);
      table[place] = index + 1;
    }
    this.table = table;
  }

  /** A name, for its layout; made anew each time, since hundreds of thousands of them would burden the collector. */
  at(index: number): NameEntry {
    const word = this.words[index] ?? 0;
    const start = this.starts[index] ?? 0;
    const data = this.text.subarray(start, start + (word >>> 3));
    const width = ([1, 2, 4] as const)[(word >>> 1) & 3] ?? 1;
    const value: StrValue = { kind: "str", width, length: data.byteLength / width, ascii: (word & 1) === 1, data, interned: true };
    return { value, latin1: latin1CodePoint(value) };
  }
}

function grown<T extends Uint8Array | Uint32Array>(array: T, make: new (length: number) => T, least: number): T {
  const larger = new make(Math.max(least, array.length * 2));
  larger.set(array);
  return larger;
}
