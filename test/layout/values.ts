/** Random constants for property tests: a DAG with sharing, every kind, odd sizes. */
import fc from "fast-check";
import type { CodeValue, PyValue, StrValue } from "../../src/pyc/value.ts";
import { bytes, code, frozenset, int, none, str, tuple, variable } from "./support.ts";

type Recipe =
  | { readonly of: "leaf"; readonly make: () => PyValue }
  | { readonly of: "tuple" | "frozenset"; readonly items: readonly number[] }
  | { readonly of: "code"; readonly items: readonly number[]; readonly make: (consts: readonly PyValue[]) => CodeValue };

const text = fc.oneof(
  fc.string({ unit: "grapheme-ascii", maxLength: 20 }),
  fc.stringMatching(/^\w{0,8}$/),
  fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((point) => String.fromCodePoint(point)), maxLength: 20 }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((point) => String.fromCodePoint(point)), maxLength: 9 }),
  fc.string({ unit: "binary", maxLength: 9 }),
);
const strings = fc.tuple(text, fc.boolean()).map(([value, interned]) => (): StrValue => ({ ...str(value), interned }));
const data = fc.uint8Array({ maxLength: 40 });

const leaf = fc.oneof(
  fc.constantFrom<() => PyValue>(() => none, () => ({ kind: "bool", value: true }), () => ({ kind: "ellipsis" }), () => ({ kind: "stopiteration" })),
  fc.bigInt({ min: -(2n ** 130n), max: 2n ** 130n }).map((value) => () => int(value)),
  fc.integer({ min: -8, max: 260 }).map((value) => () => int(value)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((bits) => (): PyValue => ({ kind: "float", bits })),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((realBits) => (): PyValue => ({ kind: "complex", realBits, imagBits: ~realBits & (2n ** 64n - 1n) })),
  data.map((value) => (): PyValue => bytes(...value)),
  strings,
);

const kinds = fc.constantFrom<number>(variable.local, variable.cell, variable.local | variable.cell, variable.free);
const codeMaker = fc
  .record({ names: fc.array(strings, { maxLength: 4 }), locals: fc.array(fc.tuple(strings, kinds), { maxLength: 4 }), argcount: fc.nat({ max: 2 }), units: data, table: data, own: fc.boolean(), flags: fc.integer({ min: 0, max: 3 }), name: strings })
  .map((parts) => (consts: readonly PyValue[]): CodeValue =>
    code(consts, {
      names: tuple(...parts.names.map((make) => make())),
      localsplusnames: tuple(...parts.locals.map(([make]) => make())),
      localspluskinds: bytes(...parts.locals.map(([, kind]) => kind)),
      argcount: parts.argcount,
      code: bytes(...[...parts.units, 0].flatMap((argument) => [9, argument])),
      linetable: bytes(...parts.table),
      flags: parts.flags,
      name: parts.name(),
      qualname: parts.name(),
      ...(parts.own ? {} : { filename: str("<elsewhere>") }),
    }));

const index = fc.nat();
const recipe: fc.Arbitrary<Recipe> = fc.oneof(
  { weight: 4, arbitrary: leaf.map((make): Recipe => ({ of: "leaf", make })) },
  { weight: 3, arbitrary: fc.record({ of: fc.constantFrom("tuple" as const, "frozenset" as const), items: fc.array(index, { maxLength: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ of: fc.constant("code" as const), items: fc.array(index, { maxLength: 8 }), make: codeMaker }) },
);

/** Makes a module's code; each call makes new, equal values. Containers hold values made before them. */
export const modules: fc.Arbitrary<() => CodeValue> = fc.tuple(fc.array(recipe, { maxLength: 40 }), codeMaker).map(([recipes, makeRoot]) => () => {
  const made: PyValue[] = [none];
  const pick = (numbers: readonly number[]): PyValue[] => numbers.map((number) => made[number % made.length] ?? none);
  for (const each of recipes) {
    made.push(each.of === "leaf" ? each.make() : each.of === "code" ? each.make(pick(each.items)) : each.of === "tuple" ? tuple(...pick(each.items)) : frozenset(...pick(each.items)));
  }
  return { ...makeRoot(made), filename: str("/lib/m.py") };
});
