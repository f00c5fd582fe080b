// Guards facts/cpython.md §6 by round trips through an independent writer, and design.md decision 7: no input makes the reader do anything but answer or throw PycdsError.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { readMarshal } from "../../src/pyc/marshal.ts";
import { readPyc } from "../../src/pyc/pyc.ts";
import { value } from "./arbitrary.ts";
import { difference } from "./same.ts";
import { writeMarshal } from "./writer.ts";

const minors = [9, 10, 11, 12, 13, 14, 15];

/** The code of the PycdsError that `f` throws, or undefined; any other error escapes. */
function codeOf(f: () => unknown): string | undefined {
  try {
    f();
    return undefined;
  } catch (error) {
    if (error instanceof PycdsError) return error.code;
    throw error;
  }
}

describe.each(minors)("3.%i", (minor) => {
  test("what is written is read, with the same sharing", () => {
    fc.assert(
      fc.property(value(minor), fc.boolean(), (original, flagAll) => {
        const bytes = writeMarshal(original, { minor, flagAll });
        const { value: copy, end } = readMarshal(bytes, { minor });
        expect(end).toBe(bytes.length);
        expect(difference(original, copy)).toBeUndefined();
      }),
      { numRuns: 150 },
    );
  });

  test("every truncation is PYC_TRUNCATED", () => {
    fc.assert(
      fc.property(value(minor), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (original, part) => {
        const bytes = writeMarshal(original, { minor });
        expect(codeOf(() => readMarshal(bytes.subarray(0, Math.floor(bytes.length * part)), { minor }))).toBe("PYC_TRUNCATED");
      }),
      { numRuns: 150 },
    );
  });

  test("flipped bits and overwritten bytes end in a value or a PycdsError", () => {
    const codes = new Set<string | undefined>();
    fc.assert(
      fc.property(value(minor), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (original, changes) => {
        const bytes = Uint8Array.from(writeMarshal(original, { minor, flagAll: true }));
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        codes.add(codeOf(() => readMarshal(bytes, { minor })));
      }),
      { numRuns: 400 },
    );
    // The changes really reach both the faults and the values.
    expect(codes.size).toBeGreaterThan(3);
    expect(codes).toContain(undefined);
  });
});

test("arbitrary bytes as a .pyc end in a value or a PycdsError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, withHeader) => {
      const header = withHeader ? [0xa7, 0x0d, 0x0d, 0x0a, ...Array.from({ length: 12 }, () => 0)] : [];
      codeOf(() => readPyc(Uint8Array.from([...header, ...bytes]), { file: "x.pyc", expectMagic: 3495, minor: 11 }));
    }),
    { numRuns: 500 },
  );
});
