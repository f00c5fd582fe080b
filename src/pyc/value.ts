/**
 * What a marshal stream holds, as plain values that know no ABI.
 *
 * Identity is meaning: two references (marshal's `r`) to one object are one
 * JavaScript object here, so the graph can keep CPython's sharing.
 */

export interface NoneValue { readonly kind: "none" }
export interface BoolValue { readonly kind: "bool"; readonly value: boolean }
export interface EllipsisValue { readonly kind: "ellipsis" }
/** The StopIteration type itself (marshal `S`). */
export interface StopIterationValue { readonly kind: "stopiteration" }
export interface IntValue { readonly kind: "int"; readonly value: bigint }
/** IEEE-754 bits, so that -0.0 and NaN payloads survive. */
export interface FloatValue { readonly kind: "float"; readonly bits: bigint }
export interface ComplexValue { readonly kind: "complex"; readonly realBits: bigint; readonly imagBits: bigint }
/**
 * A str in CPython's canonical compact form: the narrowest unit that holds
 * every code point (1: all < 256, 2: all < 65536, else 4), little-endian units.
 * Lone surrogates are ordinary units of width 2 or 4.
 */
export interface StrValue {
  readonly kind: "str";
  readonly width: 1 | 2 | 4;
  /** Number of code points. */
  readonly length: number;
  /** All code points < 128. */
  readonly ascii: boolean;
  readonly data: Uint8Array;
  /** The stream's interned flag; what is interned in the end is decided by the constructor's rules. */
  readonly interned: boolean;
}
export interface BytesValue { readonly kind: "bytes"; readonly data: Uint8Array }
export interface TupleValue { readonly kind: "tuple"; readonly items: readonly PyValue[] }
export interface ListValue { readonly kind: "list"; readonly items: readonly PyValue[] }
export interface SetValue { readonly kind: "set"; readonly items: readonly PyValue[] }
/** Items in stream order, which is the order PySet_Add sees them in. */
export interface FrozensetValue { readonly kind: "frozenset"; readonly items: readonly PyValue[] }
export interface DictValue { readonly kind: "dict" | "frozendict"; readonly entries: readonly (readonly [PyValue, PyValue])[] }
export interface SliceValue { readonly kind: "slice"; readonly start: PyValue; readonly stop: PyValue; readonly step: PyValue }
/** A code object of 3.11+; 3.9/3.10 streams carry varnames etc. instead of localsplus (see `legacy`). */
export interface CodeValue {
  readonly kind: "code";
  readonly argcount: number;
  readonly posonlyargcount: number;
  readonly kwonlyargcount: number;
  readonly stacksize: number;
  readonly flags: number;
  /** co_code as marshalled: original opcodes, cache entries zero. */
  readonly code: BytesValue;
  readonly consts: TupleValue;
  readonly names: TupleValue;
  readonly localsplusnames: TupleValue;
  readonly localspluskinds: BytesValue;
  readonly filename: StrValue;
  readonly name: StrValue;
  readonly qualname: StrValue;
  readonly firstlineno: number;
  readonly linetable: BytesValue;
  readonly exceptiontable: BytesValue;
  /** Only in 3.9/3.10 streams; localsplus*, qualname and exceptiontable are then empty values. */
  readonly legacy?: {
    readonly nlocals: number;
    readonly varnames: TupleValue;
    readonly freevars: TupleValue;
    readonly cellvars: TupleValue;
  };
}

export type PyValue =
  | NoneValue | BoolValue | EllipsisValue | StopIterationValue
  | IntValue | FloatValue | ComplexValue | StrValue | BytesValue
  | TupleValue | ListValue | SetValue | FrozensetValue | DictValue | SliceValue | CodeValue;

/** How a .pyc says when it is valid (PEP 552). */
export type PycValidity =
  | { readonly kind: "timestamp"; /** source mtime, seconds mod 2^32 */ readonly mtime: number; /** source size mod 2^32 */ readonly size: number }
  | { readonly kind: "hash"; readonly checked: boolean; readonly hash: bigint };

export interface Pyc {
  /** The u16 magic number, e.g. 3495 for 3.11. */
  readonly magic: number;
  readonly validity: PycValidity;
  readonly code: CodeValue;
}
