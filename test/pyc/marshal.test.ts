// Guards facts/cpython.md §6: type codes, reference table rules, code layouts, depth.
import { describe, expect, test } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { maxDepth, readMarshal } from "../../src/pyc/marshal.ts";
import { strFromText, strText } from "../../src/pyc/text.ts";
import type { CodeValue, PyValue } from "../../src/pyc/value.ts";
import { difference } from "./same.ts";
import { writeMarshal } from "./writer.ts";

type Part = string | number | readonly number[] | Uint8Array;

/** Bytes from Latin-1 text, single bytes, and arrays. */
function stream(...parts: readonly Part[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : typeof part === "number" ? Buffer.of(part) : Buffer.from(part))),
  );
}
function i32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
function u16(...values: readonly number[]): Uint8Array {
  return Buffer.concat(values.map((value) => Buffer.of(value & 0xff, value >> 8)));
}
function flagged(type: string): number {
  return type.charCodeAt(0) | 0x80;
}
function read(bytes: Uint8Array, minor = 13): PyValue {
  const { value, end } = readMarshal(bytes, { minor });
  expect(end).toBe(bytes.length);
  return value;
}
function failure(bytes: Uint8Array, minor = 13): PycdsError {
  try {
    readMarshal(bytes, { minor, file: "m.pyc" });
  } catch (error) {
    if (error instanceof PycdsError) return error;
    throw error;
  }
  throw new Error("was read without an error");
}
function items(value: PyValue): readonly PyValue[] {
  if (!("items" in value)) throw new Error(`a ${value.kind} has no items`);
  return value.items;
}
const int = (value: number | bigint): PyValue => ({ kind: "int", value: BigInt(value) });

describe("scalars", () => {
  test.each<[string, Uint8Array, PyValue]>([
    ["N", stream("N"), { kind: "none" }],
    ["T", stream("T"), { kind: "bool", value: true }],
    ["F", stream("F"), { kind: "bool", value: false }],
    [".", stream("."), { kind: "ellipsis" }],
    ["S", stream("S"), { kind: "stopiteration" }],
    ["i", stream("i", i32(-2)), int(-2)],
    ["I", stream("I", i32(0), i32(-0x80000000)), int(-(2n ** 63n))],
    ["l of no digits", stream("l", i32(0)), int(0)],
    ["l positive", stream("l", i32(3), u16(1, 2, 3)), int(1n + (2n << 15n) + (3n << 30n))],
    ["l negative", stream("l", i32(-2), u16(0x7fff, 0x7fff)), int(-(2n ** 30n - 1n))],
    ["l of one digit", stream("l", i32(-1), u16(1)), int(-1)],
    ["g -0.0", stream("g", i32(0), i32(-0x80000000)), { kind: "float", bits: 0x8000000000000000n }],
    ["g nan with payload", stream("g", i32(0x1234), i32(0x7ff80001)), { kind: "float", bits: 0x7ff8000100001234n }],
    ["g signalling nan", stream("g", i32(1), i32(0x7ff00000)), { kind: "float", bits: 0x7ff0000000000001n }],
    ["y", stream("y", i32(0), i32(0x3ff00000), i32(0), i32(-0x40000000)), { kind: "complex", realBits: 0x3ff0000000000000n, imagBits: 0xc000000000000000n }],
    ["f", stream("f", 3, "1e5"), { kind: "float", bits: 0x40f86a0000000000n }],
    ["f inf", stream("f", 9, "-InFiNiTy"), { kind: "float", bits: 0xfff0000000000000n }],
    ["f nan", stream("f", 4, "-nan"), { kind: "float", bits: 0xfff8000000000000n }],
    ["f behind a NUL", stream("f", 5, ".5\0xy"), { kind: "float", bits: 0x3fe0000000000000n }],
    ["x", stream("x", 1, "1", 2, "2."), { kind: "complex", realBits: 0x3ff0000000000000n, imagBits: 0x4000000000000000n }],
    ["s", stream("s", i32(3), "a\0\xff"), { kind: "bytes", data: Uint8Array.of(97, 0, 255) }],
  ])("%s", (_name, bytes, value) => {
    const actual = read(bytes);
    if (actual.kind === "bytes" && value.kind === "bytes") expect([...actual.data]).toEqual([...value.data]);
    else expect(actual).toEqual(value);
  });

  test.each<[string, Uint8Array, string, 1 | 2 | 4, boolean, boolean]>([
    ["z", stream("z", 2, "ab"), "ab", 1, true, false],
    ["Z", stream("Z", 2, "ab"), "ab", 1, true, true],
    ["a", stream("a", i32(2), "ab"), "ab", 1, true, false],
    ["A", stream("A", i32(2), "ab"), "ab", 1, true, true],
    ["z with a high byte is Latin-1", stream("z", 1, "\xe9"), "é", 1, false, false],
    ["u ascii", stream("u", i32(1), "a"), "a", 1, true, false],
    ["u empty", stream("u", i32(0)), "", 1, true, false],
    ["t latin-1", stream("t", i32(2), "\xc3\xbf"), "ÿ", 1, false, true],
    ["u width 2", stream("u", i32(3), "\xe2\x82\xac"), "€", 2, false, false],
    ["u lone surrogate", stream("u", i32(3), "\xed\xa0\x80"), "\ud800", 2, false, false],
    ["u width 4", stream("u", i32(5), "a\xf0\x9f\x98\x80"), "a😀", 4, false, false],
  ])("str %s", (_name, bytes, text, width, ascii, interned) => {
    const value = read(bytes);
    if (value.kind !== "str") throw new Error(value.kind);
    expect(strText(value)).toBe(text);
    expect(value).toMatchObject({ width, ascii, interned, length: Array.from(text).length });
    expect(value.data.length).toBe(value.length * width);
  });

  test("a surrogate pair in the stream stays two code points", () => {
    const value = read(stream("u", i32(6), "\xed\xa0\xbd\xed\xb8\x80"));
    expect(value).toMatchObject({ kind: "str", width: 2, length: 2 });
  });

  test("bytes and one-byte strings are views of the input", () => {
    const bytes = stream(")", 2, "s", i32(2), "ab", "z", 2, "cd");
    for (const item of items(read(bytes))) {
      if (!("data" in item)) throw new Error(item.kind);
      expect(item.data.buffer).toBe(bytes.buffer);
    }
  });
});

