/**
 * The shape of `data/*.json`: one file a CPython minor × platform × build
 * flavour, written by tools/probe-abi and never by hand. Numbers come from the
 * headers (probe.c) and from the running interpreter (facts.py).
 */
import { z } from "zod";
import type { StructName } from "./types.ts";

const count = z.int().nonnegative();
const kinds = ["signed", "unsigned", "pointer", "float", "inline"] as const;

const field = z.strictObject({ offset: count, size: count, kind: z.enum(kinds) });
const struct = z.strictObject({ size: count, fields: z.record(z.string(), field) });
const opcode = z.strictObject({
  number: z.int().min(0).max(255),
  /** Inline cache units that follow the instruction. */
  caches: z.int().min(0).max(255),
  /**
   * What the code constructor puts into the first of them. In 3.15 those of JUMP_BACKWARD and RESUME are defaults:
   * PYTHON_JIT_*_INITIAL_* variables change them, and with them when a JIT begins, nothing else.
   */
  initial: z.int().min(0).max(0xffff),
});

const structNames = [
  "PyObject", "PyVarObject", "PyCodeObject", "PyASCIIObject", "PyCompactUnicodeObject", "PyBytesObject", "PyLongObject",
  "PyFloatObject", "PyComplexObject", "PyTupleObject", "PySliceObject", "PySetObject",
] as const satisfies readonly StructName[];

const typeNames = [
  "PyCode_Type", "PyUnicode_Type", "PyBytes_Type", "PyTuple_Type", "PyLong_Type", "PyFloat_Type", "PyComplex_Type",
  "PyFrozenSet_Type", "PySlice_Type",
] as const;

export const abiDataSchema = z.strictObject({
  schema: z.literal(1),
  id: z.string(),
  /** The one build that these facts were read from; another build of the same minor must give the rest of the file. */
  probed: z.strictObject({
    release: z.string(),
    hexversion: count,
    /** The platform of the interpreter that was asked, where it is another: then only the headers are of this platform. */
    interpreter: z.string().optional(),
  }),
  version: z.strictObject({ major: count, minor: count }),
  platform: z.string(),
  flavour: z.enum(["release", "debug", "freethreaded"]),
  pointerSize: z.literal(8),
  pycMagic: z.int().min(0).max(0xffff),
  marshalVersion: count,
  structs: z.record(z.enum(structNames), struct),
  /** Mask of each bit field of the str state word; which there are depends on the version. */
  strState: z.strictObject({
    interned: count,
    kind: count,
    compact: count,
    ascii: count,
    ready: count.optional(),
    statically_allocated: count.optional(),
  }),
  /** Bytes 0 … ob_type, in hex, of an object that is never freed. */
  immortalHeader: z.string().regex(/^(?:[0-9a-f]{2})+$/),
  gcHeaderSize: count,
  /** Offset of m_ml, the PyMethodDef, in a PyCFunctionObject. */
  cfunctionDef: count,
  /**
   * The state of a collector with generations (Include/internal: struct _gc_runtime_state), as offsets in it; absent in
   * free-threaded builds. early releases of 3.14 (3.14.3 is one) have an incremental collector instead: those of the same minor are told apart at run time.
   */
  collector: z.strictObject({
    enabled: count,
    debug: count,
    /** Three of struct gc_generation. */
    generations: count,
    /**
     * The same where PyGC_Head is aligned to 4 bytes only, as Debian 13's 3.13 is patched (gh-127545, Py_ALIGNED): they follow
     * `debug` without a gap, all else stays. Told apart at run time.
     */
    packedGenerations: count,
    /** Points at the head of the first of them. */
    generation0: count,
    collecting: count,
    callbacks: count,
    longLivedTotal: count,
    longLivedPending: count,
    generationSize: count,
    /** In a generation, as the next two. */
    head: z.literal(0),
    threshold: count,
    count,
    /** Bytes of enabled, debug, threshold, count and collecting. */
    wordSize: z.literal(4),
    /** What gc.get_threshold()[0] begins with. */
    initialThreshold: count,
  }).optional(),
  /**
   * Classes (Include/cpython/object.h: PyTypeObject, PyHeapTypeObject) and the table that fills their slots (struct wrapperbase,
   * Objects/typeobject.c: slotdefs), as offsets; only of versions whose way of making a class native/runtime/types.c knows.
   */
  classes: z.strictObject({
    /** d_base in a PyWrapperDescrObject: leads into the table. */
    wrapperBase: count,
    /** A row of the table, and what is in it; its name, a C string, ends the table where it is NULL. */
    slotdefSize: count,
    slotdefName: z.literal(0),
    slotdefOffset: count,
    slotdefFunction: count,
    /** The name as an interned str. */
    slotdefObject: count,
    /** Bytes of slotdefOffset's word. */
    wordSize: z.literal(4),
    /** In a type, as all that follow. */
    dealloc: count,
    flags: count,
    base: count,
    dict: count,
    alloc: count,
    new: count,
    mro: count,
    vectorcall: count,
    /** Slots that the table fills are below this, in a heap type. */
    slotsEnd: count,
    module: count,
    typeName: count,
    /** Of a heap type. */
    size: count,
  }).optional(),
  int: z.strictObject({
    digitBits: count,
    digitSize: z.literal(4),
    /** How lv_tag (3.12+) is composed; absent where ob_size carries count and sign. */
    tag: z.strictObject({ sizeShift: count, zero: count, negative: count }).optional(),
  }),
  code: z.strictObject({
    /** Bits of co_localspluskinds (3.11+). */
    kinds: z.strictObject({ local: count, cell: count, free: count }).optional(),
    /** Words of a frame besides locals and stack: FRAME_SPECIALS_SIZE, part of co_framesize (3.12+). */
    frameSpecials: count.optional(),
    /** First value of co_warmup (3.11 only). */
    initialWarmup: z.int().optional(),
    /** Bits of co_flags, and the mark in co_cell2arg, that the constructor needs to find out about cells (to 3.10). */
    legacy: z.strictObject({ varargs: count, varkeywords: count, nofree: count, cellNotAnArgument: z.int().negative() }).optional(),
    /** The RESUME of this place (its operand under the mask) is not where tracing begins: 3.15's RESUME_AT_GEN_EXPR_START. */
    untracedResume: z.strictObject({ mask: count, place: count }).optional(),
    /** What the constructor makes of a co_stacksize of 0. */
    minimumStackSize: count,
  }),
  basicsizes: z.record(z.enum(typeNames), count),
  unicodeObjectSize: count,
  /** Types with Py_TPFLAGS_HAVE_GC, of those in basicsizes. */
  gcTypes: z.array(z.enum(typeNames)),
  smallInts: z.strictObject({ min: z.int(), max: z.int() }),
  /** marshal knows slices (3.14+). */
  sliceConstants: z.boolean(),
  /** The code constructor interns every str constant, not only names. */
  internsAllConstants: z.boolean(),
  opcodes: z.record(z.string(), opcode),
  /** `first` directly before `second` becomes opcode `number` (3.12). */
  superinstructions: z.array(z.strictObject({ first: z.string(), second: z.string(), number: z.int().min(0).max(255) })),
});

export type AbiData = z.infer<typeof abiDataSchema>;
