// Guards facts/cpython.md §6, ".pyc": header of PEP 552, magic numbers, flag bits.
import { describe, expect, test } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { readPyc } from "../../src/pyc/pyc.ts";
import type { Pyc } from "../../src/pyc/value.ts";
import { strFromText } from "../../src/pyc/text.ts";
import { writeMarshal } from "./writer.ts";

const empty = { kind: "tuple", items: [] } as const;
const noBytes = { kind: "bytes", data: new Uint8Array(0) } as const;
const body = writeMarshal(
  {
    kind: "code", argcount: 0, posonlyargcount: 0, kwonlyargcount: 0, stacksize: 1, flags: 0, code: noBytes, consts: empty, names: empty, localsplusnames: empty,
    localspluskinds: noBytes, filename: strFromText("f.py"), name: strFromText("<module>"), qualname: strFromText("<module>"), firstlineno: 1, linetable: noBytes, exceptiontable: noBytes,
  },
  { minor: 11 },
);

function pyc(flags: number, first: number, second: number, magic = 3495, content: Uint8Array = body): Uint8Array {
  const header = Buffer.alloc(16);
  header.writeUInt16LE(magic);
  header.write("\r\n", 2, "latin1");
  header.writeUInt32LE(flags, 4);
  header.writeUInt32LE(first, 8);
  header.writeUInt32LE(second, 12);
  return Buffer.concat([header, content]);
}
function read(bytes: Uint8Array): Pyc {
  return readPyc(bytes, { file: "f.pyc", expectMagic: 3495, minor: 11 });
}
function failure(bytes: Uint8Array): PycdsError {
  try {
    read(bytes);
  } catch (error) {
    if (error instanceof PycdsError) return error;
    throw error;
  }
  throw new Error("was read without an error");
}

describe("validity", () => {
  test("timestamp", () => {
    expect(read(pyc(0, 0xfffffffe, 7)).validity).toEqual({ kind: "timestamp", mtime: 0xfffffffe, size: 7 });
  });
  test("unchecked and checked hash", () => {
    expect(read(pyc(1, 0x11223344, 0xaabbccdd)).validity).toEqual({ kind: "hash", checked: false, hash: 0xaabbccdd11223344n });
    expect(read(pyc(3, 1, 0)).validity).toEqual({ kind: "hash", checked: true, hash: 1n });
  });
  test("check_source without hash-based is a timestamp, as for importlib", () => {
    expect(read(pyc(2, 5, 6)).validity).toEqual({ kind: "timestamp", mtime: 5, size: 6 });
  });
  test.each([4, 5, 0x80000000])("flags %i are invalid", (flags) => {
    expect(failure(pyc(flags, 0, 0))).toMatchObject({ code: "PYC_BAD_FLAGS", offset: 4, file: "f.pyc" });
  });
});

test("magic and code are those of the file", () => {
  const { magic, code } = read(pyc(0, 0, 0));
  expect(magic).toBe(3495);
  expect(code.firstlineno).toBe(1);
});
test("bytes behind the code are ignored, as marshal.loads does", () => {
  expect(read(pyc(0, 0, 0, 3495, Buffer.concat([body, Buffer.from("junk")]))).code.kind).toBe("code");
});

describe("foreign files", () => {
  test("another version's .pyc names both magics", () => {
    const error = failure(pyc(0, 0, 0, 3571));
    expect(error.code).toBe("PYC_FOREIGN");
    expect(error.line).toMatch(/f\.pyc, offset 0.*3571 \(CPython 3\.13\).*3495 \(CPython 3\.11\)/);
  });
  test("an unknown magic is given as a number", () => {
    expect(failure(pyc(0, 0, 0, 1234)).why).toContain("is 1234;");
  });
  test("right magic, but line end damaged", () => {
    const bytes = pyc(0, 0, 0);
    bytes[2] = 0x0a;
    expect(failure(bytes)).toMatchObject({ code: "PYC_FOREIGN" });
    expect(failure(bytes).why).toContain("a70d0a0a");
  });
  test("no .pyc at all", () => {
    expect(failure(Buffer.from("#!/bin/sh\n")).code).toBe("PYC_FOREIGN");
  });
});

describe("damaged files", () => {
  test("empty", () => {
    expect(failure(new Uint8Array(0))).toMatchObject({ code: "PYC_TRUNCATED", why: "the file is empty" });
  });
  test("every truncation", () => {
    const whole = pyc(0, 0, 0);
    for (let size = 1; size < whole.length; size++) expect(failure(whole.subarray(0, size)).code).toBe("PYC_TRUNCATED");
  });
  test("not a code object", () => {
    const error = failure(pyc(0, 0, 0, 3495, Buffer.from(")\x00", "latin1")));
    expect(error).toMatchObject({ code: "PYC_BAD_VALUE", offset: 16 });
    expect(error.why).toContain("tuple of 0");
  });
  test("faults in the code have offsets in the file", () => {
    expect(failure(pyc(0, 0, 0, 3495, Buffer.from("?")))).toMatchObject({ code: "PYC_BAD_TYPE", offset: 16, file: "f.pyc" });
  });
});
