// Guards facts/cpython.md §6 (UTF-8 surrogatepass) and the canonical str form that value.ts promises.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describe as describeValue, strFromLatin1, strFromText, strFromUtf8, strText, utf8 } from "../../src/pyc/text.ts";
import type { StrValue } from "../../src/pyc/value.ts";
import { str } from "./arbitrary.ts";

const anyText = fc.oneof(fc.string({ unit: "binary" }), fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)));

test.each<[string, StrValue["width"], boolean, number]>([
  ["", 1, true, 0],
  ["\x7f", 1, true, 1],
  ["\x80", 1, false, 1],
  ["\xff", 1, false, 1],
  ["\u0100", 2, false, 1],
  ["\uffff", 2, false, 1],
  ["\ud800", 2, false, 1],
  ["\udc00\ud800", 2, false, 2],
  ["\u{10000}", 4, false, 1],
  ["\u{10ffff}\ud800", 4, false, 2],
])("%j has width %i", (text, width, ascii, length) => {
  const value = strFromText(text);
  expect(value).toMatchObject({ width, ascii, length, interned: false });
  expect(value.data.length).toBe(length * width);
  expect(strText(value)).toBe(text);
});

test("units are little-endian", () => {
  expect([...strFromText("\u20ac").data]).toEqual([0xac, 0x20]);
  expect([...strFromText("\u{1f600}").data]).toEqual([0x00, 0xf6, 0x01, 0x00]);
});

test("text survives", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      expect(strText(strFromText(text))).toBe(text);
    }),
  );
});

describe("UTF-8", () => {
  test("well-formed text is encoded as everywhere", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        fc.pre(!/\p{Surrogate}/u.test(text));
        expect(Buffer.from(utf8(strFromText(text))).toString("hex")).toBe(Buffer.from(text).toString("hex"));
      }),
    );
  });
  test("a value survives, surrogates included", () => {
    fc.assert(
      fc.property(str, (value) => {
        expect(strFromUtf8(utf8(value), value.interned)).toEqual(value);
      }),
    );
  });
  test("lone surrogates take three bytes", () => {
    expect([...utf8(strFromText("\ud800\udfff"))]).toEqual([0xf0, 0x90, 0x8f, 0xbf]);
    expect([...utf8(strFromText("\udfff\ud800"))]).toEqual([0xed, 0xbf, 0xbf, 0xed, 0xa0, 0x80]);
  });
  test("decodes and refuses as a strict decoder does, but for surrogates", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0x41, 0x80, 0xbf, 0xc1, 0xc2, 0xe0, 0xe1, 0x9f, 0xa0, 0xf0, 0xf4, 0x8f, 0x90, 0xf5, 0xff), { maxLength: 8 }), (bytes) => {
        const data = Uint8Array.from(bytes);
        const value = strFromUtf8(data, false);
        let expected: string | undefined;
        try {
          expected = strict.decode(data);
        } catch {
          expected = undefined;
        }
        expect("fault" in value ? undefined : strText(value)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });
});

test("two surrogates in CPython and one astral code point: same text, different UTF-8", () => {
  const two = strFromUtf8(Uint8Array.of(0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80), false);
  const one = strFromText("\u{1f600}");
  if ("fault" in two) throw new Error("refused");
  expect([two.length, one.length]).toEqual([2, 1]);
  expect(strText(two)).toBe(strText(one));
  expect(utf8(two)).not.toEqual(utf8(one));
});

test("descriptions are short", () => {
  expect(describeValue(strFromText("spam"))).toBe('str "spam"');
  expect(describeValue(strFromText("x".repeat(1000))).length).toBeLessThan(60);
  expect(describeValue({ kind: "int", value: 10n ** 1000n })).toBe("int of 831 hex digits");
  expect(describeValue({ kind: "int", value: -5n })).toBe("int -5");
  expect(describeValue(strFromLatin1(Uint8Array.of(0xe9), false))).toBe('str "é"');
});
