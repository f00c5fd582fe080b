/**
 * Live oracle: laid-out units of a sample of the standard library against what
 * marshal.loads makes of the same .pyc files, object by object and word by
 * word, in each CPython found (facts/cpython.md §1–§4).
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { knownAbis } from "../../src/abi/load.ts";
import { allPythons } from "../support/pythons.ts";
import { abiOf, layOutAll, runScript } from "./live.ts";

/** PYCDS_TEST_ALL=1 takes all of the standard library, tests too (minutes). */
const everything = process.env["PYCDS_TEST_ALL"] === undefined ? [] : ["all"];
const report = z.object({
  python: z.string(), modules: z.number(), objects: z.number(), words: z.number(), codes: z.number(), executed: z.number(),
  mismatches: z.number(), faults: z.array(z.string()),
});

const found = allPythons().map((python) => ({ python, abi: abiOf(python) }));

describe("what CPython makes of the same .pyc files", () => {
  for (const { python, abi } of found) {
    const name = `${python.version} (${python.release}, ${python.exe})`;
    it.skipIf(abi === undefined)(abi === undefined ? `${name}: refused, no layout data` : name, { timeout: 1_800_000 }, () => {
      if (abi === undefined) return;
      const folder = mkdtempSync(join(tmpdir(), "pycds-live-"));
      try {
        const modules = z.array(z.string()).parse(runScript(python.exe, "live.py", ["compile", folder, ...everything]));
        const result = report.parse(runScript(python.exe, "live.py", ["check", layOutAll(abi, modules, folder)]));
        console.info(`${python.version} (${python.release}, ${python.exe}): ${result.modules} modules, ${result.objects} objects, ${result.words} words, `
          + `${result.codes} code objects by attribute, ${result.executed} executed, ${result.mismatches} mismatches`);
        expect(result.faults).toEqual([]);
        expect(result.mismatches).toBe(0);
        expect(result.modules).toBeGreaterThan(60);
        expect(result.executed).toBe(7);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
  // Layout data that no interpreter here can vouch for is named, not passed over.
  for (const id of knownAbis().filter((each) => each.includes("-linux-x86_64-") && !found.some(({ abi }) => abi?.id === each))) it.skip(`${id}: no interpreter here`, () => undefined);
});