describe("containers", () => {
  test("tuples, list, set, frozenset keep stream order", () => {
    for (const [head, kind] of [[stream(")", 2), "tuple"], [stream("(", i32(2)), "tuple"], [stream("[", i32(2)), "list"], [stream("<", i32(2)), "set"], [stream(">", i32(2)), "frozenset"]] as const) {
      expect(read(stream(head, "i", i32(7), "N"))).toEqual({ kind, items: [int(7), { kind: "none" }] });
      expect(read(stream(head.subarray(0, 1), ...(head.length === 2 ? [0] : [i32(0)])))).toEqual({ kind, items: [] });
    }
  });
  test("dict ends at NULL", () => {
    expect(read(stream("{", "i", i32(1), "T", "N", "F", "0"))).toEqual({
      kind: "dict",
      entries: [[int(1), { kind: "bool", value: true }], [{ kind: "none" }, { kind: "bool", value: false }]],
    });
    expect(read(stream("{0"))).toEqual({ kind: "dict", entries: [] });
  });
  test("slice from 3.14 on, frozendict from 3.15 on", () => {
    expect(read(stream(":NTF"), 14)).toEqual({ kind: "slice", start: { kind: "none" }, stop: { kind: "bool", value: true }, step: { kind: "bool", value: false } });
    expect(failure(stream(":NTF"), 13).code).toBe("PYC_BAD_TYPE");
    expect(read(stream("}TF0"), 15)).toEqual({ kind: "frozendict", entries: [[{ kind: "bool", value: true }, { kind: "bool", value: false }]] });
    expect(failure(stream("}TF0"), 14).code).toBe("PYC_BAD_TYPE");
  });
});

