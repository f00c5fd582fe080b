/**
 * The code object of a marshal stream (TYPE_CODE), with the checks that
 * CPython's constructor makes: _PyCode_Validate and _PyCode_New
 * (Objects/codeobject.c) in 3.11+, PyCode_NewWithPosOnlyArgs in 3.9 and 3.10.
 */
import { describe, strFromLatin1 } from "./text.ts";
import type { BytesValue, CodeValue, PyValue, StrValue, TupleValue } from "./value.ts";

/** What a stream holds of a code object, in stream order. */
export interface CodeShape {
  /** i32 fields at the head. */
  readonly counts: number;
  /** Objects before firstlineno. */
  readonly before: number;
  /** Objects in all. */
  readonly objects: number;
}

const modern: CodeShape = { counts: 5, before: 8, objects: 10 };
const legacy: CodeShape = { counts: 6, before: 8, objects: 9 };

/** Which layout CPython 3.`minor` uses (Python/marshal.c, r_object, TYPE_CODE). */
export function codeShape(minor: number): CodeShape {
  return minor >= 11 ? modern : legacy;
}

/** A code object that CPython would refuse; `why` names the field. */
export class BadCode extends Error {}

const varargs = 0x04;
const varkeywords = 0x08;
/** CO_FAST_LOCAL (Include/internal/pycore_code.h): a localsplus slot that is a local variable. */
const fastLocal = 0x20;
/** INT_MAX less the largest frame head of any version, in words (_PyCode_Validate: "co_stacksize is too large"). */
const maxFrameWords = 0x7fffffff - 64;

const noBytes: BytesValue = { kind: "bytes", data: new Uint8Array(0) };
const noNames: TupleValue = { kind: "tuple", items: [] };
const noStr: StrValue = strFromLatin1(new Uint8Array(0), false);

/**
 * @param counts the i32 fields at the head, in stream order
 * @param objects the objects, in stream order
 * @throws BadCode
 */
export function makeCode(minor: number, counts: readonly number[], objects: readonly PyValue[], firstlineno: number): CodeValue {
  return minor >= 11 ? makeModern(minor, counts, objects, firstlineno) : makeLegacy(counts, objects, firstlineno);
}

function makeModern(minor: number, counts: readonly number[], objects: readonly PyValue[], firstlineno: number): CodeValue {
  const [argcount = -1, posonlyargcount = -1, kwonlyargcount = -1, stacksize = -1, flags = -1] = counts;
  const [code, consts, names, localsplusnames, localspluskinds, filename, name, qualname, linetable, exceptiontable] = objects;
  const value: CodeValue = {
    kind: "code",
    argcount,
    posonlyargcount,
    kwonlyargcount,
    // 3.13 raises 0 to 1 when it makes the object; older versions keep it.
    stacksize: minor >= 13 && stacksize === 0 ? 1 : stacksize,
    flags,
    code: bytesField("code", code),
    consts: tupleField("consts", consts),
    names: namesField("names", names),
    localsplusnames: namesField("localsplusnames", localsplusnames),
    localspluskinds: bytesField("localspluskinds", localspluskinds),
    filename: strField("filename", filename),
    name: strField("name", name),
    qualname: strField("qualname", qualname),
    firstlineno,
    linetable: bytesField("linetable", linetable),
    exceptiontable: bytesField("exceptiontable", exceptiontable),
  };
  checkCounts({ argcount, posonlyargcount, kwonlyargcount, stacksize, flags });
  const kinds = value.localspluskinds.data;
  const slots = value.localsplusnames.items.length;
  if (kinds.byteLength !== slots) throw new BadCode(`code object with ${slots} localsplusnames, but ${kinds.byteLength} localspluskinds`);
  if (value.code.data.byteLength % 2 !== 0) throw new BadCode(`code object with ${value.code.data.byteLength} bytes of code, an odd number`);
  if (stacksize > maxFrameWords - slots) throw new BadCode(`code object with stacksize ${stacksize}, too large for a frame`);
  let locals = 0;
  for (const kind of kinds) if ((kind & fastLocal) !== 0) locals++;
  checkArguments(value, locals);
  return value;
}

function makeLegacy(counts: readonly number[], objects: readonly PyValue[], firstlineno: number): CodeValue {
  const [argcount = -1, posonlyargcount = -1, kwonlyargcount = -1, nlocals = -1, stacksize = -1, flags = -1] = counts;
  const [code, consts, names, varnames, freevars, cellvars, filename, name, linetable] = objects;
  const value = {
    kind: "code",
    argcount,
    posonlyargcount,
    kwonlyargcount,
    stacksize,
    flags,
    code: bytesField("code", code),
    consts: tupleField("consts", consts),
    names: namesField("names", names),
    localsplusnames: noNames,
    localspluskinds: noBytes,
    filename: strField("filename", filename),
    name: strField("name", name),
    qualname: noStr,
    firstlineno,
    linetable: bytesField("linetable", linetable),
    exceptiontable: noBytes,
    legacy: {
      nlocals,
      varnames: namesField("varnames", varnames),
      freevars: namesField("freevars", freevars),
      cellvars: namesField("cellvars", cellvars),
    },
  } satisfies CodeValue;
  checkCounts({ argcount, posonlyargcount, kwonlyargcount, nlocals, stacksize, flags });
  checkArguments(value, value.legacy.varnames.items.length);
  return value;
}

function checkCounts(counts: Readonly<Record<string, number>> & { readonly argcount: number; readonly posonlyargcount: number }): void {
  for (const field in counts) {
    const count = counts[field] ?? -1;
    if (count < 0) throw new BadCode(`code object with ${field} ${count}`);
  }
  if (counts.argcount < counts.posonlyargcount) {
    throw new BadCode(`code object with ${counts.posonlyargcount} positional-only of ${counts.argcount} arguments`);
  }
}

function checkArguments(code: CodeValue, locals: number): void {
  const star = (code.flags & varargs) === 0 ? 0 : 1;
  const starStar = (code.flags & varkeywords) === 0 ? 0 : 1;
  const wanted = code.argcount + code.kwonlyargcount + star + starStar;
  if (wanted > locals) throw new BadCode(`code object with ${wanted} arguments, but ${locals} local variables`);
}

function refuse(field: string, value: PyValue | undefined, wanted: string): BadCode {
  return new BadCode(`code object whose ${field} is ${value === undefined ? "missing" : describe(value)}, not ${wanted}`);
}

function bytesField(field: string, value: PyValue | undefined): BytesValue {
  if (value?.kind !== "bytes") throw refuse(field, value, "bytes");
  return value;
}
function strField(field: string, value: PyValue | undefined): StrValue {
  if (value?.kind !== "str") throw refuse(field, value, "str");
  return value;
}
function tupleField(field: string, value: PyValue | undefined): TupleValue {
  if (value?.kind !== "tuple") throw refuse(field, value, "a tuple");
  return value;
}
function namesField(field: string, value: PyValue | undefined): TupleValue {
  const names = tupleField(field, value);
  for (const name of names.items) {
    if (name.kind !== "str") throw new BadCode(`code object whose ${field} holds ${describe(name)}, not only str`);
  }
  return names;
}
