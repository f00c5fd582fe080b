/** Building: deterministic bytes, modules that can't be archived, addresses, index and description of the result. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chooseBase } from "../../src/archive/addresses.ts";
import { buildArchive } from "../../src/archive/build.ts";
import { pycFileOf } from "../../src/archive/pyc-file.ts";
import type { BuildProgress } from "../../src/archive/build.ts";
import { indexFolders } from "../../src/archive/path-index.ts";
import type { BuildInput, ModuleInput } from "../../src/archive/types.ts";
import { sha256 } from "../../src/base/digest.ts";
import { paddedText } from "../../src/image/codec.ts";
import { openImage } from "../../src/image/reader.ts";
import type { ImageReader } from "../../src/image/reader.ts";
import { entryKind, features, none, stampKind } from "../../src/image/schema.ts";
import { verify } from "../../src/inspect/verify.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { isServed } from "../support/served.ts";
import { sampleTree, scratch, treeInput, writeTree } from "./input.ts";

const known = pythons().filter(isServed);

it.skipIf(known.length === 0)("needs a CPython with layout data", () => expect(known.length).toBeGreaterThan(0));

const work = scratch();
afterAll(() => work.remove());

/** The same input, its folders and their names in another order. */
function shuffled(input: BuildInput): BuildInput {
  return { ...input, folders: input.folders.toReversed().map((folder) => ({ ...folder, names: folder.names.toReversed() })) };
}

