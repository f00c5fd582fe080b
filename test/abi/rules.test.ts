/** The ABI's rules on small cases worked out by hand. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { external } from "../../src/abi/externals.ts";
import { allData, loadAbi } from "../../src/abi/load.ts";
import { makeAbi } from "../../src/abi/make.ts";
import { quickener } from "../../src/abi/quicken.ts";
import type { Abi, CodeFacts, LegacyCodeFacts, NameFacts } from "../../src/abi/types.ts";

const abi = (minor: number): Abi => loadAbi(`cpython-3.${minor}-linux-x86_64-release`);
const freeThreaded = (): Abi => loadAbi("cpython-3.13-linux-x86_64-freethreaded");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const minors = [9, 10, 11, 12, 13, 14, 15];

/** A copy of a version's data, to change. */
function dataOf(minor: number) {
  const data = allData().get(`cpython-3.${minor}-linux-x86_64-release`);
  if (data === undefined) throw new Error(String(minor));
  return structuredClone(data);
}

/** Code units from `NAME` or `NAME oparg` words and `.` for a zero cache unit. */
function assemble(minor: number, ...words: string[]): Uint8Array {
  const { opcodes } = dataOf(minor);
  return Uint8Array.from(
    words.flatMap((word) => {
      if (word === ".") return [0, 0];
      const [name = "", oparg = "0"] = word.split(" ");
      const opcode = opcodes[name];
      if (opcode === undefined) throw new Error(name);
      return [opcode.number, Number(oparg)];
    }),
  );
}

describe("headers (facts §2)", () => {
  test("a 64-bit count out of reach to 3.11; 0xFFFFFFFF in the low word of 3.12 and 3.13", () => {
    for (const minor of [9, 10, 11]) expect(hex(abi(minor).immortalHeader)).toBe("0000000000010000");
    for (const minor of [12, 13]) expect(hex(abi(minor).immortalHeader)).toBe("ffffffff00000000");
  });
  test("0xC0000000 and the flags immortal and static in 3.14 and 3.15: the lowest one becomes the tag of stack references", () => {
    for (const minor of [14, 15]) {
      const header = abi(minor).immortalHeader;
      expect(new DataView(header.buffer).getUint32(abi(minor).field("PyObject", "ob_refcnt").offset, true)).toBe(0xc0000000);
      expect(new DataView(header.buffer).getUint16(abi(minor).field("PyObject", "ob_flags").offset, true)).toBe(5);
      expect(header).toHaveLength(8);
    }
  });
  test("free-threaded: the local count only, and no thread as owner", () => {
    expect(hex(freeThreaded().immortalHeader)).toBe(`${"00".repeat(12)}ffffffff${"00".repeat(8)}`);
    expect(freeThreaded().field("PyObject", "ob_ref_local").offset).toBe(12);
    expect(freeThreaded().field("PyObject", "ob_type").offset).toBe(24);
  });
  test("what is not zero in it belongs to a field that is computed", () => {
    for (const each of [...minors.map(abi), freeThreaded()]) {
      for (const { name: field, offset, size, role } of each.struct("PyObject").fields.values()) {
        if (field !== "ob_type" && each.immortalHeader.subarray(offset, offset + size).some((byte) => byte !== 0)) expect(role, field).toBe("computed");
      }
    }
  });
  test("GC headers of 16 bytes before tuple, frozenset and slice, not code; none where there is no GIL, though code is collected there", () => {
    for (const minor of minors) {
      expect(abi(minor).gcHeaderSize).toBe(16);
      expect([...abi(minor).gcKinds]).toEqual(["tuple", "frozenset", "slice"]);
    }
    expect(freeThreaded().gcHeaderSize).toBe(0);
    expect([...freeThreaded().gcKinds]).toEqual(["tuple", "frozenset", "slice", "code"]);
  });
  test("code versions from 3.12 on, slices as constants from 3.14 on, variables in three tuples to 3.10", () => {
    expect(minors.filter((minor) => abi(minor).hasCodeVersion)).toEqual([12, 13, 14, 15]);
    expect(minors.filter((minor) => abi(minor).hasSliceConstants)).toEqual([14, 15]);
    expect(minors.filter((minor) => abi(minor).hasLegacyCode)).toEqual([9, 10]);
  });
  test("the interpreter's own ints reach 256, in 3.15 1024 (facts §3)", () => {
    for (const minor of minors) expect(abi(minor).smallInts).toEqual({ min: -5, max: minor === 15 ? 1024 : 256 });
    // Each has its number.
    expect(external.smallInt(1024)).toBe(external.count - 1);
  });
});

