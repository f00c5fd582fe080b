/**
 * Units in real interpreters: every code object is the one that marshal makes
 * of the .pyc, at the requested address and elsewhere; and the self-check
 * refuses every interpreter that an archive was not built for.
 */
import { execFile, execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAbi } from "../../src/abi/load.ts";
import { buildArchive } from "../../src/archive/build.ts";
import type { BuildInput } from "../../src/archive/types.ts";
import { sampleTree, treeInput, writeTree } from "../archive/input.ts";
import { allPythons, pythonEnvironment, pythons } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";
import { Damage } from "./damage.ts";
import { compileShim, scratchFolder } from "./support.ts";

const live = fileURLToPath(new URL("live.py", import.meta.url));
const run = promisify(execFile);
const folder = scratchFolder();
const shims = { release: join(folder.path, "shim.so"), freethreaded: join(folder.path, "shim_t.so") };
const shimFor = ({ flavour }: TestPython): string => shims[flavour === "freethreaded" ? "freethreaded" : "release"];
beforeAll(async () => {
  await Promise.all([compileShim(shims.release), compileShim(shims.freethreaded, "freethreaded")]);
}, 120_000);
afterAll(() => folder.remove());

/** Real modules with a bit of everything: large tables, closures, frozensets, non-ASCII names' neighbours. */
const library = ["argparse.py", "ast.py", "dataclasses.py", "enum.py", "inspect.py", "keyword.py", "locale.py", "statistics.py", "token.py", "typing.py", "json", "collections", "email", "html"];

const rarities = `
FLOATS = (0.0, -0.0, 1e308, float, 1.5), 2.5e-324, 1j, -0.0j, -1j
INTS = (-6, -5, 0, 256, 257, 1023, 2**30 - 1, 2**30, 2**31, 2**60, 2**63, -2**64, 10**40, -10**100)
TEXTS = ("", "a", "\\xe9", "\\u20ac", "\\U0001f600", "ab", "with space", "n\\0ul", "\\ud800", "identifier_like", "gr\\xfc\\xdfe")
BYTES = (b"", b"a", b"\\xff", b"bytes", b"\\0" * 40)
ELLIPSIS = ..., None, True, False, (), ((),)
def sets(x):
    return x in {1, "two", None, b"b", (3, "four"), ...}, x in {frozenset, 1.5} or x in {"a", "b"}, x in {(1, (2, frozenset))}
def nested(a):
    b = a
    def inner(c, *, d=a):
        nonlocal b
        b = c
        return lambda: (a, b, c, d, __class__) if a else [x for x in (a, b)]
    return inner
class Größe:
    __slots__ = ("x",)
    def method(self): return super().__init__()
`;

interface Result {
  readonly differences: readonly string[];
  readonly units: number;
  readonly codes: number;
  readonly near: readonly boolean[];
  readonly samples: number;
  readonly results: readonly string[];
  readonly versions: { readonly unique: boolean; readonly min: number } | null;
}

/** Release builds, and 3.13t. */
const supported = [...pythons().filter(({ minor, flavour }) => minor >= 11 && minor <= 13 && flavour === "release"), ...allPythons().filter(({ version }) => version === "3.13t")];

it.skip.each(["3.11", "3.12", "3.13", "3.13t"].filter((version) => !supported.some((each) => each.version === version)))("CPython %s (not on this machine)", () => undefined);

