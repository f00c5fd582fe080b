/**
 * Live oracle: laid-out units of every module of the standard library against
 * what marshal.loads makes of the same .pyc files, object by object and word by
 * word, in each CPython found (facts/cpython.md §1–§4).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { knownAbis } from "../../src/abi/load.ts";
import { lacking, tell } from "../support/matrix.ts";
import { allPythons } from "../support/pythons.ts";
import { abiOf, layOutAll, runScript } from "./live.ts";

/** PYCDS_TEST_ALL=1 takes the library's test packages too, which are twice as many modules. */
const tests = process.env["PYCDS_TEST_ALL"] === undefined ? [] : ["tests"];
const compiled = z.object({ modules: z.array(z.string()), left: z.array(z.string()) });
const report = z.object({
  python: z.string(), modules: z.number(), objects: z.number(), words: z.number(), codes: z.number(), executed: z.number(),
  mismatches: z.number(), faults: z.array(z.string()),
});

const found = allPythons().map((python) => ({ python, abi: abiOf(python) }));

const oracle = `Standard library${tests.length === 0 ? "" : " and its tests"}, every object against CPython's own of the same .pyc`;

describe("what CPython makes of the same .pyc files", () => {
  for (const { python, abi } of found) {
    const name = `${python.version} (${python.release}, ${python.exe})`;
    it(name, { timeout: 1_800_000 }, ({ task, skip }) => {
      const line = (text: string): void => tell(task, { oracle, minor: python.minor, text: `${name}: ${text}` });
      if (abi === undefined) {
        line("skipped: refused, no layout data");
        return skip("refused, no layout data");
      }
      const folder = mkdtempSync(join(tmpdir(), "pycds-live-"));
      try {
        const { modules, left } = compiled.parse(runScript(python.exe, "live.py", ["compile", folder, ...tests]));
        const result = report.parse(runScript(python.exe, "live.py", ["check", layOutAll(abi, modules, folder)]));
        line(`${result.modules} modules, ${result.objects} objects, ${result.words} words, ${result.codes} code objects by attribute, ${result.executed} executed, `
          + `${result.mismatches} mismatches${left.length === 0 ? "" : `; ${left.length} files do not compile (${left.slice(0, 3).join(", ")}${left.length > 3 ? ", …" : ""})`}`);
        expect(result.faults).toEqual([]);
        expect(result.mismatches).toBe(0);
        expect(result.modules).toBe(modules.length);
        expect(result.modules).toBeGreaterThan(500);
        expect(result.executed).toBe(7);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
  for (const { version, minor, how } of lacking(found.map(({ python }) => python)))
    it(`${version}: not on this machine`, ({ task, skip }) => {
      tell(task, { oracle, minor, text: `${version}: skipped, not on this machine; ${how}` });
      skip(how);
    });
  // Layout data that no interpreter here can vouch for is named, not passed over.
  for (const id of knownAbis().filter((each) => each.includes("-linux-x86_64-") && !found.some(({ abi }) => abi?.id === each))) it.skip(`${id}: no interpreter here`, () => undefined);
});