describe("strState (facts §1, strings)", () => {
  test("kind in bits 2-4, compact 5, ascii 6; bit 7: ready to 3.11, statically allocated from 3.14 on, where finalisation frees interned strings", () => {
    const all: [1 | 2 | 4, boolean][] = [[1, true], [1, false], [2, false], [4, false]];
    for (const minor of [9, 10, 11]) expect(all.map(([width, ascii]) => abi(minor).strState(width, ascii))).toEqual([0xe4, 0xa4, 0xa8, 0xb0]);
    for (const minor of [12, 13]) expect(all.map(([width, ascii]) => abi(minor).strState(width, ascii))).toEqual([0x64, 0x24, 0x28, 0x30]);
    for (const minor of [14, 15]) expect(all.map(([width, ascii]) => abi(minor).strState(width, ascii))).toEqual([0xe4, 0xa4, 0xa8, 0xb0]);
  });
  test("masks decide: 3.14t keeps `interned` in a byte of its own", () => {
    const data = dataOf(13);
    data.strState = { interned: 0xff, kind: 7 << 8, compact: 1 << 11, ascii: 1 << 12, statically_allocated: 1 << 13 };
    expect(makeAbi(data).strState(1, true)).toBe(0x1900);
    expect(makeAbi(data).strState(4, false)).toBe(0x0c00);
  });
  test("ASCII is of width 1", () => {
    expect(() => abi(12).strState(2, true)).toThrow("width 2");
  });
});

describe("intBody (facts §1, int)", () => {
  const body = (minor: number, value: bigint): string => hex(abi(minor).intBody(value).bytes);
  test("3.11: ob_size has the sign", () => {
    expect(abi(11).intBody(5n).offset).toBe(16);
    expect(body(11, 300n)).toBe("01000000000000002c010000");
    expect(body(11, -300n)).toBe("ffffffffffffffff2c010000");
    expect(body(11, 1n << 30n)).toBe("02000000000000000000000001000000");
    expect(body(11, 0n)).toBe("000000000000000000000000");
  });
  test("3.12+: lv_tag is count << 3 | sign; 3.14's bit of small ints (value 4) is never set", () => {
    for (const minor of [12, 13, 14, 15]) {
      expect(body(minor, 300n)).toBe("08000000000000002c010000");
      expect(body(minor, -300n)).toBe("0a000000000000002c010000");
      expect(body(minor, -(1n << 30n))).toBe("12000000000000000000000001000000");
      expect(body(minor, 0n)).toBe("010000000000000000000000");
    }
  });
  test("digits make the value again", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(1n << 200n), max: 1n << 200n }), fc.constantFrom(...minors), (value, minor) => {
        const { bytes } = abi(minor).intBody(value);
        const view = new DataView(bytes.buffer);
        const word = view.getBigInt64(0, true);
        const [count, negative] = minor <= 11 ? [word < 0n ? -word : word, word < 0n] : [word >> 3n, (word & 7n) === 2n];
        let sum = 0n;
        for (let i = Number(count) - 1; i >= 0; i--) sum = (sum << 30n) | BigInt(view.getUint32(8 + 4 * i, true));
        expect(negative ? -sum : sum).toBe(value);
        if (count > 0n) expect(view.getUint32(8 + 4 * (Number(count) - 1), true)).not.toBe(0);
      }),
    );
  });
});

