/** Inspection of real archives: verify finds any damage, diff and why tell the truth. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { pycFileOf } from "../../src/archive/pyc-file.ts";
import type { BuildInput } from "../../src/archive/types.ts";
import { openImage } from "../../src/image/reader.ts";
import { formatVersion } from "../../src/image/schema.ts";
import type { ImageReader } from "../../src/image/reader.ts";
import { diff } from "../../src/inspect/diff.ts";
import { checkMap, mapFile } from "../../src/inspect/map.ts";
import { listModules, summary, versionText } from "../../src/inspect/summary.ts";
import { diffText, modulesText, sizeText, summaryText, verificationText, whyText } from "../../src/inspect/text.ts";
import { unitObjects } from "../../src/inspect/unit.ts";
import { verify, verifyFile } from "../../src/inspect/verify.ts";
import { why } from "../../src/inspect/why.ts";
import { sampleTree, scratch, treeInput, writeTree } from "../archive/input.ts";
import { place, resign } from "../image/sample.ts";
import { pythons } from "../support/pythons.ts";
import { isServed } from "../support/served.ts";

const known = pythons().filter(isServed);
it.skipIf(known.length === 0)("needs a CPython with layout data", () => expect(known.length).toBeGreaterThan(0));

const work = scratch();
afterAll(() => work.remove());

describe.each(known)("inspection of an archive for $version ($exe)", (python) => {
  let root: string;
  let input: BuildInput;
  let bytes: Uint8Array;
  let image: ImageReader;

  beforeAll(() => {
    root = join(work.path, python.exe.replaceAll("/", "_"));
    writeTree(root, { ...sampleTree, "bad.py": "x = 1\n", "untraced.py": "x = 2\n" });
    const all = treeInput(python, root);
    input = {
      ...all,
      traced: 2,
      modules: all.modules.filter(({ name }) => name !== "untraced").map((module) => (module.name === "bad" ? { ...module, pyc: pycFileOf(module.pyc).bytes().subarray(0, 30) } : module)),
    };
    bytes = buildArchive(input).bytes;
    image = openImage(bytes, "test.pycds");
  });

  it("verify: sound as built; every result is JSON", () => {
    expect(verifyFile(bytes, "test.pycds")).toMatchObject({ ok: true, problems: [], checked: { units: image.units.length } });
    for (const value of [summary(image), listModules(image), verify(image), diff(image, image), why(image, "pkg")]) {
      expect(JSON.parse(JSON.stringify(value))).toEqual(value);
    }
  });

  it("verify: a byte flipped anywhere in units, name blocks and streams is found in its unit", () => {
    for (const section of ["data", "relocations"] as const) {
      const { offset, size } = place(bytes, section);
      const step = Math.max(1, Math.floor(size / 150));
      for (let at = offset; at < offset + size; at += step) {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] ?? 0) ^ 0x40;
        const { ok, problems } = verifyFile(damaged, "x");
        expect(ok, `${section} byte ${at - offset}`).toBe(false);
        expect(problems.some(({ code }) => code === "VERIFY_UNIT" || code === "VERIFY_NAMES" || code === "VERIFY_GAP"), `${section} byte ${at - offset}`).toBe(true);
      }
    }
  });

  it("verify: with right digests too, a pointer that leads elsewhere, a lost object, another reference count", () => {
    const [unit] = image.units.slice(-1);
    if (unit === undefined) throw new Error("no unit");
    const start = place(bytes, "data").offset + Number(unit.data_offset);
    const relocations = image.unitRelocations(unit);
    expect(relocations.internal.length).toBeGreaterThan(0);
    for (const slot of relocations.internal) {
      for (const wrong of [0n, BigInt(image.base) - 16n, BigInt(image.base) + unit.data_offset + BigInt(unit.data_size)]) {
        const { problems } = verifyFile(resign(bytes, (_, view) => view.setBigUint64(start + slot, wrong, true)), "x");
        expect(problems).toMatchObject([{ code: "VERIFY_UNIT", what: expect.stringContaining("leads out of its unit") as unknown, offset: start + slot }]);
      }
    }
    for (const object of unitObjects(image, relocations)) {
      const { problems } = verifyFile(resign(bytes, (_, view) => view.setUint8(start + object.offset, 0x55)), "x");
      expect(problems).toMatchObject([{ what: expect.stringContaining("reference count") as unknown, offset: start + object.offset }]);
    }
  });

  it("verify: lists all problems at once", () => {
    const { offset } = place(bytes, "data");
    const damaged = bytes.slice();
    for (const unit of image.units) damaged[offset + Number(unit.data_offset) + unit.data_size - 1] = 0xee;
    const text = verificationText(verifyFile(damaged, "x"));
    image.units.forEach((_, number) => expect(text).toContain(`unit ${number}: its digest differs`));
    expect(text.split("\n").length).toBeGreaterThanOrEqual(image.units.length);
  });

  it("map: checks, and finds any changed number, lost or doubled line", () => {
    const map = mapFile(image);
    expect(checkMap(map, image)).toEqual([]);
    const lines = map.split("\n");
    for (const [number, line] of lines.entries()) {
      if (number === 0 || line === "") continue;
      const without = lines.filter((_, other) => other !== number).join("\n");
      expect(checkMap(without, image).length, `without ${line}`).toBeGreaterThan(0);
      const digits = [...line.matchAll(/[0-9a-f](?=[0-9a-f]*( |$))/g)].map(({ index }) => index);
      for (const at of digits.filter((_, each) => each % 3 === 0)) {
        const changed = line.slice(0, at) + (line[at] === "1" ? "2" : "1") + line.slice(at + 1);
        expect(checkMap(lines.with(number, changed).join("\n"), image).length, changed).toBeGreaterThan(0);
      }
    }
    expect(checkMap(`${map}${lines[5]}\n`, image).map(({ what }) => what)).toContainEqual(expect.stringContaining("there twice"));
    expect(checkMap(map.replace("folder=0", "more=1 folder=0"), image).map(({ what }) => what)).toEqual([expect.stringContaining("says more")]);
    expect(checkMap(map.replace("folder=0", "folder=77"), image).map(({ what }) => what)).toContain("there is no folder 77");
    expect(checkMap(map.slice(0, -1), image)).toContainEqual(expect.objectContaining({ what: expect.stringContaining("cut") as unknown }));
    expect(checkMap("nonsense\n\n", image).length).toBeGreaterThan(3);
  });

  it("summary and modules: what the build put in", () => {
    const found = summary(image);
    expect(found).toMatchObject({ modules: input.modules.length - 1, traced: 2 - 1, excluded: 2, units: input.modules.length - 1, served: input.modules.length - 1, format: formatVersion });
    expect([found.target.version, found.target.flavour]).toEqual([python.release, python.flavour]);
    expect(summaryText(found)).toContain(found.digest);
    expect(modulesText(listModules(image))).toContain(join(root, "pkg/sub.py"));
  });

  it("why: archived, excluded, gone, not traced, no code, asked, nowhere", () => {
    expect(why(image, "pkg.sub")).toMatchObject({ state: "archived", archived: { file: join(root, "pkg/sub.py"), stamp: { kind: "source" } }, places: [{ kind: "source" }] });
    expect(why(image, "pkg")).toMatchObject({ state: "archived", places: [{ folder: join(root, "pkg"), kind: "source" }] });
    expect(why(image, "bad")).toMatchObject({ state: "excluded", because: expect.stringMatching(/\w+/) as unknown });
    expect(why(image, "gone")).toMatchObject({ state: "excluded", because: "the trace names it, but its file is gone" });
    expect(why(image, "untraced")).toMatchObject({ state: "not-traced" });
    expect(why(image, "pkg.native")).toMatchObject({ state: "no-code", places: [{ kind: "extension" }] });
    expect(why(image, "space")).toMatchObject({ state: "no-code", places: [{ kind: "namespace" }] });
    expect(why(image, "__pycache__")).toMatchObject({ state: "ask" });
    expect(why(image, "pkg.nowhere")).toMatchObject({ state: "not-in-index", places: [] });
    // sub is in pkg's folder, which is no folder of sys.path
    expect(why(image, "sub")).toMatchObject({ state: "not-in-index" });
    expect(whyText(why(image, "bad"))).toContain("bad is left to stock: ");
  });

  it("diff: equal to itself; changed code, stamps, modules and folders by name", () => {
    expect(diff(image, openImage(bytes, "other.pycds"))).toMatchObject({ equal: true, header: [], changed: [], added: [], removed: [] });
    expect(diffText(diff(image, image))).toBe("the archives are equal");

    const other = join(work.path, `${python.exe.replaceAll("/", "_")}-other`);
    writeTree(other, { "donor.py": "a = 'a new constant'\n" });
    const donor = treeInput(python, other).modules[0]?.pyc ?? new Uint8Array();
    const modules = input.modules
      .filter(({ name }) => name !== "empty")
      .map((module) => (module.name === "single" ? { ...module, pyc: donor } : module.name === "pkg" ? { ...module, stamp: { kind: "digest" as const, digest: 1n, size: 1 } } : module));
    const [first, ...rest] = input.folders;
    if (first === undefined) throw new Error("no folder");
    const changed = openImage(buildArchive({ ...input, modules, folders: [{ ...first, mtimeNs: 5n }, ...rest] }).bytes, "other.pycds");
    const found = diff(image, changed);
    expect(found).toMatchObject({
      equal: false,
      removed: [{ name: "empty" }],
      added: [],
      folders: { added: [], removed: [], changed: [root] },
    });
    // All units lie elsewhere and their names have other numbers, yet only two modules changed.
    expect(found.changed.map(({ name, changed: what }) => [name, what])).toEqual([["pkg", ["stamp"]], ["single", ["code"]]]);
    expect(found.header.map(({ field }) => field)).toContain("preferred_base");
    expect(diff(changed, image)).toMatchObject({ added: [{ name: "empty" }], removed: [] });
    expect(diffText(found)).toContain("~ single: code");
  });
});

describe("texts", () => {
  it("writes versions as people do", () => {
    expect([0x030b07f0, 0x030d00c1, 0x030e00a3, 0x030f00b2].map(versionText)).toEqual(["3.11.7", "3.13.0rc1", "3.14.0a3", "3.15.0b2"]);
  });
  it("writes sizes", () => {
    expect([0, 1023, 1024, 1536, 3 * 1024 ** 2].map(sizeText)).toEqual(["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "3.0 MiB"]);
  });
});