describe.each(supported)("CPython $version ($exe)", (python) => {
  const at = (name: string): string => join(folder.path, python.exe.replaceAll("/", "-"), name);
  const archive = at("live.pycds");
  const shim = shimFor(python);
  let input: BuildInput;
  let bytes: Uint8Array = new Uint8Array();
  const written = (name: string, content: Uint8Array): string => {
    writeFileSync(at(name), content, { mode: 0o644 });
    return at(name);
  };
  const python3 = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> =>
    (await run(python.exe, args, { env: { ...pythonEnvironment(), ...env }, maxBuffer: 1 << 26 })).stdout;
  /** Why open or the self-check refuses; null: neither does. */
  const check = async (file: string, flags: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<string | null> =>
    JSON.parse(await python3([...flags, "-S", live, "check", shim, file], env)) as string | null;

  beforeAll(() => {
    const tree = at("tree");
    mkdirSync(tree, { recursive: true });
    writeTree(tree, { ...sampleTree, "rarities.py": rarities });
    const stdlib = execFileSync(python.exe, ["-I", "-c", "import os; print(os.path.dirname(os.__file__))"], { encoding: "utf8" }).trim();
    for (const name of library) if (existsSync(join(stdlib, name))) cpSync(join(stdlib, name), join(tree, name), { recursive: true, filter: (path) => !path.includes("__pycache__") });
    input = treeInput(python, tree);
    const built = buildArchive(input);
    expect(built.report.excluded.map(({ name }) => name)).toEqual(["gone"]);
    bytes = built.bytes;
    written("live.pycds", bytes);
    const versions = input.abi.hasCodeVersion ? input.abi.field("PyCodeObject", "co_version").offset : null;
    const units = input.modules.map(({ pycFile, folder: path, tail }) => ({ pyc: pycFile, filename: join(path, `${tail}.py`) }));
    writeFileSync(at("plan.json"), JSON.stringify({ base: Number(new Damage(bytes).header.preferred_base), versions, units }));
  }, 120_000);

  // facts/cpython.md §3 (interning, singletons), §4 (co_version, quickening), §9 (any address)
  it.each<{ readonly options: readonly string[] }>([{ options: [] }, { options: ["taken"] }, { options: ["stock-first"] }, { options: ["taken", "stock-first"] }])("makes of each unit what marshal makes of its .pyc $options", async ({ options }) => {
    const result = JSON.parse(await python3(["-S", live, "compare", shim, archive, at("plan.json"), ...options])) as Result;
    expect(result.differences).toEqual([]);
    expect(result.units).toBe(input.modules.length);
    expect(result.codes).toBeGreaterThan(1000);
    expect(new Set(result.near)).toEqual(new Set([!options.includes("taken")]));
    expect(result.samples).toBe(3);
    expect(result.results).toEqual(["({'k': False}, True, b'bytes', 1000000000000000000000000000000, 1j, Ellipsis)", "[1, 2]"]);
    if (input.abi.hasCodeVersion) {
      expect(result.versions?.unique).toBe(true);
      expect(result.versions?.min).toBeGreaterThanOrEqual(0x4000_0000);
    } else {
      expect(result.versions).toBeNull();
    }
  }, 120_000);

  it("passes its own self-check, and clears up after itself", async () => {
    expect(await check(archive)).toBeNull();
  });

  it("refuses other command lines: -O, and columns switched off", async () => {
    expect(await check(archive, ["-O"])).toBe("it is for -O level 0, this process has 1");
    expect(await check(archive, ["-OO"])).toBe("it is for -O level 0, this process has 2");
    // facts/cpython.md §4: no_debug_ranges rewrites the linetable at construction.
    expect(await check(archive, ["-X", "no_debug_ranges"])).toMatch(/no_debug_ranges/);
    expect(await check(archive, [], { PYTHONNODEBUGRANGES: "1" })).toMatch(/no_debug_ranges/);
    expect(await check(archive, ["-E"], { PYTHONNODEBUGRANGES: "1" })).toBeNull();
  });

  it("refuses an archive for another interpreter", async () => {
    const { header } = new Damage(bytes);
    const with_ = (name: string, change: (damage: Damage) => unknown): string => {
      const damage = new Damage(bytes);
      change(damage);
      return written(name, damage.sealed());
    };
    const text = (value: string): Uint8Array => Uint8Array.from({ length: 32 }, (_, index) => value.charCodeAt(index) || 0);
    const cases: readonly (readonly [string, RegExp])[] = [
      [with_("hex", (d) => d.setHeader({ hexversion: header.hexversion + 0x100 })), /^it is for Python 3\.\d+\.\d+ /],
      [with_("magic", (d) => d.setHeader({ pyc_magic: header.pyc_magic + 1 })), /^its \.pyc magic number/],
      [with_("tag", (d) => d.setHeader({ cache_tag: text("pypy39") })), /^its cache tag is pypy39/],
      [with_("tag32", (d) => d.setHeader({ cache_tag: text("x".repeat(32)) })), /^its cache tag is x{32},/],
      [with_("platform", (d) => d.setHeader({ platform: text("linux-riscv64") })), /^it is for linux-riscv64, this is linux-/],
      [with_("debug", (d) => d.setHeader({ abi_flags: 2 })), /another build flavour/],
      [with_("threads", (d) => d.setHeader({ abi_flags: 1 - header.abi_flags })), /another build flavour/],
      [with_("level", (d) => d.setHeader({ optimize: 2 })), /-O level 2/],
      [with_("type", (d) => d.set("abi", 0, { type_offset: 0 })), /type elsewhere/],
      [with_("basicsize", (d) => d.set("abi", 0, { code_basicsize: (d.rows("abi")[0]?.code_basicsize ?? 0) + 8 })), /its code objects have/],
      [with_("small", (d) => d.set("abi", 0, { small_int_max: 257 })), /ints from -5 to 257/],
    ];
    for (const [file, why] of cases) expect(await check(file)).toMatch(why);
  });

  it("refuses a layout that is off in any one row of the self-check", async () => {
    const rows = new Damage(bytes).rows("selfChecks");
    expect(rows.length).toBeGreaterThan(15);
    const answers = await Promise.all(
      rows.map(async (row, index) => {
        // An i32 field's neighbour is another number in the sample code object, or the upper half of a pointer.
        const offset = row.what === 0 ? row.offset + 4 : row.offset + 8;
        const limit = loadAbi(input.abi.id).struct("PyCodeObject").size - 8;
        const changed = new Damage(bytes).set("selfChecks", index, { offset: row.subject === 0 && offset > limit ? row.offset - 8 : offset }).sealed();
        return check(written(`row-${index}`, changed));
      }),
    );
    answers.forEach((answer, index) => expect([index, answer]).toEqual([index, expect.stringMatching(/at offset|__basicsize__ is/)]));
  }, 60_000);

  it("refuses a self-check that it cannot make", async () => {
    const types = new Damage(bytes).rows("selfChecks").findIndex(({ subject }) => subject === 1);
    const fields = new Damage(bytes).rows("selfChecks").findIndex(({ subject }) => subject === 0);
    // String 0 is empty: no type and no attribute has that name.
    expect(await check(written("type-name", new Damage(bytes).set("selfChecks", types, { name: 0 }).sealed()))).toMatch(/__basicsize__ is -1/);
    expect(await check(written("field-name", new Damage(bytes).set("selfChecks", fields, { name: 0 }).sealed()))).toMatch(/^code objects have no/);
  });

  it("is refused by every other interpreter", async () => {
    for (const other of new Set([...pythons(), ...supported])) {
      const { stdout } = await run(other.exe, ["-S", live, "check", shimFor(other), archive], { env: pythonEnvironment() });
      const why = JSON.parse(stdout) as string | null;
      if (other.version === python.version) continue; // the same minor may be the same build
      // a build of the same release but of another flavour has the same hexversion
      const expected = other.release === python.release ? /^it is for another build flavour \(flags \d, this Python has \d\)$/ : /^it is for Python 3\./;
      expect([other.version, why]).toEqual([other.version, expect.stringMatching(expected)]);
    }
  });
});