// What a 3.13t interns depends on where the code comes from (Objects/codeobject.c: should_intern_string): from a .pyc
// as in other builds, all strings only inside compile() and in sub-interpreters.
describe("internsConstant (facts §3)", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  test("ASCII of name characters only", () => {
    for (const each of [...minors.map(abi), freeThreaded()]) {
      for (const text of ["name", "_", "A9z_", "0", ""]) expect(each.internsConstant(true, bytes(text)), text).toBe(true);
      for (const text of ["a b", "a.b", "a-b", "@", "[", "`", "{", "/", ":", "a\0"]) expect(each.internsConstant(true, bytes(text)), text).toBe(false);
    }
  });
  test("never Latin-1 beyond ASCII, even of bytes that look like a name", () => {
    expect(abi(12).internsConstant(false, bytes("name"))).toBe(false);
  });
  test("every constant where the build interns them all", () => {
    const data = dataOf(13);
    data.internsAllConstants = true;
    expect(makeAbi(data).internsConstant(false, Uint8Array.of(0xe9))).toBe(true);
  });
});

describe("quicken (facts §4)", () => {
  test("3.9, 3.10: as marshalled", () => {
    for (const minor of [9, 10]) {
      const code = assemble(minor, "LOAD_GLOBAL", "LOAD_FAST", "LOAD_FAST 1", "STORE_FAST", "LOAD_FAST", "POP_JUMP_IF_TRUE", "RETURN_VALUE");
      expect(abi(minor).quicken(code)).toEqual(code);
    }
  });
  test("free-threaded 3.13 does not specialise: as marshalled", () => {
    const code = assemble(13, "RESUME", "LOAD_GLOBAL", ".", ".", ".", ".", "JUMP_BACKWARD", ".", "POP_JUMP_IF_TRUE", ".", "RETURN_VALUE");
    expect(freeThreaded().quicken(code)).toEqual(code);
  });
  test("3.14, 3.15: counters of backward jumps, branches and, in 3.15, RESUME", () => {
    // These are defaults: 3.15 takes those of JUMP_BACKWARD and RESUME from PYTHON_JIT_*_INITIAL_* variables if they are set.
    const units = (minor: number, ...words: string[]): number[] => [...new Uint16Array(abi(minor).quicken(assemble(minor, ...words)).buffer)];
    for (const [minor, jump, other] of [[14, 0xfffc, 0x0011], [15, 0x7d06, 0x0009]] as const) {
      const quick = units(minor, "JUMP_BACKWARD", ".", "POP_JUMP_IF_TRUE", ".", "POP_JUMP_IF_NONE", ".", "TO_BOOL", ".", ".", ".", "CALL_KW", ".", ".", ".", "BINARY_OP", ".", ".", ".", ".", ".", "LOAD_FAST", "LOAD_FAST");
      expect([quick[1], quick[3], quick[5], quick[7], quick[8], quick[11], quick[12], quick[15], quick[16]]).toEqual([jump, 0x5555, 0x5555, other, 0, other, 0, other, 0]);
      expect(quick[20]).toBe(quick[21]);
    }
    expect(units(15, "RESUME", ".", "RETURN_VALUE")[1]).toBe(0xfff6);
    expect(units(14, "RESUME", "RETURN_VALUE")).toEqual([...new Uint16Array(assemble(14, "RESUME", "RETURN_VALUE").buffer)]);
  });
  test("3.11: as marshalled", () => {
    const code = assemble(11, "RESUME", "LOAD_GLOBAL", ".", ".", ".", ".", ".", "LOAD_FAST", "LOAD_FAST 1", "RETURN_VALUE");
    expect(abi(11).quicken(code)).toEqual(code);
    expect(abi(11).quicken(code)).not.toBe(code);
  });
  test("3.12: 0x0011 in the first cache unit only", () => {
    const code = assemble(12, "LOAD_GLOBAL 1", ".", ".", ".", ".", "RETURN_VALUE");
    expect(hex(abi(12).quicken(code))).toBe(`7401${"1100"}${"0000".repeat(3)}5300`);
  });
  test("3.12: the first of a pair changes, each unit judged by its original neighbour", () => {
    // LOAD_FAST 124, LOAD_CONST 100, STORE_FAST 125; joined: 88, 86, 84, 154, 158
    const code = assemble(12, "LOAD_FAST 1", "LOAD_FAST 2", "LOAD_CONST 3", "LOAD_FAST 4", "STORE_FAST 5", "STORE_FAST 6", "LOAD_FAST 7", "POP_TOP");
    expect([...abi(12).quicken(code)].filter((_, i) => i % 2 === 0)).toEqual([88, 86, 84, 124, 158, 154, 124, 1]);
    expect([...abi(12).quicken(code)].filter((_, i) => i % 2 === 1)).toEqual([1, 2, 3, 4, 5, 6, 7, 0]);
  });
  test("3.12: no pair across inline caches or another instruction", () => {
    const code = assemble(12, "LOAD_FAST", "BINARY_SUBSCR", ".", "LOAD_FAST", "NOP", "LOAD_FAST", "EXTENDED_ARG 1", "LOAD_FAST");
    const quick = abi(12).quicken(code);
    expect([...quick].filter((_, i) => i % 2 === 0)).toEqual([124, 25, 0x11, 124, 9, 124, 144, 124]);
  });
  test("3.12: a cache unit is never taken for an opcode", () => {
    // A marshalled cache unit is 0; even if it held LOAD_FAST it would not begin a pair.
    const code = assemble(12, "BINARY_SUBSCR", "LOAD_FAST", "LOAD_FAST 1", "POP_TOP");
    expect([...abi(12).quicken(code)].filter((_, i) => i % 2 === 0)).toEqual([25, 0x11, 124, 1]);
  });
  test("3.13: counters of backward jumps and of branches", () => {
    const code = assemble(13, "JUMP_BACKWARD", ".", "POP_JUMP_IF_TRUE", ".", "POP_JUMP_IF_FALSE", ".", "POP_JUMP_IF_NONE", ".", "POP_JUMP_IF_NOT_NONE", ".", "TO_BOOL", ".", ".", ".", "LOAD_FAST", "LOAD_FAST");
    const units = new Uint16Array(abi(13).quicken(code).buffer);
    expect([units[1], units[3], units[5], units[7], units[9], units[11], units[12], units[13]]).toEqual([0x0104, 0x5555, 0x5555, 0x5555, 0x5555, 0x0011, 0, 0]);
    expect([units[14], units[15]]).toEqual([85, 85]);
  });
  test("other versions are other tables only", () => {
    const quicken = quickener({
      opcodes: { A: { number: 1, caches: 0, initial: 0 }, B: { number: 2, caches: 2, initial: 0xfff6 } },
      superinstructions: [{ first: "A", second: "A", number: 9 }],
    });
    expect(hex(quicken(Uint8Array.of(1, 7, 1, 8, 2, 0, 0, 0, 0, 0, 1, 0)))).toBe("090701080200f6ff00000100");
  });
  test("cut bytecode is refused", () => {
    expect(() => abi(12).quicken(Uint8Array.of(9))).toThrow(expect.objectContaining({ code: "BYTECODE_MALFORMED" }));
    const cut = assemble(12, "NOP", "LOAD_GLOBAL", ".", ".", ".");
    expect(() => abi(12).quicken(cut)).toThrow(expect.objectContaining({ code: "BYTECODE_MALFORMED", offset: 2 }));
    // One that ends right behind its cache is whole.
    expect(abi(12).quicken(assemble(12, "LOAD_GLOBAL", ".", ".", ".", ".")).byteLength).toBe(10);
  });
});

