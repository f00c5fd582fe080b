/** fast-check arbitraries of marshal values, with shared objects inside a value. */
import fc from "fast-check";
import { strFromText } from "../../src/pyc/text.ts";
import type { CodeValue, PyValue, StrValue } from "../../src/pyc/value.ts";

const bits64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const int: fc.Arbitrary<PyValue> = fc
  .oneof(fc.bigInt({ min: -(2n ** 31n) - 5n, max: 2n ** 31n + 5n }), fc.bigInt({ min: -(10n ** 60n), max: 10n ** 60n }))
  .map((value) => ({ kind: "int", value }));
/** Lone surrogates included; canonical by construction. */
export const str: fc.Arbitrary<StrValue> = fc
  .tuple(
    fc.oneof(
      fc.string({ unit: "grapheme-ascii", maxLength: 300 }),
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 }).map((units) => String.fromCharCode(...units)),
      fc.array(fc.integer({ min: 0x80, max: 0xff }), { maxLength: 6 }).map((units) => String.fromCharCode(...units)),
    ),
    fc.boolean(),
  )
  .map(([text, interned]) => ({ ...strFromText(text), interned }));
const bytes = fc.uint8Array({ maxLength: 20 }).map((data) => ({ kind: "bytes", data }) as const);
const constant = fc.constantFrom<PyValue>(
  { kind: "none" },
  { kind: "ellipsis" },
  { kind: "stopiteration" },
  { kind: "bool", value: true },
  { kind: "bool", value: false },
);

const scalar: fc.Arbitrary<PyValue> = fc.oneof(
  constant,
  int,
  bits64.map((bits) => ({ kind: "float", bits }) as const),
  fc.tuple(bits64, bits64).map(([realBits, imagBits]) => ({ kind: "complex", realBits, imagBits }) as const),
  str,
  bytes,
);

/**
 * A value whose parts are drawn from a growing pool of earlier values, so that
 * one object occurs in many places, as constants and names of code objects do.
 */
export function value(minor: number): fc.Arbitrary<PyValue> {
  const recipe = fc.record({ kind: fc.nat(), picks: fc.array(fc.nat(), { maxLength: 7 }), numbers: fc.array(fc.nat(1000), { minLength: 12, maxLength: 12 }) });
  return fc.tuple(fc.array(scalar, { minLength: 3, maxLength: 12 }), fc.array(str, { minLength: 2, maxLength: 5 }), fc.array(bytes, { minLength: 3, maxLength: 3 }), fc.array(recipe, { minLength: 1, maxLength: 12 })).map(
    ([scalars, names, blobs, recipes]) => {
      const pool: PyValue[] = [...scalars, ...names];
      for (const { kind, picks, numbers } of recipes) {
        const items = picks.map((pick) => pick_(pool, pick));
        pool.push(build(minor, kind, items, { names, blobs, numbers }));
      }
      return pick_(pool, pool.length - 1);
    },
  );
}

function pick_<T>(pool: readonly T[], index: number): T {
  const value = pool[index % pool.length];
  if (value === undefined) throw new Error("empty pool");
  return value;
}

function hashable(value: PyValue): boolean {
  switch (value.kind) {
    case "list":
    case "set":
    case "dict":
      return false;
    case "tuple":
    case "frozenset":
      return value.items.every(hashable);
    case "frozendict":
      return value.entries.flat().every(hashable);
    case "slice":
      return [value.start, value.stop, value.step].every(hashable);
    case "code":
      return hashable(value.consts);
    default:
      return true;
  }
}

interface Parts {
  readonly names: readonly StrValue[];
  readonly blobs: readonly Extract<PyValue, { kind: "bytes" }>[];
  readonly numbers: readonly number[];
}

function build(minor: number, kind: number, items: readonly PyValue[], parts: Parts): PyValue {
  const keys = items.filter(hashable);
  const pairs = keys.map((key, index) => [key, pick_(items, index + 1)] as const);
  const [start = { kind: "none" }, stop = { kind: "none" }, step = { kind: "none" }] = items as [PyValue?, PyValue?, PyValue?];
  const makers: (() => PyValue)[] = [
    () => ({ kind: "tuple", items }),
    () => ({ kind: "tuple", items: Array.from({ length: items.length * 50 }, (_, index) => pick_(items, index)) }),
    () => ({ kind: "list", items }),
    () => ({ kind: "set", items: keys }),
    () => ({ kind: "frozenset", items: keys }),
    () => ({ kind: "dict", entries: pairs }),
    () => codeOf(minor, items, parts),
    ...(minor >= 14 ? [(): PyValue => ({ kind: "slice", start, stop, step })] : []),
    ...(minor >= 15 ? [(): PyValue => ({ kind: "frozendict", entries: pairs })] : []),
  ];
  return pick_(makers, kind)();
}

function codeOf(minor: number, consts: readonly PyValue[], { names, blobs, numbers }: Parts): CodeValue {
  const nameTuple = { kind: "tuple", items: names } as const;
  const slots = names.length;
  const even = pick_(blobs, 0);
  const code = { kind: "bytes", data: even.data.length % 2 === 0 ? even.data : even.data.subarray(1) } as const;
  const empty = { kind: "tuple", items: [] } as const;
  const noBytes = { kind: "bytes", data: new Uint8Array(0) } as const;
  const [kwonly = 0, stack = 0, line = 0] = numbers;
  const common = {
    kind: "code",
    argcount: 1,
    posonlyargcount: 1,
    kwonlyargcount: kwonly % slots,
    stacksize: stack + 1,
    flags: 3,
    code,
    consts: { kind: "tuple", items: consts },
    names: nameTuple,
    filename: pick_(names, 0),
    name: pick_(names, 1),
    firstlineno: line,
    linetable: pick_(blobs, 1),
  } as const;
  if (minor >= 11) {
    const kinds = { kind: "bytes", data: new Uint8Array(slots).fill(0x20) } as const;
    return { ...common, localsplusnames: nameTuple, localspluskinds: kinds, qualname: pick_(names, slots - 1), exceptiontable: pick_(blobs, 2) };
  }
  return {
    ...common,
    localsplusnames: empty,
    localspluskinds: noBytes,
    qualname: strFromText(""),
    exceptiontable: noBytes,
    legacy: { nlocals: slots, varnames: nameTuple, freevars: empty, cellvars: { kind: "tuple", items: names.slice(1) } },
  };
}
