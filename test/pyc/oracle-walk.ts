/**
 * Compares a value with oracle.py's account of it, token by token. A token is a
 * line: an optional mark, then a type letter and operands.
 *
 *     #N …   an object whose identity counts, seen for the first time
 *     @N     the same object again; nothing follows
 *     !…     an interned str: CPython has one object for each text
 *
 * Without mark: an object that CPython makes once whatever the stream says
 * (small ints, empty tuple, …), or one that it makes at each request (co_code).
 */
import type { CodeValue, PyValue } from "../../src/pyc/value.ts";

/** The members of a set or dict differ in number because equal ones were merged: only for damaged streams. */
export class Merged extends Error {}

export class Walk {
  private readonly byNumber = new Map<string, PyValue>();
  private readonly numbered = new Map<PyValue, string>();
  private readonly tokens: readonly string[];
  /** Index of the next token. */
  at: number;
  /** Code objects around the value. */
  private codes = 0;

  constructor(tokens: readonly string[], at: number) {
    this.tokens = tokens;
    this.at = at;
  }

  /** @throws Error that says what differs */
  value(value: PyValue): void {
    const token = this.tokens[this.at] ?? "";
    this.at++;
    const marked = /^([#@])(\d+) ?/.exec(token);
    const number = marked?.[2] ?? "";
    if (marked?.[1] === "@") {
      if (this.byNumber.get(number) !== value) this.fail(`CPython has object ${number} here again`, value);
      return;
    }
    let content = token.slice(marked?.[0].length ?? 0);
    if (marked !== null) {
      const other = this.numbered.get(value);
      if (other !== undefined) this.fail(`CPython has two objects, ${other} and ${number}`, value);
      this.byNumber.set(number, value);
      this.numbered.set(value, number);
      if (value.kind === "str" && value.interned) this.fail("CPython has a str that is not interned", value);
    }
    if (content.startsWith("!")) {
      content = content.slice(1);
      // Inside a code object the constructor interns names and constants whatever the stream says.
      if (this.codes === 0 && value.kind === "str" && !value.interned && value.length > 1) this.fail("CPython has an interned str", value);
    }
    const wanted = spell(value);
    if (content !== wanted) {
      const sizes = /^([<{]) (\d+)$/.exec(content);
      if (sizes !== null && wanted.startsWith(sizes[1] ?? "") && Number(sizes[2]) < Number(wanted.slice(2))) throw new Merged();
      this.fail(`CPython has ${content.slice(0, 200)}`, value);
    }
    const inside = value.kind === "code" ? 1 : 0;
    this.codes += inside;
    for (const part of parts(value)) this.value(part);
    this.codes -= inside;
  }

  private fail(why: string, value: PyValue): never {
    throw new Error(`token ${this.at}: ${why}; the reader has ${spell(value).slice(0, 200)}`);
  }
}

/** A token without its mark. */
function spell(value: PyValue): string {
  switch (value.kind) {
    case "none":
      return "N";
    case "bool":
      return value.value ? "T" : "F";
    case "ellipsis":
      return ".";
    case "stopiteration":
      return "S";
    case "int":
      return `i ${value.value.toString(16)}`;
    case "float":
      return `g ${bits(value.bits)}`;
    case "complex":
      return `y ${bits(value.realBits)} ${bits(value.imagBits)}`;
    case "str":
      return `u ${value.width} ${value.length} ${value.ascii ? 1 : 0} ${hex(value.data)}`;
    case "bytes":
      return `s ${hex(value.data)}`;
    case "tuple":
      return `( ${value.items.length}`;
    case "list":
      return `[ ${value.items.length}`;
    case "set":
      return `< ${value.items.length}`;
    case "frozenset":
      return `> ${value.items.length}`;
    case "dict":
      return `{ ${value.entries.length}`;
    case "frozendict":
      return `} ${value.entries.length}`;
    case "slice":
      return ":";
    case "code": {
      const counts = [value.argcount, value.posonlyargcount, value.kwonlyargcount, value.stacksize, value.flags, value.firstlineno];
      if (value.legacy !== undefined) counts.push(value.legacy.nlocals);
      return `c ${counts.join(" ")}`;
    }
  }
}

/** What is described behind a value's own token, in oracle.py's order. */
function parts(value: PyValue): readonly PyValue[] {
  switch (value.kind) {
    case "tuple":
    case "list":
      return value.items;
    case "set":
    case "frozenset":
      return value.items
        .map((item) => [content(item), item] as const)
        .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        .map(([, item]) => item);
    case "dict":
    case "frozendict":
      return value.entries.flat();
    case "slice":
      return [value.start, value.stop, value.step];
    case "code":
      return codeParts(value);
    default:
      return [];
  }
}

function codeParts(code: CodeValue): readonly PyValue[] {
  const head = [code.code, code.consts, code.names];
  if (code.legacy !== undefined) {
    return [...head, code.legacy.varnames, code.legacy.freevars, code.legacy.cellvars, code.filename, code.name, code.linetable];
  }
  return [...head, code.localsplusnames, code.localspluskinds, code.filename, code.name, code.qualname, code.linetable, code.exceptiontable];
}

/** oracle.py's content(): all tokens without marks. */
function content(value: PyValue): string {
  return [spell(value), ...parts(value).map(content)].join("\n");
}

function bits(value: bigint): string {
  return value.toString(16).padStart(16, "0");
}
function hex(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");
}
