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
 * In a pack of the unit cache a name is its number (u32) in the pack's list.
 */
import type { Abi } from "../abi/types.ts";
import { alignUp } from "../base/bytes.ts";
import { latin1CodePoint } from "../graph/names.ts";
import type { NameEntry, NameTable } from "../graph/names.ts";
import type { StrValue } from "../graph/types.ts";
import { encodeNameless } from "../image/slots.ts";
import { shapeOf } from "./abi-record.ts";
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
export function packUnit(unit: LaidOutUnit, names: NameTable, abi: Abi): UnitRecord {
  const { stream, names: numbers } = encodeNameless(unit.relocations, shapeOf(abi), unit.bytes);
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

/** A list of names, no two of which are equal: of each the word that says length, width and ASCII bit, the hash of both, and where its bytes begin in `text`. */
export interface NameSource {
  readonly words: Uint32Array;
  readonly hashes: Uint32Array;
  readonly starts: Uint32Array;
  readonly text: Uint8Array;
}

/** The head of a record that this toolchain made: a cache's are digested, so nothing is checked here. */
export class RecordHead {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** What its names are numbers in; undefined: it has their text. */
  readonly source: NameSource | undefined;

  /** @param bytes at a multiple of 4 where there is a source */
  constructor(bytes: Uint8Array, source?: NameSource) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.source = source;
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

  get nameCount(): number {
    return this.reason === undefined ? this.word(4) : 0;
  }

  /** What is before its names, or all of what has none. */
  get withoutNames(): Uint8Array {
    return this.reason === undefined ? this.bytes.subarray(0, this.behind) : this.bytes;
  }

  /** The numbers of the unit's names among `names`. */
  numberNames(names: NameNumbers): Uint32Array {
    const numbers = new Uint32Array(this.nameCount);
    if (this.source === undefined) this.eachName((start, word, index) => { numbers[index] = names.number(this.bytes, start, word); });
    else names.renumber(this.source, new Uint32Array(this.bytes.buffer, this.bytes.byteOffset + this.behind, numbers.length), numbers);
    return numbers;
  }

  /** Of a head that has its names' text. */
  eachName(visit: (start: number, word: number, index: number) => void): void {
    const { nameCount: count } = this;
    let at = this.behind;
    for (let index = 0; index < count; index++) {
      const word = this.view.getUint32(at, true);
      visit(at + 4, word, index);
      at += 4 + (word >>> 3);
    }
  }

  /** The hashes of its names, where it has their text. */
  addHashes(to: HashFilter): void {
    if (this.source === undefined) this.eachName((start, word) => to.add(hashOf(this.bytes, start, word)));
  }
}

/** A head whose names are numbers among `names`, its size a multiple of 8. */
export function keptHead(head: RecordHead, names: NameNumbers): Uint8Array {
  const fixed = head.withoutNames;
  const numbers = head.numberNames(names);
  const kept = new Uint8Array(alignUp(fixed.byteLength + numbers.byteLength, 8));
  kept.set(fixed);
  kept.set(new Uint8Array(numbers.buffer), fixed.byteLength);
  return kept;
}

/** Some of what hashes were added: all of them, and a few others. */
export class HashFilter {
  private readonly bits = new Uint8Array(1 << 17);

  add(hash: number): void {
    const at = hash & 0xfffff;
    this.bits[at >>> 3] = (this.bits[at >>> 3] ?? 0) | (1 << (at & 7));
  }
  mayHave(hash: number): boolean {
    const at = hash & 0xfffff;
    return ((this.bits[at >>> 3] ?? 0) & (1 << (at & 7))) !== 0;
  }
}

function hashOf(bytes: Uint8Array, start: number, word: number): number {
  let hash = word;
  for (let at = start, end = start + (word >>> 3); at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  hash ^= hash >>> 15;
  return hash >>> 0;
}

/** Names in order of first use, an archive's or a pack's; equal text is one name. A hash table over bytes: millions are looked up. */
export class NameNumbers implements NameSource {
  private bytes = new Uint8Array(1 << 16);
  private used = 0;
  private nameWords = new Uint32Array(1 << 10);
  private nameStarts = new Uint32Array(1 << 10);
  private nameHashes = new Uint32Array(1 << 10);
  private table = new Int32Array(1 << 11);
  private inTable = 0;
  private count = 0;
  /** By source: the number + 1 of each of its names that was met. */
  private readonly known = new Map<NameSource, Int32Array>();
  /** A source whose names none of the others has but, perhaps, those that the filter lets through: they need no look-up. */
  private main: NameSource | undefined;
  private readonly shared = new HashFilter();

  /** The list for some units: most of their names come from one source, as a rule, and then hardly any is looked up. */
  static for(heads: readonly RecordHead[]): NameNumbers {
    const names = new NameNumbers();
    const sources = new Map<NameSource, number>();
    for (const head of heads) {
      head.addHashes(names.shared);
      if (head.source !== undefined) sources.set(head.source, (sources.get(head.source) ?? 0) + 1);
    }
    const [main, ...others] = [...sources].toSorted(([, a], [, b]) => b - a).map(([source]) => source);
    for (const { hashes } of others) for (const hash of hashes) names.shared.add(hash);
    if (main === undefined) return names;
    names.main = main;
    names.nameWords = new Uint32Array(main.words.length + 1024);
    names.nameStarts = new Uint32Array(names.nameWords.length);
    names.nameHashes = new Uint32Array(names.nameWords.length);
    names.bytes = new Uint8Array(main.text.byteLength + (1 << 16));
    return names;
  }

  /** Longer than the list, as are hashes and starts. */
  get words(): Uint32Array {
    return this.nameWords;
  }
  get hashes(): Uint32Array {
    return this.nameHashes;
  }
  get starts(): Uint32Array {
    return this.nameStarts;
  }
  get text(): Uint8Array {
    return this.bytes.subarray(0, this.used);
  }

  get length(): number {
    return this.count;
  }

  /** Numbers here of names that have numbers in another list: each text is looked at once. */
  renumber(source: NameSource, theirs: Uint32Array, ours: Uint32Array): void {
    let known = this.known.get(source);
    if (known === undefined || known.length < source.words.length) {
      const longer = new Int32Array(source.words.length);
      if (known !== undefined) longer.set(known);
      this.known.set(source, (known = longer));
    }
    const { words, hashes, starts, text } = source;
    for (let index = 0; index < theirs.length; index++) {
      const their = theirs[index] ?? 0;
      let number = (known[their] ?? 0) - 1;
      if (number < 0) {
        const hash = hashes[their] ?? 0;
        const start = starts[their] ?? 0;
        const word = words[their] ?? 0;
        number = source === this.main && !this.shared.mayHave(hash) ? this.add(text, start, word, hash) : this.find(text, start, word, hash);
        known[their] = number + 1;
      }
      ours[index] = number;
    }
  }

  /** @param word length, width and ASCII bit, as in a record */
  number(bytes: Uint8Array, start: number, word: number): number {
    return this.find(bytes, start, word, hashOf(bytes, start, word));
  }

  private find(bytes: Uint8Array, start: number, word: number, hash: number): number {
    const mask = this.table.length - 1;
    let place = hash & mask;
    for (let entry = this.table[place] ?? 0; entry !== 0; entry = this.table[place] ?? 0) {
      const index = entry - 1;
      if (this.nameHashes[index] === hash && this.nameWords[index] === word && this.same(bytes, start, index, word >>> 3)) return index;
      place = (place + 1) & mask;
    }
    const index = this.add(bytes, start, word, hash);
    this.table[place] = index + 1;
    this.inTable += 1;
    if (this.inTable * 2 > this.table.length) this.rehash();
    return index;
  }

  private same(bytes: Uint8Array, start: number, index: number, size: number): boolean {
    const own = this.nameStarts[index] ?? 0;
    for (let at = 0; at < size; at++) if (this.bytes[own + at] !== bytes[start + at]) return false;
    return true;
  }

  private add(bytes: Uint8Array, start: number, word: number, hash: number): number {
    const size = word >>> 3;
    const index = this.count++;
    if (this.used + size > this.bytes.length) this.bytes = grown(this.bytes, Uint8Array, this.used + size);
    if (index === this.nameWords.length) {
      this.nameWords = grown(this.nameWords, Uint32Array, index + 1);
      this.nameStarts = grown(this.nameStarts, Uint32Array, index + 1);
      this.nameHashes = grown(this.nameHashes, Uint32Array, index + 1);
    }
    // most are shorter than what a view of them would cost
    const own = this.bytes;
    for (let at = 0, to = this.used; at < size; at++) own[to + at] = bytes[start + at] ?? 0;
    this.nameWords[index] = word;
    this.nameStarts[index] = this.used;
    this.nameHashes[index] = hash;
    this.used += size;
    return index;
  }

  private rehash(): void {
    const old = this.table;
    const table = new Int32Array(old.length * 4);
    for (const entry of old) {
      if (entry === 0) continue;
      let place = (this.nameHashes[entry - 1] ?? 0) & (table.length - 1);
      while (table[place] !== 0) place = (place + 1) & (table.length - 1);
      table[place] = entry;
    }
    this.table = table;
  }

  /** A name, for its layout; made anew each time, since hundreds of thousands of them would burden the collector. */
  at(index: number): NameEntry {
    const word = this.nameWords[index] ?? 0;
    const start = this.nameStarts[index] ?? 0;
    const data = this.bytes.subarray(start, start + (word >>> 3));
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