const name = (text: string, width: NameFacts["width"] = 1): NameFacts => ({ width, data: Buffer.from(text, width === 1 ? "latin1" : "utf16le") });

/** def f(a, b, /, *args, k, **more): x = …, with cells `cells`. */
function legacyCode(change: Partial<CodeFacts> = {}, variables: Partial<LegacyCodeFacts> = {}): CodeFacts {
  const varnames = ["a", "b", "k", "args", "more", "x"].map((text) => name(text));
  return {
    argcount: 2, posonlyargcount: 2, kwonlyargcount: 1, stacksize: 4, flags: 0x0f, firstlineno: 7,
    code: Uint8Array.of(9, 0), localspluskinds: new Uint8Array(0),
    legacy: { nlocals: varnames.length, varnames, cellvars: [], freevars: [], ...variables },
    ...change,
  };
}

describe("code objects of 3.9 and 3.10 (facts §1, PyCode_NewWithPosOnlyArgs)", () => {
  const scalars = (change?: Partial<CodeFacts>, variables?: Partial<LegacyCodeFacts>) => [9, 10].map((minor) => Object.fromEntries(abi(minor).codeScalars(legacyCode(change, variables))));
  const cells = (...cellvars: NameFacts[]) => legacyCode({}, { cellvars });
  test("as in the stream, also a stack of nothing; CO_NOFREE if and only if there are neither cell nor free variables", () => {
    const both = (expected: object): object[] => [expected, expected];
    expect(scalars()).toEqual(both({ co_flags: 0x4f, co_stacksize: 4, co_nlocals: 6 }));
    expect(scalars({ flags: 0x4f, stacksize: 0 })).toEqual(both({ co_flags: 0x4f, co_stacksize: 0, co_nlocals: 6 }));
    expect(scalars({ flags: 0x4f }, { cellvars: [name("x")] })).toMatchObject(both({ co_flags: 0x0f }));
    expect(scalars({ flags: 0x0f }, { freevars: [name("y")] })).toMatchObject(both({ co_flags: 0x0f }));
  });
  test("co_cell2arg: each cell's argument or -1; *args and **more are arguments, other variables are not", () => {
    for (const minor of [9, 10]) {
      expect(abi(minor).cell2arg(cells())).toBeUndefined();
      expect(abi(minor).cell2arg(cells(name("x"), name("new")))).toBeUndefined();
      expect(abi(minor).cell2arg(cells(name("x"), name("b"), name("more"), name("a"), name("args")))).toEqual([-1, 1, 4, 0, 3]);
    }
  });
  test("co_cell2arg: without the flags there is no *args or **more", () => {
    const code = (flags: number) => ({ ...cells(name("args"), name("a"), name("more")), flags });
    expect(abi(9).cell2arg(code(0x03))).toEqual([-1, 0, -1]);
    expect(abi(9).cell2arg(code(0x07))).toEqual([3, 0, -1]);
    expect(abi(9).cell2arg({ ...cells(name("k")), kwonlyargcount: 0, flags: 0 })).toBeUndefined();
  });
  test("names are equal when width and characters are", () => {
    const varnames = [name("\u4e2d", 2), name("a")];
    const code = (cell: NameFacts) => legacyCode({ flags: 0, kwonlyargcount: 0 }, { varnames, nlocals: 2, cellvars: [cell] });
    expect(abi(10).cell2arg(code(name("\u4e2d", 2)))).toEqual([0]);
    expect(abi(10).cell2arg(code(name("-N")))).toBeUndefined(); // the same bytes
    expect(abi(10).cell2arg(code(name("ab")))).toBeUndefined();
  });
  test("later versions have no co_cell2arg; earlier ones need the names", () => {
    for (const minor of minors.slice(2)) expect(abi(minor).cell2arg(cells(name("a")))).toBeUndefined();
    const { legacy: _, ...nameless } = legacyCode();
    expect(() => abi(9).codeScalars(nameless)).toThrow("without its variables' names");
    expect(() => abi(10).cell2arg(nameless)).toThrow("without its variables' names");
  });
});

