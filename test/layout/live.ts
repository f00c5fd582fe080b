/** What tests with living interpreters share: lays modules out into files that live_map.py maps, and runs scripts. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { abiId, knownAbis, loadAbi } from "../../src/abi/load.ts";
import type { Abi } from "../../src/abi/types.ts";
import { NameTable } from "../../src/graph/names.ts";
import { checkUnit } from "../../src/layout/check.ts";
import { layOutModule } from "../../src/layout/layout.ts";
import { layOutNames } from "../../src/layout/names.ts";
import type { LaidOutUnit } from "../../src/layout/types.ts";
import { readPyc } from "../../src/pyc/pyc.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";
import { graphOf } from "./support.ts";

/** Layout data of an interpreter; undefined where we have none, so that it is refused. */
export function abiOf({ minor, flavour }: TestPython): Abi | undefined {
  const id = abiId({ minor, platform: "linux-x86_64", flavour });
  return knownAbis().includes(id) ? loadAbi(id) : undefined;
}

/** Runs a script of this folder; its one JSON object, or an error that names how the process ended. */
export function runScript(exe: string, script: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): unknown {
  const file = fileURLToPath(new URL(script, import.meta.url));
  return JSON.parse(execFileSync(exe, ["-EsSB", file, ...args], { encoding: "utf8", env: { ...pythonEnvironment(), ...env }, maxBuffer: 1 << 26 }));
}

function unitJson(name: string, unit: LaidOutUnit): unknown {
  const { internal, external, names, filename, codeVersion, rebuilt } = unit.relocations;
  return {
    name, file: `${name}.bin`, root: unit.root, internal, external: [...external], names: names.map(({ slot, name: index }) => [slot, index]),
    filename, codeVersion, rebuilt, objects: unit.objects.map(({ offset, size, type }) => [offset, size, type]),
  };
}

/**
 * Lays out `folder`/NAME.pyc for each module, into one name table.
 * @returns the manifest for live_map.py
 */
export function layOutAll(abi: Abi, modules: readonly string[], folder: string): string {
  const names = new NameTable();
  const units = modules.map((name) => {
    const file = join(folder, `${name}.pyc`);
    const pyc = readPyc(readFileSync(file), { file, expectMagic: abi.pycMagic, minor: abi.version.minor });
    const unit = layOutModule(graphOf(pyc.code, abi, names), abi);
    const [problem] = checkUnit(unit, abi);
    if (problem !== undefined) throw new Error(`${name}: ${problem.code} at ${problem.offset}: ${problem.what}`);
    writeFileSync(join(folder, `${name}.bin`), unit.bytes);
    return unitJson(name, unit);
  });
  const { blocks, locations } = layOutNames(names.entries, abi);
  const manifest = join(folder, "manifest.json");
  for (const [index, block] of blocks.entries()) writeFileSync(join(folder, `names${index}.bin`), block.bytes);
  writeFileSync(manifest, JSON.stringify({
    blocks: blocks.map((block, index) => ({ file: `names${index}.bin`, first: block.firstName, count: block.nameCount })),
    locations: [...locations],
    modules: units,
  }));
  return manifest;
}