describe("reference table", () => {
  const ref = (index: number): Uint8Array => stream("r", i32(index));

  test("a reference is the same object", () => {
    const [first, second] = items(read(stream(")", 2, flagged("i"), i32(5), ref(0))));
    expect(second).toBe(first);
  });
  test.each([")", "[", "<", ">", "{", ":", "}"])("container %s takes its slot before its contents", (type) => {
    const head = { ")": stream(flagged(")"), 3), "{": stream(flagged("{")), ":": stream(flagged(":")), "}": stream(flagged("}")) }[type] ?? stream(flagged(type), i32(3));
    const tail = type === "{" || type === "}" ? stream("N", "0") : stream();
    const outer = read(stream(")", 3, head, flagged("i"), i32(5), "T", "N", tail, ref(0), ref(1)), 15);
    const [container, again, inner] = items(outer);
    expect(again).toBe(container);
    expect(inner).toEqual(int(5));
  });
  test("empty frozenset takes a slot", () => {
    const [first, second] = items(read(stream(")", 2, flagged(">"), i32(0), ref(0))));
    expect(second).toBe(first);
  });
  test("constants and references never take a slot, flagged or not", () => {
    const list = items(read(stream(")", 8, flagged("N"), flagged("T"), flagged("F"), flagged("."), flagged("S"), flagged("i"), i32(1), stream(flagged("r"), i32(0)), ref(0))));
    expect(list[6]).toBe(list[5]);
    expect(list[7]).toBe(list[5]);
  });
  test("out of range", () => {
    expect(failure(ref(0)).code).toBe("PYC_BAD_REF");
    expect(failure(stream(")", 2, flagged("i"), i32(1), ref(1)))).toMatchObject({ code: "PYC_BAD_REF", offset: 7 });
    expect(failure(stream(")", 2, flagged("i"), i32(1), ref(-1))).code).toBe("PYC_BAD_REF");
  });
  test.each([")", "[", "<", ">"])("cycle through %s", (type) => {
    const head = type === ")" ? stream(flagged(")"), 1) : stream(flagged(type), i32(1));
    expect(failure(stream(head, ref(0)))).toMatchObject({ code: "PYC_CYCLE", offset: head.length, file: "m.pyc" });
  });
  test("cycle through a dict, a slice and a code object", () => {
    expect(failure(stream(flagged("{"), "N", ref(0))).code).toBe("PYC_CYCLE");
    expect(failure(stream(flagged(":"), "N", ref(0)), 14).code).toBe("PYC_CYCLE");
    expect(failure(stream(flagged("c"), ...Array.from({ length: 5 }, () => i32(0)), ref(0))).code).toBe("PYC_CYCLE");
  });
});

describe("faults", () => {
  test.each<[string, Uint8Array, string, number]>([
    ["empty", stream(), "PYC_TRUNCATED", 0],
    ["cut int", stream("i", 1, 2), "PYC_TRUNCATED", 1],
    ["cut float", stream("g", 1, 2), "PYC_TRUNCATED", 1],
    ["cut tuple", stream(")", 2, "N"), "PYC_TRUNCATED", 0],
    ["cut nested tuple", stream(")", 2, "N", ")", 1), "PYC_TRUNCATED", 3],
    ["value missing behind its reference", stream(")", 2, "z", 1, "a"), "PYC_TRUNCATED", 5],
    ["cut dict", stream("{", "N"), "PYC_TRUNCATED", 2],
    ["cut str", stream("z", 5, "ab"), "PYC_TRUNCATED", 2],
    ["cut long", stream("l", i32(2), u16(1)), "PYC_TRUNCATED", 1],
    ["hostile tuple length", stream("(", i32(0x7fffffff), "N"), "PYC_TRUNCATED", 1],
    ["hostile long length", stream("l", i32(-0x7fffffff), u16(1)), "PYC_TRUNCATED", 1],
    ["hostile bytes length", stream("s", i32(0x7fffffff), "N"), "PYC_TRUNCATED", 1],
    ["unknown type", stream(")", 1, "?"), "PYC_BAD_TYPE", 2],
    ["flagged unknown type", stream(flagged("R")), "PYC_BAD_TYPE", 0],
    ["NULL alone", stream("0"), "PYC_BAD_VALUE", 0],
    ["NULL in a tuple", stream(")", 2, "N0"), "PYC_BAD_VALUE", 3],
    ["NULL as a dict's value", stream("{N0"), "PYC_BAD_VALUE", 2],
    ["negative tuple length", stream("(", i32(-1)), "PYC_BAD_VALUE", 1],
    ["negative str length", stream("u", i32(-2)), "PYC_BAD_VALUE", 1],
    ["long length -2**31", stream("l", i32(-0x80000000)), "PYC_BAD_VALUE", 1],
    ["long digit too large", stream("l", i32(2), u16(0x8000, 1)), "PYC_BAD_VALUE", 5],
    ["long not normalised", stream("l", i32(2), u16(1, 0)), "PYC_BAD_VALUE", 7],
    ["float text with a space", stream("f", 2, " 1"), "PYC_BAD_VALUE", 1],
    ["float text empty", stream("f", 0), "PYC_BAD_VALUE", 1],
    ["float text hex", stream("f", 4, "0x10"), "PYC_BAD_VALUE", 1],
    ["UTF-8 overlong", stream("u", i32(3), "a\xc1\x81"), "PYC_BAD_VALUE", 6],
    ["UTF-8 overlong, 3 bytes", stream("u", i32(3), "\xe0\x9f\xbf"), "PYC_BAD_VALUE", 5],
    ["UTF-8 cut", stream("u", i32(2), "\xe2\x82"), "PYC_BAD_VALUE", 5],
    ["UTF-8 above 10FFFF", stream("u", i32(4), "\xf4\x90\x80\x80"), "PYC_BAD_VALUE", 5],
    ["UTF-8 stray continuation", stream("t", i32(1), "\x80"), "PYC_BAD_VALUE", 5],
    ["list in a frozenset", stream(">", i32(1), "[", i32(0)), "PYC_BAD_VALUE", 0],
    ["tuple with a list in a set", stream(")", 1, "<", i32(1), ")", 1, "[", i32(0)), "PYC_BAD_VALUE", 2],
    ["set as a key", stream("{", "<", i32(0), "N0"), "PYC_BAD_VALUE", 0],
  ])("%s", (_name, bytes, code, offset) => {
    const error = failure(bytes);
    expect(error).toMatchObject({ code, offset, file: "m.pyc" });
    expect(error.next).toMatch(/compile/);
  });
  test("offset is that of the file", () => {
    const bytes = stream("0123456789abcdef", ")", 1, "?");
    expect(() => readMarshal(bytes, { minor: 11, offset: 16 })).toThrow(expect.objectContaining({ code: "PYC_BAD_TYPE", offset: 18 }));
  });
  test("end is that of the value; what follows is not read", () => {
    expect(readMarshal(stream("NNN?"), { minor: 11, offset: 1 }).end).toBe(2);
  });
  test.each([8, 16, 3.5])("minor version %s is refused", (minor) => {
    expect(failure(stream("N"), minor).code).toBe("PYC_UNSUPPORTED");
  });
  test("an unmarshalled long too large for V8 is a PycdsError", () => {
    const count = Math.ceil(2 ** 30 / 15) + 1;
    const bytes = new Uint8Array(5 + 2 * count);
    bytes.set(stream("l", i32(count)));
    bytes[bytes.length - 2] = 1;
    expect(failure(bytes).code).toBe("PYC_BAD_VALUE");
  });
});

