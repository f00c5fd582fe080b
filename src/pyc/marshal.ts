/**
 * Reader of marshal streams as CPython 3.9 to 3.15 write them in .pyc files,
 * and of everything that those versions still read (Python/marshal.c, r_object).
 *
 * The stream is a type byte, perhaps with FLAG_REF, and operands; containers
 * hold further objects. A flagged object takes the next slot of the reference
 * table: a container takes it *before* its contents are read, anything else
 * when it is complete; None, True, False, Ellipsis, StopIteration, NULL and
 * references never take one. CPython lets a tuple, list, dict or set be
 * referenced from inside itself; nothing that a compiler writes does that, and
 * our values are immutable, so here it is an error, PYC_CYCLE.
 *
 * The reader keeps its own stack of open containers: depth costs no JavaScript
 * stack. Each length is checked against the bytes left before it is believed.
 */
import type { PycdsError } from "../base/errors.ts";
import { BadCode, codeShape, makeCode } from "./code.ts";
import { Cursor } from "./cursor.ts";
import { readFloatText, readLong } from "./numbers.ts";
import { describe, strFromLatin1, strFromUtf8 } from "./text.ts";
import type { PyValue } from "./value.ts";

export interface MarshalOptions {
  /** The stream is of CPython 3.`minor`; decides code layout and known type codes. */
  readonly minor: number;
  /** Named in errors. */
  readonly file?: string;
  /** Where the value begins in `bytes`; default 0. */
  readonly offset?: number;
}

export interface MarshalResult {
  readonly value: PyValue;
  /** Offset behind the value; what follows is not looked at, as marshal.loads does. */
  readonly end: number;
}

/** MAX_MARSHAL_STACK_DEPTH of every platform but Windows (Python/marshal.c). */
export const maxDepth = 2000;
export const supportedMinors = { min: 9, max: 15 } as const;

/**
 * Reads one value. Bytes and one-byte strings are views of `bytes`.
 * @throws PycdsError with a {@link PycErrorCode}, and nothing else, whatever the bytes are
 */
export function readMarshal(bytes: Uint8Array, options: MarshalOptions): MarshalResult {
  const cursor = new Cursor(bytes, options.file, options.offset ?? 0);
  if (!Number.isInteger(options.minor) || options.minor < supportedMinors.min || options.minor > supportedMinors.max) {
    throw cursor.fail(
      "PYC_UNSUPPORTED",
      `no marshal reader for CPython 3.${options.minor}`,
      cursor.at,
      `use an interpreter from 3.${supportedMinors.min} to 3.${supportedMinors.max}`,
    );
  }
  const value = new MarshalReader(cursor, options.minor).read();
  return { value, end: cursor.at };
}

/** The stream's NULL: ends a dict, is an error anywhere else. */
const nullObject = Symbol("NULL");

const none: PyValue = { kind: "none" };
const ellipsis: PyValue = { kind: "ellipsis" };
const stopIteration: PyValue = { kind: "stopiteration" };
const yes: PyValue = { kind: "bool", value: true };
const no: PyValue = { kind: "bool", value: false };

type ContainerKind = "tuple" | "list" | "set" | "frozenset" | "dict" | "frozendict" | "slice" | "code";

/** A container whose contents are being read. */
class Frame {
  readonly items: PyValue[] = [];
  /** Code only: the i32 fields. */
  counts: readonly number[] = [];
  firstlineno = 0;
  readonly kind: ContainerKind;
  /** Complete at this many items; a dict ends at NULL instead. */
  readonly wanted: number;
  /** Slot in the reference table, or -1. */
  readonly slot: number;
  /** Offset of its type byte. */
  readonly start: number;
  readonly parent: Frame | undefined;
  readonly depth: number;

  constructor(kind: ContainerKind, wanted: number, slot: number, start: number, parent: Frame | undefined) {
    this.kind = kind;
    this.wanted = wanted;
    this.slot = slot;
    this.start = start;
    this.parent = parent;
    this.depth = (parent?.depth ?? 0) + 1;
  }
}

