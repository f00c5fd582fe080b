/**
 * The CPythons that tests run against: from PYCDS_TEST_PYTHONS (colon-separated
 * executables) if set, else pyenv's versions, /usr/bin, and what tools/pythons
 * brought into its cache. Only 3.9 and later.
 */
import { findPythons } from "../../tools/pythons/find.ts";
import type { Interpreter } from "../../tools/pythons/find.ts";

/** `version` is `3.11`, or `3.13t` and `3.14d` for a build with ABI letters. */
export type TestPython = Interpreter;

/** The release builds up to this minor are what every test runs against. */
const newestCommonMinor = 13;

let found: readonly TestPython[] | undefined;

/**
 * Every interpreter of the machine, of any version and flavour, by version; of
 * one version pyenv's first, then the system's, then the cache's.
 */
export function allPythons(): readonly TestPython[] {
  if (found === undefined) {
    const asked = process.env["PYCDS_TEST_PYTHONS"];
    const { pythons: usable, unusable } = findPythons(asked?.split(":").filter((exe) => exe !== ""));
    if (asked !== undefined && unusable.length > 0) throw new Error(`PYCDS_TEST_PYTHONS: ${unusable.map(({ exe, reason }) => `${exe}: ${reason}`).join("; ")}`);
    for (const { exe, reason } of unusable) console.warn(`not tested: ${exe}: ${reason}`);
    found = usable;
  }
  return found;
}

/**
 * Release builds of 3.9 to 3.13, the cache's only where the machine has none of
 * its own; all others too under PYCDS_TEST_ALL_PYTHONS=1 or when
 * PYCDS_TEST_PYTHONS names them. By minor version, of one minor pyenv's before
 * the system's.
 */
export function pythons(): readonly TestPython[] {
  if (process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" || process.env["PYCDS_TEST_PYTHONS"] !== undefined) return allPythons();
  const common = allPythons().filter(({ flavour, minor }) => flavour === "release" && minor <= newestCommonMinor);
  const own = new Set(common.filter(({ found: how }) => how !== "cache").map(({ minor }) => minor));
  return common.filter(({ found: how, minor }) => how !== "cache" || !own.has(minor));
}

/** The first interpreter of a version, e.g. `3.11`. */
export function python(version: string): TestPython | undefined {
  return pythons().find((each) => each.version === version);
}

/** The environment for a test's Python: without variables that change what it writes or how it prints. */
export function pythonEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && name !== "PYTHONDONTWRITEBYTECODE" && name !== "PYTHONUNBUFFERED") environment[name] = value;
  }
  return environment;
}
