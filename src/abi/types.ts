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

/** Offsets in the state of a collector with generations; schema.ts says what each is. */
export interface Collector {
  readonly enabled: number;
  readonly debug: number;
  readonly generations: number;
  readonly packedGenerations: number;
  readonly generation0: number;
  readonly collecting: number;
  readonly callbacks: number;
  readonly longLivedTotal: number;
  readonly longLivedPending: number;
  readonly generationSize: number;
  readonly threshold: number;
  readonly count: number;
  readonly initialThreshold: number;
}

/** Offsets in classes and in the table of their slots; schema.ts says what each is. */
export interface Classes {
  readonly wrapperBase: number;
  readonly slotdefSize: number;
  readonly slotdefOffset: number;
  readonly slotdefFunction: number;
  readonly slotdefObject: number;
  readonly dealloc: number;
  readonly flags: number;
  readonly base: number;
  readonly dict: number;
  readonly alloc: number;
  readonly new: number;
  readonly mro: number;
  readonly vectorcall: number;
  readonly slotsEnd: number;
  readonly module: number;
  readonly typeName: number;
  readonly size: number;
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
  /** The collector's state; absent where it has no generations (schema.ts). */
  readonly collector?: Collector;
  /** Offset of the PyMethodDef pointer in a builtin function. */
  readonly cfunctionDef: number;
  /** How classes are made; absent where the runtime leaves that to stock (schema.ts). */
  readonly classes?: Classes;
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
  /**
   * To 3.10: variables are the tuples co_varnames, co_freevars and co_cellvars, and the bytecode is a bytes object
   * (co_code); `CodeFacts.legacy` is needed. From 3.11 on: co_localsplus*, and the bytecode is trailing data.
   */
  readonly hasLegacyCode: boolean;
  /** Initial bytecode for marshalled co_code: co_code_adaptive (facts: quickening per version), or, to 3.10, co_code itself, unchanged. */
  quicken(code: Uint8Array): Uint8Array;
  /** Fields of a code object that are derived by a rule, by C field name: those with the role `computed` that are not filled at load (co_flags, co_stacksize, co_nlocals, ob_size, co_framesize, …). */
  codeScalars(code: CodeFacts): ReadonlyMap<string, number>;
  /**
   * To 3.10: what co_cell2arg points at, one Py_ssize_t (8 bytes) for each cell variable: the index of the argument of
   * that name, or -1 (Include/cpython/code.h: CO_CELL_NOT_AN_ARG). `undefined`: no cell variable is an argument, and the field is NULL; so it
   * is in every version without the field.
   */
  cell2arg(code: CodeFacts): readonly number[] | undefined;
  /** Whether the code constructor interns a str constant, in co_consts or in a tuple or frozenset of it. */
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
  /** Empty to 3.10. */
  readonly localspluskinds: Uint8Array;
  /** To 3.10 only, and needed there ({@link Abi.hasLegacyCode}). */
  readonly legacy?: LegacyCodeFacts;
}

/** The variables of a code object of 3.9 or 3.10. */
export interface LegacyCodeFacts {
  readonly nlocals: number;
  readonly varnames: readonly NameFacts[];
  readonly cellvars: readonly NameFacts[];
  readonly freevars: readonly NameFacts[];
}

/** A str, in its one canonical form: equal names have equal width and data. */
export interface NameFacts {
  readonly width: 1 | 2 | 4;
  readonly data: Uint8Array;
}
