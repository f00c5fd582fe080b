/** The interpreters that archives are served to in tests: those with layout data. */
import { arch } from "node:process";
import { abiId, knownAbis } from "../../src/abi/load.ts";
import { allPythons, pythons } from "./pythons.ts";
import type { TestPython } from "./pythons.ts";

export interface Served {
  /** For a test's title; says so when there is none. */
  readonly name: string;
  /** `3.13`, `3.13t` for a free-threaded build. */
  readonly version: string;
  readonly python: TestPython | undefined;
}

/** What a plain `npm test` takes; of each the first interpreter found. */
const usual = ["3.11", "3.12", "3.13", "3.13t"];
const letters = { release: "", freethreaded: "t" } as const;

const platform = `linux-${arch === "arm64" ? "aarch64" : "x86_64"}`;

/** Whether there is layout data for a build: never for a debug build. */
export function isServed({ minor, flavour }: TestPython): boolean {
  return knownAbis().includes(abiId({ minor, platform, flavour }));
}

/**
 * With PYCDS_TEST_ALL_PYTHONS=1, or PYCDS_TEST_PYTHONS, every build found that there
 * is layout data for, else one each of 3.11 to 3.13 and 3.13t. A version without
 * an interpreter is in the list too, to be skipped by name.
 */
export function served(): readonly Served[] {
  const asked = process.env["PYCDS_TEST_PYTHONS"] !== undefined;
  const all = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" || asked;
  const known = new Set(knownAbis());
  const free = allPythons().filter(({ flavour }) => flavour === "freethreaded");
  const found = [...pythons().filter(({ flavour }) => flavour === "release"), ...free].filter(isServed);
  const versionsWithData = [...known].flatMap((id) => {
    const [, version = "", , , flavour] = id.split("-");
    return id.includes(platform) && (flavour === "release" || flavour === "freethreaded") ? [version + letters[flavour]] : [];
  });
  const versions = [...new Set(asked ? found.map(({ version }) => version) : all ? versionsWithData : usual)];
  return versions.flatMap((version): Served[] => {
    const mine = found.filter((each) => each.version === version);
    if (mine.length === 0) return [{ name: `CPython ${version} (not on this machine)`, version, python: undefined }];
    return (all ? mine : mine.slice(0, 1)).map((python) => ({ name: all ? `CPython ${python.release} (${python.exe})` : `CPython ${version}`, version, python }));
  });
}
