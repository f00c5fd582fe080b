/**
 * The path index against CPython's own FileFinder (facts/cpython.md §7; the
 * rules stand in importlib/_bootstrap_external.py, FileFinder.find_spec):
 * random folder trees, every name that could be asked for, in every folder.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { indexFolders } from "../../src/archive/path-index.ts";
import type { IndexedEntry } from "../../src/archive/path-index.ts";
import { findRoot } from "../../src/archive/index-tables.ts";
import type { FolderInput, TargetInfo } from "../../src/archive/types.ts";
import { none } from "../../src/image/schema.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { linuxSuffixes, listTree, scratch, targetOf } from "./input.ts";

/** A small seeded generator (mulberry32): a failure names its seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const stems = ["a", "b", "ab", "__init__", "__main__", "größe", "x.y", "", "A", "a-b"];

/** Few names and many suffixes, so that clashes of every kind come up. */
function makeTree(root: string, pick: (below: number) => number, suffixes: readonly string[], depth: number): void {
  mkdirSync(root, { recursive: true });
  const taken = new Set<string>();
  const count = 2 + pick(9);
  for (let index = 0; index < count; index++) {
    const stem = stems[pick(stems.length)] ?? "a";
    const suffix = pick(4) === 0 ? "" : (suffixes[pick(suffixes.length)] ?? "");
    const name = stem + suffix;
    if (name === "" || taken.has(name)) continue;
    taken.add(name);
    // Folders mostly without suffix; now and then one that looks like a file, and a file that looks like a folder.
    if (depth > 0 && (suffix === "" ? pick(8) !== 0 : pick(12) === 0)) makeTree(join(root, name), pick, suffixes, depth - 1);
    else writeFileSync(join(root, name), "");
  }
}

const oracle = `
import sys, json
from importlib.machinery import FileFinder
from importlib._bootstrap_external import _get_supported_file_loaders
folders, tails = json.load(sys.stdin)
details = _get_supported_file_loaders()
answers = {}
for folder in folders:
    finder = FileFinder(folder, *details)
    rows = {}
    for tail in tails:
        spec = finder.find_spec("parent." + tail)
        if spec is not None:
            rows[tail] = ["namespace" if spec.loader is None else type(spec.loader).__name__, spec.origin, spec.submodule_search_locations]
    answers[folder] = rows
print(json.dumps(answers))
`;

type Answer = readonly [loader: string, origin: string | null, locations: readonly string[] | null];

const loaderNames = { extension: "ExtensionFileLoader", source: "SourceFileLoader", sourceless: "SourcelessFileLoader" } as const;

/** What stock would answer according to the index; undefined: missing; "ask": the index does not say. */
function answerOf(entry: IndexedEntry | undefined, folder: string, byPath: ReadonlyMap<string, ReadonlyMap<string, IndexedEntry>>, suffixes: TargetInfo["suffixes"]): Answer | "ask" | undefined {
  if (entry === undefined) return undefined;
  switch (entry.kind) {
    case "ask":
      return "ask";
    case "namespace":
      return ["namespace", null, [`${folder}/${entry.name}`]];
    case "package": {
      const child = entry.child ?? "";
      const init = answerOf(byPath.get(child)?.get("__init__"), child, byPath, suffixes);
      if (init === undefined || init === "ask") throw new Error(`package ${child} has no __init__ entry`);
      return [init[0], init[1], [child]];
    }
    case "source":
    case "sourceless":
    case "extension":
      return [loaderNames[entry.kind], `${folder}/${entry.name}${suffixes[entry.suffix ?? -1]?.suffix ?? "?"}`, null];
  }
}

const work = scratch();
afterAll(() => work.remove());