class MarshalReader {
  private readonly cursor: Cursor;
  private readonly minor: number;
  /** undefined: the slot's container is not complete. */
  private readonly refs: (PyValue | undefined)[] = [];
  /** Values that cannot be in a set or be a key; empty for every compiler's output, so it costs nothing there. */
  private readonly unhashable = new Set<PyValue>();

  constructor(cursor: Cursor, minor: number) {
    this.cursor = cursor;
    this.minor = minor;
  }

  read(): PyValue {
    let open: Frame | undefined;
    for (;;) {
      const start = this.cursor.at;
      let item: PyValue | typeof nullObject | Frame = this.begin(open);
      if (item instanceof Frame) {
        open = item;
        if (open.wanted > 0) continue;
        item = this.complete(open);
        open = open.parent;
      }
      // `item` is a complete value: put it where it belongs, closing each container that it completes.
      for (;;) {
        if (item === nullObject) {
          // CPython drops a key whose value is NULL without a word; no writer makes one.
          if (open?.wanted !== Infinity || open.items.length % 2 !== 0) {
            throw this.bad(`NULL where ${open === undefined ? "the value" : `an object of a ${open.kind}`} should be`, start);
          }
        } else {
          if (open === undefined) return item;
          open.items.push(item);
          if (open.kind === "code" && open.items.length === codeShape(this.minor).before) open.firstlineno = this.cursor.i32();
          if (open.items.length < open.wanted) break;
        }
        item = this.complete(open);
        open = open.parent;
      }
    }
  }

  private bad(why: string, offset: number): PycdsError {
    return this.cursor.fail("PYC_BAD_VALUE", why, offset);
  }

  /** Reads a type byte and its operands: a whole value, or a container to be filled. */
  private begin(parent: Frame | undefined): PyValue | typeof nullObject | Frame {
    const cursor = this.cursor;
    const start = cursor.at;
    const byte = cursor.u8();
    if ((parent?.depth ?? 0) >= maxDepth) throw cursor.fail("PYC_TOO_DEEP", `nested deeper than ${maxDepth} levels`, start);
    const flagged = (byte & 0x80) !== 0;
    const type = String.fromCharCode(byte & 0x7f);
    const container = (kind: ContainerKind, wanted: number): Frame => {
      const slot = flagged ? this.refs.push(undefined) - 1 : -1;
      return new Frame(kind, wanted, slot, start, parent);
    };
    switch (type) {
      case "0":
        return nullObject;
      case "N":
        return none;
      case "T":
        return yes;
      case "F":
        return no;
      case ".":
        return ellipsis;
      case "S":
        return stopIteration;
      case "r":
        return this.reference(start);
      case ")":
        return container("tuple", this.small(cursor.u8(), start));
      case "(":
        return container("tuple", cursor.length("tuple", 1));
      case "[":
        return container("list", cursor.length("list", 1));
      case "<":
        return container("set", cursor.length("set", 1));
      case ">":
        return container("frozenset", cursor.length("frozenset", 1));
      case "{":
        return container("dict", Infinity);
      case "}":
        if (this.minor < 15) break;
        return container("frozendict", Infinity);
      case ":":
        if (this.minor < 14) break;
        return container("slice", 3);
      case "c": {
        const frame = container("code", codeShape(this.minor).objects);
        const counts: number[] = [];
        for (let count = codeShape(this.minor).counts; count > 0; count--) counts.push(cursor.i32());
        frame.counts = counts;
        return frame;
      }
      default: {
        const value = this.scalar(type, start);
        if (value === undefined) break;
        if (flagged) this.refs.push(value);
        return value;
      }
    }
    throw cursor.fail("PYC_BAD_TYPE", `unknown type code ${JSON.stringify(type)} (byte 0x${byte.toString(16)}) for CPython 3.${this.minor}`, start);
  }

