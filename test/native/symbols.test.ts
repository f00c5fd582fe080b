/** One library for every CPython: it may need no symbol of Python's that is not in the stable ABI (design.md, decision 3). */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

function needed(library: string): string[] {
  return execFileSync("nm", ["-D", "--undefined-only", path(library)], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(" ").at(-1)?.split("@")[0] ?? "")
    .filter((name) => /^_?Py/.test(name))
    .sort();
}

/** In the stable ABI since 3.13, where free-threaded builds begin: the other library must do without. */
const since313 = ["PyDict_GetItemRef", "PyList_GetItemRef"];

it.each([["_pycds.so", []], ["_pycds_t.so", since313]] as const)("%s uses stable-ABI symbols only", (library, more) => {
  const stable = new Set(readFileSync(path("fixtures/native/stable-abi.txt"), "utf8").split("\n"));
  const symbols = needed(`build/native/${library}`);
  expect(symbols.length).toBeGreaterThan(50);
  expect(symbols.filter((name) => !stable.has(name))).toEqual([]);
  expect(symbols.filter((name) => since313.includes(name))).toEqual(more);
  // the list tells them apart: these are exported, but not stable
  expect(["PyCode_Type", "PyFunction_Type", "PyCode_NewEmpty"].filter((name) => stable.has(name))).toEqual([]);
});

it("what is preloaded into any process needs nothing of Python's to be loaded", () => {
  expect(needed("build/native/pycds_launch.so")).toEqual([]);
  expect(needed("build/native/pycds_launch_warm.so")).toEqual([]);
});