describe.each(known)("build for $version ($exe)", (python) => {
  let root: string;
  let input: BuildInput;
  let bytes: Uint8Array;
  let image: ImageReader;

  beforeAll(() => {
    root = join(work.path, python.exe.replaceAll("/", "_"));
    writeTree(root, sampleTree);
    input = treeInput(python, root);
    bytes = buildArchive(input).bytes;
    image = openImage(bytes, "test.pycds");
  });

  const entryOf = (folder: string, tail: string): ImageReader["entries"][number] | undefined => {
    const number = image.findFolder(folder);
    return image.entries[number === undefined ? -1 : (image.findEntry(number, tail) ?? -1)];
  };

  it("gives the same bytes for the same input, in whatever order folders and names were listed", () => {
    expect(buildArchive(input).bytes).toEqual(bytes);
    expect(buildArchive(shuffled(input)).bytes).toEqual(bytes);
    expect(buildArchive(treeInput(python, root)).bytes).toEqual(bytes);
  });

  it("gives other bytes for another input", () => {
    const [first, ...rest] = input.modules;
    if (first === undefined) throw new Error("no modules");
    const touched = { ...first, stamp: { kind: "source" as const, mtime: 1, size: 1 } };
    const changed = buildArchive({ ...input, modules: [touched, ...rest] }).bytes;
    expect(changed).not.toEqual(bytes);
    expect(openImage(changed, "x").header.archive_digest).not.toEqual(image.header.archive_digest);
  });

  it("verifies: digests, relocations, pointers", () => {
    expect(verify(image).problems).toEqual([]);
    expect(image.units.length).toBe(input.modules.length);
  });

  it("is written for an address from its contents, as the header says", () => {
    expect(image.header.preferred_base % 0x10000n).toBe(0n);
    expect(image.header.preferred_base).toBeGreaterThanOrEqual(0x10_0000_0000n);
    expect(image.header.preferred_base + BigInt(image.sections.data.size)).toBeLessThanOrEqual(0x40_0000_0000n);
    const other = openImage(buildArchive({ ...input, modules: input.modules.slice(1), traced: 1 }).bytes, "x");
    expect(other.header.preferred_base).not.toBe(image.header.preferred_base);
  });

  it("tells the target, the features and the hot part", () => {
    expect(image.header).toMatchObject({ hexversion: input.target.hexversion, pyc_magic: input.target.pycMagic, optimize: 0, abi_flags: python.flavour === "freethreaded" ? 1 : 0, layout_digest: input.abi.digest });
    expect(paddedText(image.header.cache_tag)).toBe(input.target.cacheTag);
    expect((image.header.required_features & features.codeVersion) !== 0n).toBe(python.minor >= 12);
    const lastTraced = image.units[input.traced - 1];
    expect(image.header.data_hot_size).toBe(Math.floor(Number((lastTraced?.data_offset ?? 0n) + BigInt(lastTraced?.data_size ?? 0)) / 4096));
    const sealed = openImage(buildArchive({ ...input, sealed: true }).bytes, "x");
    expect((sealed.header.required_features & features.sealed) !== 0n).toBe(true);
    expect((image.header.required_features & features.sealed) !== 0n).toBe(false);
  });

  it("records each name of the index, found through the hash tables", () => {
    for (const folder of indexFolders(input.folders, input.target.suffixes)) {
      const number = image.findFolder(folder.path);
      expect(number, folder.path).toBeDefined();
      expect(image.folders[number ?? -1]).toMatchObject({ root: 0, mtime_ns: folder.mtimeNs, entry_count: folder.entries.length });
      for (const entry of folder.entries) {
        const child = entry.child === undefined ? none : image.findFolder(entry.child);
        expect(entryOf(folder.path, entry.name), entry.name).toMatchObject({ kind: entryKind[entry.kind], suffix: entry.suffix ?? 0, child });
      }
    }
    expect(entryOf(root, "nowhere")).toBeUndefined();
  });

  it("puts a package's unit and stamp on the __init__ of its own folder", () => {
    expect(entryOf(root, "pkg")).toMatchObject({ kind: entryKind.package, unit: none, stamp_kind: stampKind.none });
    const init = entryOf(join(root, "pkg"), "__init__");
    const pyc = pycFileOf(input.modules.find(({ name }) => name === "pkg")?.pyc ?? new Uint8Array()).bytes();
    const view = Buffer.from(pyc.buffer, pyc.byteOffset, pyc.byteLength);
    expect(init).toMatchObject({ kind: entryKind.source, stamp_kind: stampKind.source, stamp_mtime: BigInt(view.readUInt32LE(8)), stamp_size: BigInt(view.readUInt32LE(12)) });
    expect(image.meta().modules.find(({ name }) => name === "pkg")).toMatchObject({ unit: init?.unit, file: join(root, "pkg/__init__.py") });
  });

  const withFirst = (change: (module: ModuleInput) => Partial<ModuleInput>): BuildInput => {
    const [first, ...rest] = input.modules;
    if (first === undefined) throw new Error("no modules");
    return { ...input, modules: [{ ...first, ...change(first) }, ...rest] };
  };

  it.each([
    ["cut short", (pyc: Uint8Array) => pyc.subarray(0, 40)],
    ["empty", () => new Uint8Array()],
    ["of another interpreter", (pyc: Uint8Array) => Uint8Array.of(1, 2, ...pyc.subarray(2))],
    ["no code object", (pyc: Uint8Array) => Uint8Array.of(...pyc.subarray(0, 16), 0x4e)],
    ["noise", (pyc: Uint8Array) => Uint8Array.of(...pyc.subarray(0, 16), ...Array.from({ length: 64 }, (_, index) => (index * 37) & 0xff))],
  ])("a .pyc that is %s costs its module, not the build", (_, damage) => {
    const built = buildArchive(withFirst(({ pyc }) => ({ pyc: damage(pycFileOf(pyc).bytes()) })));
    const [first] = input.modules;
    expect(built.report.modules).toBe(input.modules.length - 1);
    const row = built.report.excluded.find(({ name }) => name === first?.name);
    expect(row).toMatchObject({ file: first?.pycFile, reason: expect.stringMatching(/\w/) as unknown });
    const without = openImage(built.bytes, "x");
    expect(verify(without).problems).toEqual([]);
    const entry = without.entries[without.findEntry(without.findFolder(first?.folder ?? "") ?? -1, first?.tail ?? "") ?? -1];
    expect(entry).toMatchObject({ unit: none, stamp_kind: stampKind.none });
    expect(without.string(entry?.reason ?? none)).toBe(row?.reason);
    expect(without.meta().excluded).toContainEqual({ name: first?.name, reason: row?.reason });
    // The build machine's scratch folder is nobody's business.
    expect(Buffer.from(built.bytes).includes(first?.pycFile ?? "?")).toBe(false);
  });

  it.each([
    ["is not in the index", { folder: "/nowhere" }, "not in the index"],
    ["is not in the listing", { tail: "nowhere" }, "listing"],
    ["is not what the finder takes", { kind: "sourceless" as const }, "the finder takes the source file"],
    ["has a .pyc elsewhere", { stamp: { kind: "pyc" as const, file: "/elsewhere/x.pyc", mtimeNs: 1n, size: 1 } }, "not below its folder"],
  ])("a module that %s is named and left out", (_, change, reason) => {
    const { report } = buildArchive(withFirst(() => change));
    expect(report.excluded).toContainEqual(expect.objectContaining({ name: input.modules[0]?.name, reason: expect.stringContaining(reason) as unknown }));
    expect(report.modules).toBe(input.modules.length - 1);
  });

  it("keeps one unit for a file that was imported under two names", () => {
    const [first] = input.modules;
    if (first === undefined) throw new Error("no modules");
    const built = openImage(buildArchive({ ...input, modules: [...input.modules, { ...first, name: "another.name" }] }).bytes, "x");
    expect(built.units.length).toBe(input.modules.length);
    expect(built.meta().modules.filter(({ unit }) => unit === 0).map(({ name }) => name)).toEqual([first.name, "another.name"]);
    expect(verify(built).problems).toEqual([]);
  });

  it("stores every kind of stamp", () => {
    const stamps = [
      [{ kind: "pyc" as const, file: join(root, "__pycache__/x.pyc"), mtimeNs: (1n << 60n) + 5n, size: 12 }, { stamp_kind: stampKind.pyc, stamp_mtime: (1n << 60n) + 5n, stamp_size: 12n }],
      [{ kind: "digest" as const, digest: 0xfedcba9876543210n, size: 3 }, { stamp_kind: stampKind.digest, stamp_digest: 0xfedcba9876543210n, stamp_size: 3n }],
      // mod 2^32, as importlib compares them
      [{ kind: "source" as const, mtime: 2 ** 32 + 7, size: 2 ** 32 + 9 }, { stamp_kind: stampKind.source, stamp_mtime: 7n, stamp_size: 9n }],
    ] as const;
    for (const [stamp, fields] of stamps) {
      const built = openImage(buildArchive(withFirst(() => ({ stamp }))).bytes, "x");
      const [first] = input.modules;
      const entry = built.entries[built.findEntry(built.findFolder(first?.folder ?? "") ?? -1, first?.tail ?? "") ?? -1];
      expect(entry).toMatchObject(fields);
      expect(entry?.stamp_file === none ? "" : built.string(entry?.stamp_file ?? none)).toBe(stamp.kind === "pyc" ? "__pycache__/x.pyc" : "");
    }
  });

  it("refuses layout data that is not the target's", () => {
    const wrong = (change: Partial<BuildInput["target"]>): (() => unknown) => () => buildArchive({ ...input, target: { ...input.target, ...change } });
    expect(wrong({ hexversion: 0x03ff00f0 })).toThrow(expect.objectContaining({ code: "ARCHIVE_TARGET" }));
    expect(wrong({ platform: "linux-riscv64" })).toThrow(expect.objectContaining({ code: "ARCHIVE_TARGET" }));
    expect(wrong({ flavour: python.flavour === "freethreaded" ? "release" : "freethreaded" })).toThrow(expect.objectContaining({ code: "ARCHIVE_TARGET" }));
    expect(wrong({ pycMagic: 0x0a0d0001 })).toThrow(expect.objectContaining({ code: "ARCHIVE_TARGET" }));
  });

  it("reports its progress, and builds an archive of nothing", () => {
    const seen: BuildProgress[] = [];
    buildArchive(input, (progress) => seen.push(progress));
    expect([...new Set(seen.map(({ pass }) => pass))]).toEqual(["index", "compile", "names", "addresses", "write"]);
    const empty = buildArchive({ ...input, folders: [], modules: [], traced: 0, excluded: [], roots: [] });
    expect(verify(openImage(empty.bytes, "x")).problems).toEqual([]);
  });

  it("holds a real package of the standard library (email, with what surrounds it)", () => {
    const file = execFileSync(python.exe, ["-I", "-c", "import email; print(email.__file__)"], { encoding: "utf8", env: pythonEnvironment() }).trim();
    const copy = join(root, "..", `${python.exe.replaceAll("/", "_")}-email`);
    const names = execFileSync(python.exe, ["-I", "-c", "import os, sys; print('\\n'.join(n for n in os.listdir(sys.argv[1]) if n.endswith('.py')))", dirname(file)], { encoding: "utf8", env: pythonEnvironment() }).trim().split("\n");
    writeTree(copy, Object.fromEntries(names.map((name) => [`email/${name}`, readFileSync(join(dirname(file), name), "utf8")])));
    const built = buildArchive(treeInput(python, copy));
    expect(built.report).toMatchObject({ modules: names.length, excluded: [{ name: "gone" }] });
    expect(verify(openImage(built.bytes, "email.pycds")).problems).toEqual([]);
  });
});

describe("preferred base", () => {
  it("is aligned, in range for any size, and spread", () => {
    const seen = new Set<bigint>();
    for (let index = 0; index < 200; index++) {
      for (const size of [0, 1, 0x10000, 0x7fff_ffff, 0xfffe_0000]) {
        const base = chooseBase(sha256(Uint8Array.of(index)), size);
        expect(base % 0x10000n).toBe(0n);
        expect(base >= 0x10_0000_0000n && base + BigInt(size) <= 0x40_0000_0000n).toBe(true);
        seen.add(base >> 32n);
      }
    }
    expect(seen.size).toBeGreaterThan(40);
  });
});
