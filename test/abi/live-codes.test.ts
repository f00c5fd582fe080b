/**
 * Oracle 4 for code objects: quicken and codeScalars against what CPython made
 * of every code object in the .pyc files of its standard library.
 * Guards facts §1 (derived fields) and §4 (initial co_code_adaptive, co_warmup).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Abi } from "../../src/abi/types.ts";
import { ByteReader } from "../../src/base/bytes.ts";
import { inScratch, runScript, subjects } from "./support.ts";

/** Fields that no rule derives: the header, and what is filled at load or holds the bytecode. */
const notDerived = new Set(["ob_refcnt", "co_version", "co_code_adaptive"]);

function derivedFields(abi: Abi): string[] {
  return [...abi.struct("PyCodeObject").fields.values()].filter(({ name, role }) => role === "computed" && !notDerived.has(name)).map(({ name }) => name);
}

for (const { label, python, abi } of subjects) {
  test(`${label}: quicken and codeScalars give what the interpreter made`, { timeout: 60_000 }, () => {
    const fields = [...abi.struct("PyCodeObject").fields.values()];
    const scalars = derivedFields(abi);
    const zeros = fields.filter(({ role }) => role === "zero").map(({ name }) => name);
    const offsets = Object.fromEntries(fields.map(({ name, offset, size }) => [name, [offset, size]]));
    const started = performance.now();
    inScratch((folder) => {
      const file = join(folder, "codes");
      const { counts, faults } = JSON.parse(runScript(python, "live_codes.py", { offsets, scalars, zeros }, [file])) as { counts: Record<string, number>; faults: string[] };
      expect(faults).toEqual([]);
      const input = new ByteReader(readFileSync(file), file);
      let [codes, changed, words] = [0, 0, 0];
      const mismatches: string[] = [];
      while (input.remaining > 0) {
        const [argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno] = [input.i32(), input.i32(), input.i32(), input.i32(), input.i32(), input.i32()];
        const [code, adaptive, localspluskinds] = [input.take(input.u32()), input.take(input.u32()), input.take(input.u32())];
        const live = scalars.map((name) => [name, Number(input.i64())] as const);
        const quick = Buffer.from(abi.quicken(code));
        if (!quick.equals(adaptive)) mismatches.push(`code ${codes} (line ${firstlineno}): bytecode`);
        if (!quick.equals(code)) changed++;
        const derived = abi.codeScalars({ argcount, posonlyargcount, kwonlyargcount, stacksize, flags, firstlineno, code, localspluskinds });
        for (const [name, value] of live) {
          words++;
          if (derived.get(name) !== value) mismatches.push(`code ${codes} (line ${firstlineno}): ${name} ${derived.get(name)}, not ${value}`);
        }
        if (derived.size !== scalars.length) mismatches.push(`code ${codes}: ${[...derived.keys()].join(" ")}`);
        codes++;
      }
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(`${label}: ${codes} code objects of ${counts["files"]} files, ${changed} changed by quickening, ${words} derived words, ${counts["zero_fields"]} zero fields, ${mismatches.length} mismatches, ${seconds} s`);
      expect(mismatches.slice(0, 10)).toEqual([]);
      expect(codes).toBe(counts["codes"]);
      expect(codes).toBeGreaterThan(5000);
    });
  });
}