describe("codeScalars (facts §1, derived fields)", () => {
  const facts = (minor: number, change: Partial<CodeFacts> = {}): CodeFacts => ({
    argcount: 2, posonlyargcount: 0, kwonlyargcount: 0, stacksize: 4, flags: 3, firstlineno: 7,
    code: assemble(minor, "COPY_FREE_VARS 1", "MAKE_CELL", "RESUME", "RETURN_VALUE"),
    // an argument; an argument that is a cell; a plain cell; a free one; hidden (3.12+, 0x10) local
    localspluskinds: Uint8Array.of(0x20, 0x60, 0x40, 0x80, 0x30),
    ...change,
  });
  const scalars = (minor: number, change?: Partial<CodeFacts>): object => Object.fromEntries(abi(minor).codeScalars(facts(minor, change)));

  test("3.11", () => {
    expect(scalars(11)).toEqual({
      ob_size: 4, co_flags: 3, co_stacksize: 4, co_nlocalsplus: 5, co_nlocals: 3, co_nplaincellvars: 1, co_ncellvars: 2, co_nfreevars: 1, co_warmup: -8, _co_firsttraceable: 2,
    });
  });
  test("3.12, 3.13: framesize with 9 words of its own; no warmup, no plain cells", () => {
    for (const minor of [12, 13]) {
      expect(scalars(minor)).toEqual({
        ob_size: 4, co_flags: 3, co_stacksize: 4, co_nlocalsplus: 5, co_nlocals: 3, co_ncellvars: 2, co_nfreevars: 1, co_framesize: 5 + 4 + 9, _co_firsttraceable: 2,
      });
    }
  });
  test("3.14, 3.15: framesize with 10 words of its own, also where kinds say how an argument is passed (bits 2, 4, 8)", () => {
    for (const minor of [14, 15]) {
      expect(scalars(minor)).toEqual({
        ob_size: 4, co_flags: 3, co_stacksize: 4, co_nlocalsplus: 5, co_nlocals: 3, co_ncellvars: 2, co_nfreevars: 1, co_framesize: 5 + 4 + 10, _co_firsttraceable: 2,
      });
      expect(scalars(minor, { localspluskinds: Uint8Array.of(0x22, 0x66, 0x44, 0x88, 0x3e) })).toEqual(scalars(minor));
    }
  });
  test("3.15: tracing does not begin at the RESUME in front of a generator expression, marked 4 in the lowest three bits", () => {
    const code = (operand: number): Uint8Array => assemble(15, `RESUME ${operand}`, ".", "RETURN_GENERATOR", "RESUME", ".", "RETURN_VALUE");
    for (const operand of [4, 12, 252]) expect(scalars(15, { code: code(operand) })).toMatchObject({ _co_firsttraceable: 3 });
    for (const operand of [0, 1, 3, 5, 6, 8]) expect(scalars(15, { code: code(operand) })).toMatchObject({ _co_firsttraceable: 0 });
    expect(scalars(14, { code: assemble(14, "RESUME 4", "RESUME") })).toMatchObject({ _co_firsttraceable: 0 });
  });
  test("from 3.13 on no stack is empty", () => {
    expect(scalars(12, { stacksize: 0 })).toMatchObject({ co_stacksize: 0, co_framesize: 14 });
    expect(scalars(13, { stacksize: 0 })).toMatchObject({ co_stacksize: 1, co_framesize: 15 });
  });
  test("without RESUME nothing is traceable", () => {
    for (const minor of minors.slice(2)) expect(scalars(minor, { code: assemble(minor, "NOP", "RETURN_VALUE") })).toMatchObject({ ob_size: 2, _co_firsttraceable: 2 });
  });
  test("every computed field of a code object is derived here, filled at load, or header", () => {
    for (const each of [...minors.map(abi), freeThreaded()]) {
      const header = each.struct("PyObject").size;
      const computed = [...each.struct("PyCodeObject").fields.values()].filter(({ role, offset }) => role === "computed" && offset >= header).map(({ name }) => name);
      const elsewhere = ["co_version", "co_code_adaptive"];
      const derived = each.codeScalars({ ...(each.hasLegacyCode ? legacyCode() : { ...facts(13), code: new Uint8Array(2) }) });
      expect([...derived.keys()].sort()).toEqual(computed.filter((name) => !elsewhere.includes(name)).sort());
    }
  });
});
