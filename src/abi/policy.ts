/**
 * What the writer does with every field of every struct, written by hand: the
 * one place where someone has looked at each field. A field of the data
 * without a role here, or a role for a field that no version has, stops
 * {@link checkPolicy} (and with it tools/probe-abi --check); loadAbi makes the first check of its own data.
 */
import { PycdsError, exitCode } from "../base/errors.ts";
import type { AbiData } from "./schema.ts";
import type { FieldRole, StructName } from "./types.ts";

type Roles = Readonly<Record<string, FieldRole>>;

/** Include/object.h. The count that is never freed, with what belongs to it, is immortalHeader. */
const header: Roles = {
  ob_refcnt: "computed",
  /** 3.14+, part of that count's word. */
  ob_overflow: "computed",
  ob_flags: "computed",
  // Free-threaded builds: no thread owns it, nobody locks it, the collector does not know it.
  ob_tid: "zero",
  _padding: "zero",
  ob_mutex: "zero",
  ob_gc_bits: "zero",
  ob_ref_local: "computed",
  ob_ref_shared: "zero",
  ob_type: "external",
};
const varHeader: Roles = { ...header, ob_size: "computed" };

/** Objects/unicodeobject.c: state by the ABI's rule; -1 is "not hashed yet"; caches of other encodings are absent. */
const str: Roles = {
  ...header,
  length: "copy",
  hash: "computed",
  state: "computed",
  /** To 3.11, PyUnicode_New: NULL, but the data itself where wchar_t is as wide as the kind (4). */
  wstr: "computed",
  data: "copy",
};

export const policy: Readonly<Record<StructName, Roles>> = {
  PyObject: header,
  PyVarObject: varHeader,
  PyCodeObject: {
    ...varHeader,
    // From the marshal stream (Python/marshal.c: r_object, TYPE_CODE).
    co_argcount: "copy",
    co_posonlyargcount: "copy",
    co_kwonlyargcount: "copy",
    co_firstlineno: "copy",
    co_consts: "internal",
    co_names: "internal",
    co_localsplusnames: "internal",
    co_localspluskinds: "internal",
    co_filename: "internal",
    co_name: "internal",
    co_qualname: "internal",
    co_linetable: "internal",
    co_exceptiontable: "internal",
    // To 3.10 (PyCode_NewWithPosOnlyArgs).
    co_code: "internal",
    co_varnames: "internal",
    co_freevars: "internal",
    co_cellvars: "internal",
    co_lnotab: "internal",
    /** An array, no object; NULL where no argument is a cell. */
    co_cell2arg: "internal",
    // Objects/codeobject.c: init_code; the rules are in code.ts.
    /** To 3.10 CO_NOFREE is the constructor's; else as in the stream. */
    co_flags: "computed",
    co_stacksize: "computed",
    co_nlocalsplus: "computed",
    co_nlocals: "computed",
    co_nplaincellvars: "computed",
    co_ncellvars: "computed",
    co_nfreevars: "computed",
    co_framesize: "computed",
    co_warmup: "computed",
    _co_firsttraceable: "computed",
    /** Unique in the process, so filled at load. */
    co_version: "computed",
    /** Python/specialize.c: _PyCode_Quicken. */
    co_code_adaptive: "computed",
    // Caches and hooks of the running process.
    co_weakreflist: "zero",
    co_extra: "zero",
    co_executors: "zero",
    _co_code: "zero",
    _co_cached: "zero",
    _co_linearray: "zero",
    _co_linearray_entry_size: "zero",
    _co_instrumentation_version: "zero",
    _co_monitoring: "zero",
    /** 3.14+: 0 is "none", _Py_INVALID_UNIQUE_ID of Include/internal/pycore_uniqueid.h; builds with a GIL never set it or look at it. */
    _co_unique_id: "zero",
    co_zombieframe: "zero",
    co_opcache_map: "zero",
    co_opcache: "zero",
    /** Counts calls until the cache is made. */
    co_opcache_flag: "zero",
    co_opcache_size: "zero",
  },
  PyASCIIObject: str,
  PyCompactUnicodeObject: {
    ...str,
    utf8_length: "zero",
    utf8: "zero",
    /** To 3.11: the length where wstr is the data, else 0. */
    wstr_length: "computed",
  },
  PyBytesObject: { ...varHeader, ob_shash: "computed", ob_sval: "copy" },
  PyLongObject: { ...varHeader, lv_tag: "computed", ob_digit: "computed" },
  PyFloatObject: { ...header, ob_fval: "copy" },
  PyComplexObject: { ...header, cval: "copy" },
  /** ob_hash (3.14+): -1 is "not hashed yet". */
  PyTupleObject: { ...varHeader, ob_hash: "computed", ob_item: "internal" },
  PySliceObject: { ...header, start: "internal", stop: "internal", step: "internal" },
  /** Frozensets are made anew at load (hashes vary from process to process); Objects/setobject.c: make_new_set. */
  PySetObject: {
    ...header,
    fill: "computed",
    used: "computed",
    mask: "computed",
    table: "internal",
    hash: "computed",
    finger: "zero",
    smalltable: "internal",
    weakreflist: "zero",
  },
};

function fieldsOf(data: AbiData): (readonly [StructName, string])[] {
  return (Object.entries(data.structs) as [StructName, { fields: object }][]).flatMap(([struct, { fields }]) => Object.keys(fields).map((field) => [struct, field] as const));
}

function roleFaults(data: AbiData, roles: Readonly<Record<StructName, Roles>>): string[] {
  return fieldsOf(data).flatMap(([struct, field]) => (Object.hasOwn(roles[struct], field) ? [] : [`${data.id}: ${struct}.${field} has no role`]));
}

/** Every disagreement between a policy and the data of all versions, one line each. */
export function policyFaults(datas: readonly AbiData[], roles: Readonly<Record<StructName, Roles>> = policy): string[] {
  const faults = datas.flatMap((data) => roleFaults(data, roles));
  const used = new Set(datas.flatMap(fieldsOf).map(([struct, field]) => `${struct}.${field}`));
  for (const [struct, fields] of Object.entries(roles)) {
    for (const field of Object.keys(fields)) {
      if (!used.has(`${struct}.${field}`)) faults.push(`policy: ${struct}.${field} has a role but exists in no version`);
    }
  }
  return faults;
}

/** @throws PycdsError ABI_POLICY naming every fault */
export function checkPolicy(datas: readonly AbiData[]): void {
  refuse(policyFaults(datas));
}

/** Each field of this data has a role. @throws PycdsError ABI_POLICY naming every fault */
export function checkRoles(data: AbiData): void {
  refuse(roleFaults(data, policy));
}

function refuse(faults: readonly string[]): void {
  if (faults.length > 0) {
    throw new PycdsError("ABI_POLICY", "the field policy does not fit the ABI data", faults.join("; "), {
      next: "give each field its role in src/abi/policy.ts",
      exit: exitCode.bug,
    });
  }
}