  private small(count: number, start: number): number {
    this.cursor.mustHold(count, 1, "tuple", start);
    return count;
  }

  private scalar(type: string, start: number): PyValue | undefined {
    const cursor = this.cursor;
    switch (type) {
      case "i":
        return { kind: "int", value: BigInt(cursor.i32()) };
      case "I":
        return { kind: "int", value: cursor.i64() };
      case "l":
        return { kind: "int", value: readLong(cursor) };
      case "g":
        return { kind: "float", bits: cursor.u64() };
      case "f":
        return { kind: "float", bits: readFloatText(cursor) };
      case "y":
        return { kind: "complex", realBits: cursor.u64(), imagBits: cursor.u64() };
      case "x":
        return { kind: "complex", realBits: readFloatText(cursor), imagBits: readFloatText(cursor) };
      case "s":
        return { kind: "bytes", data: cursor.take(cursor.length("bytes", 1)) };
      // "ASCII" is a promise that CPython does not check: it takes the bytes as Latin-1.
      case "a":
      case "A":
        return strFromLatin1(cursor.take(cursor.length("str", 1)), type === "A");
      case "z":
      case "Z":
        return strFromLatin1(cursor.take(cursor.u8()), type === "Z");
      case "u":
      case "t": {
        const data = cursor.take(cursor.length("str", 1));
        const value = strFromUtf8(data, type === "t");
        if ("fault" in value) throw this.bad("str that is not valid UTF-8", start + 5 + value.fault);
        return value;
      }
      default:
        return undefined;
    }
  }

  private reference(start: number): PyValue {
    const index = this.cursor.i32();
    if (index < 0 || index >= this.refs.length) {
      throw this.cursor.fail("PYC_BAD_REF", `reference ${index}, but the table has ${this.refs.length} entries`, start);
    }
    const value = this.refs[index];
    if (value === undefined) throw this.cursor.fail("PYC_CYCLE", `reference ${index} to a container that is not complete`, start);
    return value;
  }

  private complete(frame: Frame): PyValue {
    const value = this.assemble(frame);
    if (frame.slot >= 0) this.refs[frame.slot] = value;
    if (!this.isHashable(value)) this.unhashable.add(value);
    return value;
  }

  private assemble(frame: Frame): PyValue {
    const { kind, items } = frame;
    switch (kind) {
      case "tuple":
      case "list":
        return { kind, items };
      case "set":
      case "frozenset":
        for (const item of items) this.mustHash(item, frame);
        return { kind, items };
      case "dict":
      case "frozendict": {
        const entries: (readonly [PyValue, PyValue])[] = [];
        let key: PyValue | undefined;
        for (const item of items) {
          if (key === undefined) {
            this.mustHash(item, frame);
            key = item;
          } else {
            entries.push([key, item]);
            key = undefined;
          }
        }
        return { kind, entries };
      }
      case "slice": {
        const [start = none, stop = none, step = none] = items;
        return { kind, start, stop, step };
      }
      case "code":
        try {
          return makeCode(this.minor, frame.counts, items, frame.firstlineno);
        } catch (error) {
          if (error instanceof BadCode) throw this.bad(error.message, frame.start);
          throw error;
        }
    }
  }

  private mustHash(item: PyValue, frame: Frame): void {
    if (this.unhashable.has(item)) throw this.bad(`${frame.kind} that holds ${describe(item)}, which is not hashable`, frame.start);
  }

  private isHashable(value: PyValue): boolean {
    if (value.kind === "list" || value.kind === "set" || value.kind === "dict") return false;
    if (this.unhashable.size === 0) return true;
    switch (value.kind) {
      case "tuple":
        return !value.items.some((item) => this.unhashable.has(item));
      case "slice":
        return ![value.start, value.stop, value.step].some((item) => this.unhashable.has(item));
      case "frozendict":
        return !value.entries.some(([, item]) => this.unhashable.has(item));
      case "code":
        return !this.unhashable.has(value.consts);
      default:
        return true;
    }
  }
}
