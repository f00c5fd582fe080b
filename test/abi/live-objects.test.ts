/** Oracle 4 (style.md, "ABI as data"): bytes of live objects of every type. Guards facts §1 (layouts), §2 (immortal header), §3 (state bits, interned constants, small ints). */
import { expect, test } from "vitest";
import { allData } from "../../src/abi/load.ts";
import { policy } from "../../src/abi/policy.ts";
import type { Abi, StructName } from "../../src/abi/types.ts";
import { runScript, subjects } from "./support.ts";

const strings: readonly (readonly [string, 1 | 2 | 4, boolean])[] = [
  ["plain text", 1, true], ["some_name", 1, true], ["caf\u00e9 \u00ff", 1, false], ["\u20ac 5", 2, false], ["\ud800 alone", 2, false], ["smile \u{1f600}", 4, false],
];
/** Besides those next to the interpreter's own. */
const ints = [(1n << 30n) - 1n, 1n << 30n, -(1n << 30n), (1n << 60n) - 1n, -(1n << 60n), 10n ** 100n, -(10n ** 50n)];
const constants = ["name_1", "Az", "9lives", "two words", "dotted.name", "caf\u00e9", "\u4e2d\u6587", "__", "--", "a\u0000"];

/** One-character strings, which CPython has in its own data. */
const singletons = ["a", "\u00e9"];

function request(abi: Abi): unknown {
  const encoder = new TextEncoder();
  const masks = allData().get(abi.id)?.strState;
  if (masks === undefined) throw new Error(abi.id);
  return {
    structs: Object.fromEntries((Object.keys(policy) as StructName[]).map((name) => [name, Object.fromEntries(abi.struct(name).fields)])),
    internedMask: masks.interned,
    // The other bits of the word are padding, left as malloc gave it.
    stateMask: (Object.values(masks).reduce<number>((all, mask) => all | (mask ?? 0), 0) & ~masks.interned) >>> 0,
    // Ours says "statically allocated" from 3.14 on (src/abi/objects.ts says why); no str of the heap does.
    strings: strings.map(([text, width, ascii]) => [text, width, ascii, (abi.strState(width, ascii) & ~(masks.statically_allocated ?? 0)) >>> 0]),
    staticMask: masks.statically_allocated ?? 0,
    singletons,
    ints: [BigInt(abi.smallInts.max) + 1n, BigInt(abi.smallInts.min) - 1n, ...ints].map((value) => {
      const { offset, bytes } = abi.intBody(value);
      return [value.toString(), offset, Buffer.from(bytes).toString("hex")];
    }),
    selfChecks: abi.selfChecks,
    nofree: allData().get(abi.id)?.code.legacy?.nofree ?? 0,
    gcHeaderSize: abi.gcHeaderSize,
    gcKinds: [...abi.gcKinds],
    constants: constants.map((text) => [text, abi.internsConstant(Buffer.byteLength(text) === text.length, encoder.encode(text))]),
    immortalHeader: Buffer.from(abi.immortalHeader).toString("hex"),
  };
}

for (const { label, python, abi } of subjects) {
  test(`${label}: live objects have the described bytes`, { timeout: 30_000 }, () => {
    const { counts, faults } = JSON.parse(runScript(python, "live_objects.py", request(abi))) as { counts: Record<string, number>; faults: string[] };
    console.log(`${label}: ${Object.entries(counts).map(([group, count]) => `${group} ${count}`).join(", ")}`);
    expect(faults).toEqual([]);
    const fixed = allData().get(abi.id)?.strState.statically_allocated;
    expect(fixed !== undefined).toBe(abi.version.minor >= 12);
    for (const [, width, ascii] of strings) expect((abi.strState(width, ascii) & (fixed ?? 0)) !== 0).toBe(abi.version.minor >= 14);
    expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(200);
  });
}
