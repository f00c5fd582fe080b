/** The interpreters that archives are served to in tests: those with layout data. */
import { arch } from "node:process";
import { abiId, knownAbis } from "../../src/abi/load.ts";
import { pythons } from "./pythons.ts";
import type { TestPython } from "./pythons.ts";

export interface Served {
  /** For a test's title; says so when there is none. */
  readonly name: string;
  readonly version: string;
  readonly python: TestPython | undefined;
}

/** What a plain `npm test` takes; of each the first interpreter found. */
const usual = ["3.11", "3.12", "3.13"];

/**
 * With PYCDS_TEST_ALL_PYTHONS=1, or PYCDS_TEST_PYTHONS, every release build found
 * that there is layout data for, else one each of 3.11 to 3.13. A version without
 * an interpreter is in the list too, to be skipped by name.
 */
export function served(): readonly Served[] {
  const all = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" || process.env["PYCDS_TEST_PYTHONS"] !== undefined;
  const platform = `linux-${arch === "arm64" ? "aarch64" : "x86_64"}`;
  const known = new Set(knownAbis());
  const found = pythons().filter(({ minor, flavour }) => flavour === "release" && known.has(abiId({ minor, platform, flavour })));
  const named = process.env["PYCDS_TEST_PYTHONS"] !== undefined ? found.map(({ version }) => version) : all ? [...known].flatMap((id) => (id.endsWith(`-${platform}-release`) ? [id.split("-")[1] ?? ""] : [])) : usual;
  const versions = [...new Set(named)];
  return versions.flatMap((version): Served[] => {
    const mine = found.filter((each) => each.version === version);
    if (mine.length === 0) return [{ name: `CPython ${version} (not on this machine)`, version, python: undefined }];
    return (all ? mine : mine.slice(0, 1)).map((python) => ({ name: all ? `CPython ${python.release} (${python.exe})` : `CPython ${version}`, version, python }));
  });
}
