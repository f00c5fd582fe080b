/**
 * Live oracle: laid-out units of a sample of the standard library against what
 * marshal.loads makes of the same .pyc files, object by object and word by
 * word, in each CPython found (facts/cpython.md §1–§4).
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { Abi } from "../../src/abi/types.ts";
import { NameTable } from "../../src/graph/names.ts";
import { checkUnit } from "../../src/layout/check.ts";
import { layOutModule } from "../../src/layout/layout.ts";
import { layOutNames } from "../../src/layout/names.ts";
import type { LaidOutUnit } from "../../src/layout/types.ts";
import { readPyc } from "../../src/pyc/pyc.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { abis, graphOf } from "./support.ts";

const script = fileURLToPath(new URL("live.py", import.meta.url));
/** PYCDS_TEST_ALL=1 takes all of the standard library, tests too (minutes). */
const everything = process.env["PYCDS_TEST_ALL"] === undefined ? [] : ["all"];
const report = z.object({
  python: z.string(), modules: z.number(), objects: z.number(), words: z.number(), codes: z.number(), executed: z.number(),
  mismatches: z.number(), faults: z.array(z.string()),
});

function live(exe: string, ...args: readonly string[]): unknown {
  return JSON.parse(execFileSync(exe, ["-EsSB", script, ...args], { encoding: "utf8", env: pythonEnvironment(), maxBuffer: 1 << 26 }));
}

function unitJson(name: string, file: string, unit: LaidOutUnit): unknown {
  const { internal, external, names, filename, codeVersion, rebuilt } = unit.relocations;
  return {
    name, file, root: unit.root, internal, external: [...external], names: names.map(({ slot, name: index }) => [slot, index]),
    filename, codeVersion, rebuilt, objects: unit.objects.map(({ offset, size, type }) => [offset, size, type]),
  };
}

function layOutAll(abi: Abi, modules: readonly string[], folder: string): string {
  const names = new NameTable();
  const units = modules.map((name) => {
    const file = join(folder, `${name}.pyc`);
    const pyc = readPyc(readFileSync(file), { file, expectMagic: abi.pycMagic, minor: abi.version.minor });
    const unit = layOutModule(graphOf(pyc.code, abi, names), abi);
    expect(checkUnit(unit, abi)).toEqual([]);
    writeFileSync(join(folder, `${name}.bin`), unit.bytes);
    return unitJson(name, `${name}.bin`, unit);
  });
  const { blocks, locations } = layOutNames(names.entries, abi);
  const manifest = join(folder, "manifest.json");
  for (const [index, block] of blocks.entries()) writeFileSync(join(folder, `names${index}.bin`), block.bytes);
  writeFileSync(manifest, JSON.stringify({
    blocks: blocks.map((block, index) => ({ file: `names${index}.bin`, first: block.firstName, count: block.nameCount })),
    locations: locations.map((location) => (location.kind === "block" ? location.offset : -1 - location.codePoint)),
    modules: units,
  }));
  return manifest;
}

describe.each(abis)("$id", (abi) => {
  const version = `3.${abi.version.minor}`;
  const found = pythons().filter((python) => python.version === version);
  it.skipIf(found.length === 0)(`is what CPython ${version} makes of the same .pyc files`, { timeout: 900_000 }, () => {
    for (const { exe } of found) {
      const folder = mkdtempSync(join(tmpdir(), "pycds-live-"));
      try {
        const modules = z.array(z.string()).parse(live(exe, "compile", folder, ...everything));
        const result = report.parse(live(exe, "check", layOutAll(abi, modules, folder)));
        console.info(`${exe} (${result.python}): ${result.modules} modules, ${result.objects} objects, ${result.words} words, `
          + `${result.codes} code objects by attribute, ${result.executed} executed, ${result.mismatches} mismatches`);
        expect(result.faults).toEqual([]);
        expect(result.mismatches).toBe(0);
        expect(result.modules).toBeGreaterThan(60);
        expect(result.executed).toBe(7);
      } finally {
        rmSync(folder, { recursive: true });
      }
    }
  });
});