describe.each(pythons())("path index as FileFinder of $version ($exe)", (python) => {
  let target: TargetInfo;
  const roots: string[] = [];
  let answers: Readonly<Record<string, Readonly<Record<string, Answer>>>>;
  let listed: readonly (readonly FolderInput[])[];
  const tails: string[] = [];

  beforeAll(() => {
    target = targetOf(python);
    const suffixes = target.suffixes.map(({ suffix }) => suffix);
    for (let seed = 1; seed <= 60; seed++) {
      const root = join(work.path, `${python.exe.replaceAll("/", "_")}-${seed}`);
      makeTree(root, random(seed), suffixes, 3);
      roots.push(root);
    }
    listed = roots.map(listTree);
    // Each stem that has no dot, each with a suffix cut differently, and names that are nowhere.
    const parts = listed.flat().flatMap(({ names }) => names.map(({ name }) => name));
    const cuts = parts.flatMap((name) => [name, ...suffixes.filter((suffix) => name.endsWith(suffix)).map((suffix) => name.slice(0, name.length - suffix.length))]);
    tails.push(...new Set([...cuts, ...stems, "nowhere", "__pycache__"].filter((tail) => !tail.includes("."))));
    const folders = listed.flat().map(({ path }) => path);
    const out = execFileSync(python.exe, ["-I", "-c", oracle], { input: JSON.stringify([folders, tails]), encoding: "utf8", env: pythonEnvironment(), maxBuffer: 1 << 28 });
    answers = JSON.parse(out) as typeof answers;
  });

  /** Compares all answers; returns how many names the index left to stock. */
  function compare(folders: readonly FolderInput[]): { readonly asked: IndexedEntry[]; readonly compared: number } {
    const index = indexFolders(folders, target.suffixes);
    const byPath = new Map(index.map((folder) => [folder.path, new Map(folder.entries.map((entry) => [entry.name, entry]))]));
    const asked: IndexedEntry[] = [];
    let compared = 0;
    for (const { path } of folders) {
      for (const tail of tails) {
        const entry = byPath.get(path)?.get(tail);
        const said = answerOf(entry, path, byPath, target.suffixes);
        if (said === "ask" && entry !== undefined) asked.push({ ...entry, name: `${path}/${entry.name}` });
        else expect(said, `${path} ${tail}`).toEqual(answers[path]?.[tail]);
        compared += 1;
      }
    }
    return { asked, compared };
  }

  it("answers exactly the same when every folder was listed, and asks only beside a folder named __init__", () => {
    let compared = 0;
    for (const folders of listed) {
      const result = compare(folders);
      compared += result.compared;
      const folderPaths = new Set(folders.map(({ path }) => path));
      for (const { name } of result.asked) expect(folderPaths.has(`${name}/__init__`), name).toBe(true);
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it("says the same or asks when folders are left out, and asks for nothing else", () => {
    const pick = random(99);
    let asked = 0;
    for (const all of listed) {
      const folders = all.filter((_, position) => position === 0 || pick(3) !== 0);
      const paths = new Set(folders.map(({ path }) => path));
      const result = compare(folders);
      asked += result.asked.length;
      for (const { name } of result.asked) expect(!paths.has(name) || all.some(({ path }) => path === `${name}/__init__`), name).toBe(true);
    }
    expect(asked).toBeGreaterThan(20);
  });

  it("saw every kind of answer and clash", () => {
    const kinds = new Set(Object.values(answers).flatMap((rows) => Object.values(rows).map(([loader, , locations]) => `${loader}${locations === null ? "" : " package"}`)));
    expect([...kinds].sort()).toEqual([
      "ExtensionFileLoader", "ExtensionFileLoader package", "SourceFileLoader", "SourceFileLoader package",
      "SourcelessFileLoader", "SourcelessFileLoader package", "namespace package",
    ]);
    const entries = listed.flatMap((folders) => indexFolders(folders, target.suffixes)).flatMap(({ entries: all }) => all);
    // A file that wins over a folder of its name: the folder is kept in `child`, for it may become a package.
    expect(entries.some(({ kind, child }) => kind === "source" && child !== undefined)).toBe(true);
  });
});

it("needs a CPython", () => {
  expect(pythons().length, "no CPython found: set PYCDS_TEST_PYTHONS").toBeGreaterThan(0);
});

describe("path index", () => {
  const folder = (path: string, names: readonly string[]): FolderInput => ({
    path, mtimeNs: 1n, names: names.map((name) => ({ name: name.replace(/\/$/, ""), directory: name.endsWith("/") })),
  });

  it("does not depend on the order of folders or names", () => {
    const names = ["a.py", "a.pyc", "b/", "c.so", "größe.py", "z/"];
    const one = indexFolders([folder("/x", names), folder("/x/b", ["__init__.py"]), folder("/x/z", [])], linuxSuffixes);
    const other = indexFolders([folder("/x/z", []), folder("/x/b", ["__init__.py"]), folder("/x", names.toReversed())], linuxSuffixes);
    expect(other).toEqual(one);
    expect(one.map(({ path }) => path)).toEqual(["/x", "/x/b", "/x/z"]);
  });

  it("sorts as memcmp does, beyond the BMP too", () => {
    const [first] = indexFolders([folder("/x", ["\u{1f40d}.py", "\uff21.py", "a.py"])], linuxSuffixes);
    expect(first?.entries.map(({ name }) => name)).toEqual(["a", "\uff21", "\u{1f40d}"]);
  });

  it("asks stock for a name whose bytes are not UTF-8", () => {
    const [first] = indexFolders([folder("/x", ["\ufffd.py"])], linuxSuffixes);
    expect(first?.entries).toMatchObject([{ kind: "ask" }]);
  });

  it("joins as _path_join does: trailing slashes count once", () => {
    const index = indexFolders([folder("/x/", ["b/"]), folder("/x/b", ["__init__.py"])], linuxSuffixes);
    expect(index.find(({ path }) => path === "/x/")?.entries).toMatchObject([{ name: "b", kind: "package", child: "/x/b" }]);
  });

  it("lists no name with a dot: no import can ask for it", () => {
    const [first] = indexFolders([folder("/x", ["a.b.py", "c.abi3.so", "pip-24.0.dist-info/", "d.py"])], linuxSuffixes);
    expect(first?.entries.map(({ name }) => name)).toEqual(["c", "d"]);
  });

  it("refuses a folder that is listed twice", () => {
    expect(() => indexFolders([folder("/x", []), folder("/x", ["a.py"])], linuxSuffixes)).toThrow(expect.objectContaining({ code: "ARCHIVE_DUPLICATE_FOLDER" }));
  });
});

describe("roots", () => {
  const roots = [{ name: "all", path: "/" }, { name: "lib", path: "/usr/lib" }, { name: "py", path: "/usr/lib/python3" }, { name: "slash", path: "/opt/" }];
  it("the longest whole-component prefix wins", () => {
    expect(findRoot("/usr/lib/python3/json", roots)).toEqual({ root: 2, relative: "json" });
    expect(findRoot("/usr/lib/python3.11", roots)).toEqual({ root: 1, relative: "python3.11" });
    expect(findRoot("/usr/lib", roots)).toEqual({ root: 1, relative: "" });
    expect(findRoot("/usr", roots)).toEqual({ root: 0, relative: "usr" });
    expect(findRoot("/opt/app", roots)).toEqual({ root: 3, relative: "app" });
    expect(findRoot("/usr/lib/python3/json", roots.toReversed())).toEqual({ root: 1, relative: "json" });
    expect(findRoot("/usr/lib", roots.slice(2))).toEqual({ root: none, relative: "" });
  });
});
