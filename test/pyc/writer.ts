/**
 * A marshal writer for tests, the mirror of Python/marshal.c's w_object: an
 * object that occurs more than once gets FLAG_REF and is referenced later.
 */
import { ByteWriter } from "../../src/base/bytes.ts";
import { utf8 } from "../../src/pyc/text.ts";
import type { CodeValue, PyValue } from "../../src/pyc/value.ts";

export interface WriteOptions {
  readonly minor: number;
  /** Flag every object that can be, not only shared ones. */
  readonly flagAll?: boolean;
}

export function writeMarshal(value: PyValue, options: WriteOptions): Uint8Array {
  const counts = new Map<PyValue, number>();
  count(value, options.minor, counts);
  const writer = new Writer(options, counts);
  writer.object(value);
  return writer.out.done();
}

/** The objects that a stream holds directly in `value`, in stream order. */
export function children(value: PyValue, minor: number): readonly PyValue[] {
  switch (value.kind) {
    case "tuple":
    case "list":
    case "set":
    case "frozenset":
      return value.items;
    case "dict":
    case "frozendict":
      return value.entries.flat();
    case "slice":
      return [value.start, value.stop, value.step];
    case "code":
      return [...codeHead(value, minor), ...codeTail(value, minor)];
    default:
      return [];
  }
}

function codeHead(code: CodeValue, minor: number): PyValue[] {
  const { legacy } = code;
  if (minor >= 11) {
    return [code.code, code.consts, code.names, code.localsplusnames, code.localspluskinds, code.filename, code.name, code.qualname];
  }
  if (legacy === undefined) throw new Error("a code object of 3.9/3.10 needs `legacy`");
  return [code.code, code.consts, code.names, legacy.varnames, legacy.freevars, legacy.cellvars, code.filename, code.name];
}

function codeTail(code: CodeValue, minor: number): PyValue[] {
  return minor >= 11 ? [code.linetable, code.exceptiontable] : [code.linetable];
}

const unflagged: ReadonlySet<PyValue["kind"]> = new Set(["none", "bool", "ellipsis", "stopiteration"]);

function count(value: PyValue, minor: number, counts: Map<PyValue, number>): void {
  const before = counts.get(value) ?? 0;
  counts.set(value, before + 1);
  if (before === 0) for (const child of children(value, minor)) count(child, minor, counts);
}

class Writer {
  readonly out = new ByteWriter();
  private readonly slots = new Map<PyValue, number>();
  private readonly options: WriteOptions;
  private readonly counts: ReadonlyMap<PyValue, number>;

  constructor(options: WriteOptions, counts: ReadonlyMap<PyValue, number>) {
    this.options = options;
    this.counts = counts;
  }

  object(value: PyValue): void {
    const slot = this.slots.get(value);
    if (slot !== undefined) {
      this.type("r", 0);
      this.i32(slot);
      return;
    }
    const shared = this.options.flagAll === true || (this.counts.get(value) ?? 0) > 1;
    const flag = shared && !unflagged.has(value.kind) ? 0x80 : 0;
    if (flag !== 0) this.slots.set(value, this.slots.size);
    this.body(value, flag);
  }

  private body(value: PyValue, flag: number): void {
    const { out } = this;
    switch (value.kind) {
      case "none":
        return this.type("N", flag);
      case "bool":
        return this.type(value.value ? "T" : "F", flag);
      case "ellipsis":
        return this.type(".", flag);
      case "stopiteration":
        return this.type("S", flag);
      case "int":
        return this.int(value.value, flag);
      case "float":
        this.type("g", flag);
        return out.u64(value.bits);
      case "complex":
        this.type("y", flag);
        out.u64(value.realBits);
        return out.u64(value.imagBits);
      case "bytes":
        this.type("s", flag);
        this.i32(value.data.length);
        out.bytes(value.data);
        return;
      case "str": {
        const data = utf8(value);
        const small = value.ascii && data.length < 256;
        const [plain, interned] = small ? ["z", "Z"] : value.ascii ? ["a", "A"] : ["u", "t"];
        this.type(value.interned ? interned : plain, flag);
        if (small) out.u8(data.length);
        else this.i32(data.length);
        out.bytes(data);
        return;
      }
      case "tuple":
        if (value.items.length < 256) {
          this.type(")", flag);
          out.u8(value.items.length);
        } else {
          this.type("(", flag);
          this.i32(value.items.length);
        }
        return this.all(value.items);
      case "list":
      case "set":
      case "frozenset":
        this.type({ list: "[", set: "<", frozenset: ">" }[value.kind], flag);
        this.i32(value.items.length);
        return this.all(value.items);
      case "dict":
      case "frozendict":
        this.type(value.kind === "dict" ? "{" : "}", flag);
        this.all(value.entries.flat());
        return this.type("0", 0);
      case "slice":
        this.type(":", flag);
        return this.all([value.start, value.stop, value.step]);
      case "code":
        return this.code(value, flag);
    }
  }

  private code(code: CodeValue, flag: number): void {
    const { minor } = this.options;
    this.type("c", flag);
    for (const n of [code.argcount, code.posonlyargcount, code.kwonlyargcount]) this.i32(n);
    if (minor < 11) this.i32(code.legacy?.nlocals ?? 0);
    this.i32(code.stacksize);
    this.i32(code.flags);
    this.all(codeHead(code, minor));
    this.i32(code.firstlineno);
    this.all(codeTail(code, minor));
  }

  private int(value: bigint, flag: number): void {
    if (BigInt.asIntN(32, value) === value) {
      this.type("i", flag);
      this.i32(Number(value));
      return;
    }
    const digits: number[] = [];
    for (let rest = value < 0n ? -value : value; rest > 0n; rest >>= 15n) digits.push(Number(rest & 0x7fffn));
    this.type("l", flag);
    this.i32(value < 0n ? -digits.length : digits.length);
    for (const digit of digits) this.out.u16(digit);
  }

  private all(values: readonly PyValue[]): void {
    for (const value of values) this.object(value);
  }
  private type(code: string, flag: number): void {
    this.out.u8(code.charCodeAt(0) | flag);
  }
  private i32(value: number): void {
    this.out.u32(value >>> 0);
  }
}
