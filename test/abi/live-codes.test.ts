/**
 * Oracle 4 for code objects: quicken, codeScalars and cell2arg against what
 * CPython made of every code object in the .pyc files of its standard library.
 * Guards facts §1 (derived fields; CO_NOFREE, co_cell2arg to 3.10) and §4
 * (initial co_code_adaptive, co_warmup).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { allData } from "../../src/abi/load.ts";
import type { Abi, CodeFacts, NameFacts } from "../../src/abi/types.ts";
import { ByteReader } from "../../src/base/bytes.ts";
import { tell } from "../support/matrix.ts";
import { inScratch, runScript, subjects } from "./support.ts";

/** Of files without .pyc, which are most tests of the library; all of them when every interpreter is asked for. */
const toCompile = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? 1_000_000 : 200;

/** Computed fields that no rule derives: what is filled at load or holds the bytecode. */
const notDerived = new Set(["co_version", "co_code_adaptive"]);

function derivedFields(abi: Abi): string[] {
  return [...abi.struct("PyCodeObject").fields.values()].filter(({ name, role, offset }) => role === "computed" && !isHeader(abi, offset) && !notDerived.has(name)).map(({ name }) => name);
}

/** init_code leaves it as malloc gave it, except in free-threaded builds, where alone it is looked at. */
function isGarbage(abi: Abi, name: string): boolean {
  return name === "_co_unique_id" && abi.flavour !== "freethreaded";
}

/** Counts and thread ids of a live object are its own. */
function isHeader(abi: Abi, offset: number): boolean {
  return offset < abi.struct("PyObject").size;
}

function readNames(input: ByteReader): NameFacts[] {
  return Array.from({ length: input.u32() }, () => {
    const width = input.u8();
    if (width !== 1 && width !== 2 && width !== 4) throw new Error(`width ${width}`);
    return { width, data: input.take(input.u32()) };
  });
}

function readLegacy(input: ByteReader, nlocals: number): { legacy: CodeFacts["legacy"] & object; cell2arg: number[] | undefined } {
  const legacy = { nlocals, varnames: readNames(input), cellvars: readNames(input), freevars: readNames(input) };
  return { legacy, cell2arg: input.i32() === 0 ? undefined : legacy.cellvars.map(() => Number(input.i64())) };
}

const oracle = "Derived fields and quickened bytecode of every code object against CPython's own";

for (const { label, python, abi } of subjects) {
  test(`${label}: quicken and codeScalars give what the interpreter made`, { timeout: 600_000 }, ({ task }) => {
    const fields = [...abi.struct("PyCodeObject").fields.values()];
    const scalars = derivedFields(abi);
    const zeros = fields.filter(({ name, role, offset }) => role === "zero" && !isHeader(abi, offset) && !isGarbage(abi, name)).map(({ name }) => name);
    const offsets = Object.fromEntries(fields.map(({ name, offset, size }) => [name, [offset, size]]));
    const started = performance.now();
    inScratch((folder) => {
      const file = join(folder, "codes");
      const { counts, faults } = JSON.parse(runScript(python, "live_codes.py", { offsets, scalars, zeros, nofree: allData().get(abi.id)?.code.legacy?.nofree ?? 0, compile: toCompile }, [file])) as { counts: Record<string, number>; faults: string[] };
      expect(faults).toEqual([]);
      const input = new ByteReader(readFileSync(file), file);
      let [codes, changed, words, cellArguments] = [0, 0, 0, 0];
      const mismatches: string[] = [];
      while (input.remaining > 0) {
        const [argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno] = [input.i32(), input.i32(), input.i32(), input.i32(), input.i32(), input.i32()];
        const nlocals = input.i32();
        const [code, adaptive, localspluskinds] = [input.take(input.u32()), input.take(input.u32()), input.take(input.u32())];
        const live = scalars.map((name) => [name, Number(input.i64())] as const);
        const quick = Buffer.from(abi.quicken(code));
        if (!quick.equals(adaptive)) mismatches.push(`code ${codes} (line ${firstlineno}): bytecode`);
        if (!quick.equals(code)) changed++;
        const { legacy, cell2arg } = abi.hasLegacyCode ? readLegacy(input, nlocals) : {};
        const facts: CodeFacts = { argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno, code, localspluskinds, ...(legacy === undefined ? {} : { legacy }) };
        const derived = abi.codeScalars(facts);
        const cells = abi.cell2arg(facts);
        if (String(cells) !== String(cell2arg)) mismatches.push(`code ${codes} (line ${firstlineno}): co_cell2arg ${String(cells)}, not ${String(cell2arg)}`);
        if (cells !== undefined) cellArguments++;
        for (const [name, value] of live) {
          words++;
          if (derived.get(name) !== value) mismatches.push(`code ${codes} (line ${firstlineno}): ${name} ${derived.get(name)}, not ${value}`);
        }
        if (derived.size !== scalars.length) mismatches.push(`code ${codes}: ${[...derived.keys()].join(" ")}`);
        codes++;
      }
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      tell(task, { oracle, minor: python.minor, text: `${label}: ${codes} code objects of ${counts["files"]} files (${counts["left"]} more were not compiled), ${changed} changed by quickening, ${words} derived words, ${counts["zero_fields"]} zero fields, ${abi.hasLegacyCode ? `${cellArguments} with co_cell2arg, ` : ""}${mismatches.length} mismatches, ${seconds} s` });
      expect(mismatches.slice(0, 10)).toEqual([]);
      expect(codes).toBe(counts["codes"]);
      expect(cellArguments).toBe(counts["cell2arg"]);
      if (abi.hasLegacyCode) expect(cellArguments).toBeGreaterThan(50);
      expect(codes).toBeGreaterThan(5000);
    });
  });
}
