/**
 * The path index in C (index.c), and what is checked not when an archive is
 * opened but at its use: entries and names. An archive with one bad item opens,
 * that item is never used, all others are as they were. Each row guards one
 * check of tables_entry_ok or tables_name_ok in native/runtime/tables.c: taking
 * that check out turns the row red.
 */
import { cpSync, mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { entryKind, none, stampKind } from "../../src/image/schema.ts";
import { treeInput } from "../archive/input.ts";
import type { Damage } from "./damage.ts";
import { coded, damaged, file, good, missing, opened, plain, prepareSample, python, sanitized, scratch, written } from "./sample.ts";
import { harness } from "./support.ts";

prepareSample();

type Wanted = readonly [folder: string, name: string];

const found = (archive: string, wanted: readonly Wanted[], exe = sanitized): string[] => harness(exe, ["find", archive, ...wanted.flat()]).stdout.trimEnd().split("\n");

/** Every entry of the index, in order. */
function everyEntry(): Wanted[] {
  const damage = damaged();
  const strings = Buffer.from(damage.sectionBytes("strings"));
  const text = (ref: number): string => strings.subarray(ref, strings.indexOf(0, ref)).toString();
  const folders = damage.rows("folders").map(({ path }) => text(path));
  return damage.rows("entries").map(({ folder, name }) => [folders[folder] ?? "", text(name)]);
}

const entryWith = (damage: Damage, kind: keyof typeof entryKind): number => damage.rows("entries").findIndex((entry) => entry.kind === entryKind[kind]);
const stringsSize = (damage: Damage): number => damage.section("strings").size;
const tree = (...below: string[]): string => join(file("tree"), ...below);

describe.skipIf(python === undefined)(`the path index${missing}`, () => {
  const wanted: readonly Wanted[] = [
    [tree(), "single"], [tree(), "pkg"], [tree(), "space"], [tree(), "pk"], [tree(), "single.py"], [tree(), "__pycache__"], [tree("pkg"), "sub"], [tree("pkg"), "native"], [tree("space"), "inner"], [tree("space"), "__init__"],
  ];
  const answers = [
    tree("single.py"), `${tree("pkg", "__init__.py")} (package)`, "namespace", "absent", "absent", "ask", tree("pkg", "sub.py"), tree("pkg", "native.so"), tree("space", "inner.py"), "absent",
  ];

  it("finds files, packages and namespaces", () => {
    expect(found(good, wanted)).toEqual(answers);
    expect(found(good, wanted, plain)).toEqual(answers);
  });

  it("finds the same by listing folders whose mtime changed", () => {
    const damage = damaged();
    damage.rows("folders").forEach(({ mtime_ns }, row) => damage.set("folders", row, { mtime_ns: mtime_ns + 1n }));
    // What has a tail's name and is not in the index may be a folder that came.
    expect(found(written("listed", damage.sealed()), wanted)).toEqual(answers.map((answer, at) => (wanted[at]?.[1] === "single.py" ? "ask" : answer)));
  });

  it("says of a folder it does not know only what is missing there", () => {
    mkdirSync(file("unknown/folder"), { recursive: true });
    for (const name of ["module.py", "ext.so", "text.txt"]) writeFileSync(file(`unknown/${name}`), "");
    const names = ["module", "ext", "folder", "text", "none"];
    expect(found(good, names.map((name) => [file("unknown"), name]))).toEqual(["ask", "ask", "ask", "absent", "absent"]);
    expect(found(good, [[file("nowhere"), "x"], [file("unknown/module.py"), "x"]])).toEqual(["ask", "ask"]);
  });

  const second = 1_000_000_000n;
  it.each<readonly [string, bigint, bigint, string]>([
    ["40 ms after a change", 1_600_000_000n * second + 1n, 40_000_000n, "listed again"],
    ["0.9 s after a change", 1_600_000_000n * second + 1n, 900_000_000n, "kept"],
    ["0.9 s after a whole second, perhaps all that the file system stores", 1_600_000_000n * second, 900_000_000n, "listed again"],
    ["1.06 s after a whole second", 1_600_000_000n * second, 1_060_000_000n, "kept"],
    ["before a change, by its clock", 1_600_000_000n * second + 1n, -second, "listed again"],
  ])("a listing made %s", (_, mtime, later, expected) => {
    const folder = file(`racy-${mtime}-${later}`);
    mkdirSync(folder);
    expect(harness(sanitized, ["racy", good, folder, String(mtime), String(mtime + later), "late"]).stdout).toBe(`${expected}\n`);
  });

  it("follows what happens to files and folders", () => {
    if (python === undefined) return;
    cpSync(file("tree"), file("moving"), { recursive: true, filter: (path) => !path.includes("__pycache__") });
    const moving = (...below: string[]): string => join(file("moving"), ...below);
    const archive = written("moving.pycds", buildArchive(treeInput(python, moving())).bytes);
    const names = wanted.map(([folder, name]): Wanted => [folder.replace(tree(), moving()), name]).slice(0, 3);
    const before = answers.slice(0, 3).map((answer) => answer.replace(tree(), moving()));
    expect(found(archive, names)).toEqual(before);
    writeFileSync(moving("unrelated.py"), "");
    expect(found(archive, names)).toEqual(before);
    mkdirSync(moving("single")); // might have an __init__
    writeFileSync(moving("space", "__init__.py"), "");
    utimesSync(moving("pkg", "__init__.py"), 1, 1);
    expect(found(archive, names)).toEqual(["ask", `${before[1]}: source changed`, "ask"]);
    writeFileSync(moving("pkg", "__init__.so"), ""); // before .py in FileFinder's order
    rmSync(moving("single"), { recursive: true });
    writeFileSync(moving("single.so"), "");
    expect(found(archive, names)).toEqual(["ask", "ask", "ask"]);
    for (const name of ["single.so", "single.py"]) rmSync(moving(name));
    expect(found(archive, names)).toEqual(["absent", "ask", "ask"]);
    rmSync(moving(), { recursive: true });
    expect(found(archive, names)).toEqual(["absent", "absent", "absent"]);
  });

  it.each<readonly [string, string, (damage: Damage) => unknown]>([
    ["a source's size", ": source changed", (d) => d.set("entries", coded(d), { stamp_size: 1n })],
    ["a source's time", ": source changed", (d) => d.set("entries", coded(d), { stamp_mtime: 1n })],
    ["a .pyc that is not there", ": .pyc changed", (d) => d.set("entries", coded(d), { stamp_kind: stampKind.pyc, stamp_file: 0 })],
    ["a source's contents", ": source contents changed", (d) => d.set("entries", coded(d), { stamp_kind: stampKind.digest, stamp_digest: 1n })],
    ["nothing, for it is sealed", "", (d) => d.set("entries", coded(d), { stamp_size: 1n }).setHeader({ required_features: 3n })],
  ])("compares %s", (_, suffix, change) => {
    const damage = damaged();
    change(damage);
    expect(found(written("stamp", damage.sealed()), [[tree(), "empty"]])).toEqual([`${tree("empty.py")}${suffix}`]);
  });
});

interface BadEntry {
  readonly what: string;
  /** `absent` where folder or length of the name changed: nothing tells any more that it was meant. */
  readonly answer: "ask" | "absent";
  readonly index: (damage: Damage) => number;
  readonly make: (damage: Damage, index: number) => unknown;
}

const bad = (what: string, index: BadEntry["index"], make: BadEntry["make"], answer: BadEntry["answer"] = "ask"): BadEntry => ({ what, index, make, answer });

const badEntries: readonly BadEntry[] = [
  bad("in no folder", coded, (d, at) => d.set("entries", at, { folder: none }), "absent"),
  bad("in another folder", coded, (d, at) => d.set("entries", at, { folder: 1 }), "absent"),
  bad("behind those of its folder", (d) => (d.rows("folders")[0]?.entry_count ?? 0) - 1, (d, at) => d.set("folders", 0, { entry_count: at })),
  bad("before those of its folder", coded, (d, at) => d.set("folders", 0, { first_entry: at + 1, entry_count: (d.rows("folders")[0]?.entry_count ?? 0) - at - 1 })),
  bad("without a name", coded, (d, at) => d.set("entries", at, { name: none })),
  bad("with a name of another length", coded, (d, at) => d.set("entries", at, { name_length: 1 }), "absent"),
  bad("of unknown kind", coded, (d, at) => d.set("entries", at, { kind: 6 })),
  bad("of unknown stamp", coded, (d, at) => d.set("entries", at, { stamp_kind: 4 })),
  bad("of unknown suffix", coded, (d, at) => d.set("entries", at, { suffix: 99 })),
  bad("with another kind's suffix", coded, (d, at) => d.set("entries", at, { suffix: 0 })),
  bad("of no unit", coded, (d, at) => d.set("entries", at, { unit: d.rows("units").length })),
  bad("with code for an extension", (d) => entryWith(d, "extension"), (d, at) => d.set("entries", at, { unit: 0, stamp_kind: stampKind.source })),
  bad("with code and no stamp", coded, (d, at) => d.set("entries", at, { stamp_kind: stampKind.none })),
  bad("of a package in no folder", (d) => entryWith(d, "package"), (d, at) => d.set("entries", at, { child: 99 })),
  bad("with a stamp without a file", coded, (d, at) => d.set("entries", at, { stamp_kind: stampKind.pyc, stamp_file: none })),
  bad("with a stamp file that is no string", coded, (d, at) => d.set("entries", at, { stamp_file: stringsSize(d) })),
  bad("with a reason that is no string", coded, (d, at) => d.set("entries", at, { reason: stringsSize(d) })),
];

describe.skipIf(python === undefined)("an entry", () => {
  it.each(badEntries)("$what is refused at its use, and no other is", ({ what, index, make, answer }) => {
    const damage = damaged();
    const at = index(damage);
    make(damage, at);
    const archive = written(what.replaceAll(" ", "-"), damage.sealed());
    const cache = what.startsWith("before") ? ", entry 0 refused" : ""; // the entry of __pycache__
    expect(opened(archive)).toEqual([expect.stringMatching(new RegExp(`^ok${cache}, entry ${at} refused$`))]);
    const wanted = everyEntry();
    const before = found(good, wanted);
    expect(before[at]).toMatch(/^\/|namespace/);
    expect(found(archive, wanted)).toEqual(before.with(at, answer));
  });

  it("of a package's __init__ takes the package with it", () => {
    const wanted = everyEntry();
    const init = wanted.findIndex(([, name]) => name === "__init__");
    const archive = written("init", damaged().set("entries", init, { kind: 6 }).sealed());
    const before = found(good, wanted);
    const after = before.map((answer, at) => (at === init || answer.endsWith("(package)") ? "ask" : answer));
    expect(after.filter((answer, at) => answer !== before[at])).toHaveLength(2);
    expect(found(archive, wanted)).toEqual(after);
  });
});

describe.skipIf(python === undefined)("a name", () => {
  /** The last one, which few units have: a traced one's come first. */
  const last = (damage: Damage): number => damage.nameCount - 1;

  it.each<readonly [string, (damage: Damage) => unknown]>([
    ["outside of its block", (d) => d.setName(last(d), 0x7fff)],
    ["that ends outside of its block", (d) => d.setName(last(d), (d.rows("nameBlocks").at(-1)?.data_size ?? 0) / 8 - 2)],
    ["beyond Latin-1", (d) => d.setName(last(d), 0x8100)],
  ])("%s is refused at its use: with the units that need it, and no others", (what, make) => {
    const damage = damaged();
    make(damage);
    const archive = written(what.replaceAll(" ", "-"), damage.sealed());
    expect(opened(archive)).toEqual([expect.stringMatching(new RegExp(`^ok, name ${last(damage)} refused$`))]);
    const units = harness(sanitized, ["load", archive]).stdout.trimEnd().split("\n");
    expect(units).toHaveLength(5);
    expect(units.filter((unit) => unit === "loaded").length).toBeGreaterThan(0);
    const refused = units.filter((unit) => unit !== "loaded");
    expect(refused.length).toBeGreaterThan(0);
    for (const unit of refused) expect(unit).toMatch(/^refused: archived names are damaged/);
  });
});

describe.skipIf(python === undefined)("damage with right digests", () => {
  it.each([1, 2, 3])("never crashes the runtime (seed %i)", (seed) => {
    const { stdout } = harness(sanitized, ["tables", good, scratch, String(seed), "12000"]);
    const [, accepted, loaded, refused, entries, names, served] =
      /^accepted=(\d+) of 12000 loaded=(\d+) refused=(\d+) entries=(\d+) names=(\d+) served=(\d+)\n$/.exec(stdout)?.map(Number) ?? [];
    expect(accepted).toBeGreaterThan(2000);
    expect(loaded).toBeGreaterThan(2000);
    expect(refused).toBeGreaterThan(500);
    expect(entries).toBeGreaterThan(200);
    expect(names).toBeGreaterThan(200);
    expect(served).toBeGreaterThan(5000);
  }, 240_000);
});