describe("depth", () => {
  const nested = (levels: number): Uint8Array => stream(new Uint8Array(Buffer.from(")\x01".repeat(levels - 1), "latin1")), "N");

  /** Runs `f` as near to the end of the JavaScript stack as it can; gives the number of (small) frames that it needs. */
  function framesNeeded(f: () => void): number {
    let unwound = 0;
    const climb = (): void => {
      try {
        climb();
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        unwound++;
        f();
      }
    };
    climb();
    return unwound;
  }

  test("2000 levels are read, also with little stack left", () => {
    const bytes = nested(maxDepth);
    let end = 0;
    const frames = framesNeeded(() => {
      end = readMarshal(bytes, { minor: 11 }).end;
    });
    expect(end).toBe(2 * maxDepth - 1);
    expect(frames).toBeLessThan(maxDepth / 4);
  });
  test("2001 levels are not", () => {
    expect(maxDepth).toBe(2000);
    expect(failure(nested(maxDepth + 1))).toMatchObject({ code: "PYC_TOO_DEEP", offset: 2 * maxDepth });
  });
  test("a million open tuples are refused at once", () => {
    expect(failure(nested(1_000_000)).code).toBe("PYC_TOO_DEEP");
  });
});

describe("code objects", () => {
  const names = { kind: "tuple", items: [strFromText("spam"), strFromText("eggs")] } as const;
  const empty = { kind: "tuple", items: [] } as const;
  const bytes = (...data: readonly number[]): { kind: "bytes"; data: Uint8Array } => ({ kind: "bytes", data: Uint8Array.from(data) });
  const modern: CodeValue = {
    kind: "code", argcount: 1, posonlyargcount: 1, kwonlyargcount: 0, stacksize: 3, flags: 0x43,
    code: bytes(151, 0, 83, 0), consts: { kind: "tuple", items: [{ kind: "none" }] }, names, localsplusnames: names, localspluskinds: bytes(0x20, 0x80),
    filename: strFromText("f.py"), name: strFromText("g"), qualname: strFromText("f.g"), firstlineno: 12, linetable: bytes(1), exceptiontable: bytes(2),
  };
  const legacy: CodeValue = {
    ...modern, localsplusnames: empty, localspluskinds: bytes(), qualname: strFromText(""), exceptiontable: bytes(),
    legacy: { nlocals: 2, varnames: names, freevars: empty, cellvars: names },
  };
  /** The value as written, with some fields changed. */
  const changed = (minor: number, fields: Readonly<Record<string, unknown>>): PycdsError =>
    failure(writeMarshal({ ...(minor >= 11 ? modern : legacy), ...fields }, { minor }), minor);

  test.each([11, 12, 13, 14, 15])("3.%i layout", (minor) => {
    expect(difference(read(writeMarshal(modern, { minor }), minor), modern)).toBeUndefined();
  });
  test.each([9, 10])("3.%i layout", (minor) => {
    expect(difference(read(writeMarshal(legacy, { minor }), minor), legacy)).toBeUndefined();
  });
  test("stack size 0 becomes 1 from 3.13 on", () => {
    const size = (minor: number): unknown => Reflect.get(read(writeMarshal({ ...modern, stacksize: 0 }, { minor }), minor), "stacksize");
    expect([size(12), size(13)]).toEqual([0, 1]);
  });
  test.each<[string, Record<string, unknown>, RegExp]>([
    ["names not a tuple", { names: strFromText("x") }, /names is str "x", not a tuple/],
    ["names not of str", { names: { kind: "tuple", items: [{ kind: "none" }] } }, /names holds None/],
    ["localsplusnames not of str", { localsplusnames: { kind: "tuple", items: [bytes(1), bytes(2)] } }, /localsplusnames holds bytes/],
    ["code not bytes", { code: names }, /code is tuple of 2, not bytes/],
    ["consts not a tuple", { consts: { kind: "list", items: [] } }, /consts is list of 0/],
    ["filename not str", { filename: { kind: "none" } }, /filename is None/],
    ["name not str", { name: bytes() }, /name is bytes/],
    ["qualname not str", { qualname: bytes() }, /qualname is bytes/],
    ["linetable not bytes", { linetable: empty }, /linetable is tuple/],
    ["exceptiontable not bytes", { exceptiontable: empty }, /exceptiontable is tuple/],
    ["localspluskinds not bytes", { localspluskinds: empty }, /localspluskinds is tuple/],
    ["too few kinds", { localspluskinds: bytes(0x20) }, /2 localsplusnames, but 1/],
    ["odd code", { code: bytes(1) }, /odd/],
    ["too few locals", { argcount: 2 }, /2 arguments, but 1 local/],
    ["no room for *args", { flags: 0x4 }, /2 arguments, but 1 local/],
    ["no room for **kwargs", { flags: 0x8 }, /2 arguments, but 1 local/],
    ["no room for a keyword", { kwonlyargcount: 1 }, /2 arguments, but 1 local/],
    ["negative argcount", { argcount: -1 }, /argcount -1/],
    ["negative flags", { flags: -1 }, /flags -1/],
    ["negative stacksize", { stacksize: -5 }, /stacksize -5/],
    ["huge stacksize", { stacksize: 0x7fffffff }, /stacksize 2147483647/],
    ["more positional-only than arguments", { argcount: 0 }, /1 positional-only of 0/],
  ])("%s", (_name, fields, why) => {
    const error = changed(11, fields);
    expect(error).toMatchObject({ code: "PYC_BAD_VALUE", offset: 0 });
    expect(error.why).toMatch(why);
  });
  test("3.9: varnames, freevars, cellvars, nlocals", () => {
    const bad = { kind: "tuple", items: [{ kind: "none" }] };
    for (const field of ["varnames", "freevars", "cellvars"]) {
      expect(changed(9, { legacy: { ...legacy.legacy, [field]: bad } }).why).toContain(`${field} holds None`);
    }
    expect(changed(10, { legacy: { ...legacy.legacy, nlocals: -1 } }).why).toContain("nlocals -1");
    expect(changed(10, { legacy: { ...legacy.legacy, varnames: empty } }).why).toContain("1 arguments, but 0 local");
  });
  test("a code object with a list among its constants cannot be in a frozenset", () => {
    const code = { ...modern, consts: { kind: "tuple", items: [{ kind: "list", items: [] }] } } as const;
    expect(failure(writeMarshal({ kind: "frozenset", items: [code] }, { minor: 11 })).why).toMatch(/not hashable/);
  });
});
