/** The shape of a CPython ABI as this toolchain uses it; the facts are data in `data/*.json`. */

/** What the writer does with a field of an object that it lays out. */
export type FieldRole =
  /** a number or bytes taken from the value */
  | "copy"
  /** a pointer to another object of the image */
  | "internal"
  /** a pointer to a type or singleton of the interpreter */
  | "external"
  /** must be 0 / NULL */
  | "zero"
  /** derived by a rule of the ABI (hash = -1, framesize, warmup, …) */
  | "computed";

export interface FieldLayout {
  readonly name: string;
  /** Bytes from the start of the object. */
  readonly offset: number;
  /** Bytes; 0 for trailing inline data. */
  readonly size: number;
  readonly kind: "signed" | "unsigned" | "pointer" | "float" | "inline";
  readonly role: FieldRole;
}

export interface StructLayout {
  readonly name: string;
  /** sizeof; for objects with trailing data, the offset where that data begins may be smaller (see the inline field). */
  readonly size: number;
  readonly fields: ReadonlyMap<string, FieldLayout>;
}

/** Structures that every ABI must describe. */
export type StructName =
  | "PyObject" | "PyVarObject" | "PyCodeObject" | "PyASCIIObject" | "PyCompactUnicodeObject"
  | "PyBytesObject" | "PyLongObject" | "PyFloatObject" | "PyComplexObject" | "PyTupleObject"
  | "PySliceObject" | "PySetObject";

/** One row of the runtime's self-check against live objects. */
export interface SelfCheck {
  /** Which live object: a code object, or the type whose __basicsize__ is compared. */
  readonly subject: "code" | "type";
  /** `i32`: the word at offset equals the attribute; `pointer`: the word is the attribute's address; `basicsize`: type.__basicsize__ equals `offset`. */
  readonly what: "i32" | "pointer" | "basicsize";
  readonly offset: number;
  /** Attribute of the code object, or the external name of the type (`PyTuple_Type`). */
  readonly name: string;
}

export interface Abi {
  /** `cpython-3.11-linux-x86_64-release`. */
  readonly id: string;
  /** SHA-256 of the canonical JSON of the data file. */
  readonly digest: Uint8Array;
  readonly version: { readonly major: number; readonly minor: number };
  /** u16 .pyc magic number. */
  readonly pycMagic: number;
  readonly platform: string;
  readonly flavour: "release" | "debug" | "freethreaded";
  readonly pointerSize: 8;
  struct(name: StructName): StructLayout;
  /** Layout of one field; throws (our bug) when the ABI lacks it. */
  field(struct: StructName, field: string): FieldLayout;
  hasField(struct: StructName, field: string): boolean;

  /** Bytes 0 … offset of ob_type of every image object: the reference count that is never freed, flags. */
  readonly immortalHeader: Uint8Array;
  /** Bytes of the GC header in front of GC objects (0 in free-threaded builds). */
  readonly gcHeaderSize: number;
  /** Which of our types carry a GC header. */
  readonly gcKinds: ReadonlySet<"tuple" | "frozenset" | "slice" | "code">;
  /** Range of ints that are singletons of the interpreter. */
  readonly smallInts: { readonly min: number; readonly max: number };
  /** slice constants exist in this version's marshal (3.14+). */
  readonly hasSliceConstants: boolean;
  /** Unique co_version per code object needed (3.12+). */
  readonly hasCodeVersion: boolean;

  /** The u32 `state` word of a compact str, not interned. */
  strState(width: 1 | 2 | 4, ascii: boolean): number;
  /** Bytes that follow the object header in a PyLongObject (size word or lv_tag, then digits), and where they begin. */
  intBody(value: bigint): { readonly offset: number; readonly bytes: Uint8Array };
  /** Initial co_code_adaptive for marshalled co_code (facts: quickening per version). */
  quicken(code: Uint8Array): Uint8Array;
  /** Derived scalar fields of a code object that the stream does not carry, by C field name (co_nlocalsplus, co_nlocals, co_ncellvars, co_nfreevars, co_framesize, co_warmup, _co_firsttraceable, ob_size, co_stacksize …). */
  codeScalars(code: CodeFacts): ReadonlyMap<string, number>;
  /** Whether a str constant is interned by the code constructor (ASCII and all [A-Za-z0-9_]; all strings in free-threaded builds). */
  internsConstant(ascii: boolean, data: Uint8Array): boolean;
  /** Rows for the runtime's self-check. */
  readonly selfChecks: readonly SelfCheck[];
}

/** What codeScalars needs to know of a code object. */
export interface CodeFacts {
  readonly argcount: number;
  readonly posonlyargcount: number;
  readonly kwonlyargcount: number;
  readonly stacksize: number;
  readonly flags: number;
  readonly firstlineno: number;
  readonly code: Uint8Array;
  readonly localspluskinds: Uint8Array;
}
