/**
 * The CPythons that tests run against: from PYCDS_TEST_PYTHONS (colon-separated
 * executables) if set, else pyenv's versions and /usr/bin. Only 3.9 and later.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface TestPython {
  /** `3.11` */
  readonly version: string;
  readonly minor: number;
  readonly exe: string;
}

let found: readonly TestPython[] | undefined;

/** All interpreters, by minor version; of one minor, pyenv's before the system's. */
export function pythons(): readonly TestPython[] {
  return (found ??= candidates()
    .map(inquire)
    .filter((python) => python !== undefined)
    .sort((a, b) => a.minor - b.minor));
}

/** The first interpreter of a minor version, e.g. `3.11`. */
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

function candidates(): string[] {
  const asked = process.env["PYCDS_TEST_PYTHONS"];
  if (asked !== undefined) return asked.split(":").filter((exe) => exe !== "");
  const pyenv = join(process.env["PYENV_ROOT"] ?? join(homedir(), ".pyenv"), "versions");
  const versions = existsSync(pyenv) ? readdirSync(pyenv).filter((name) => /^3\.\d+\.\d+$/.test(name)).sort() : [];
  const system = existsSync("/usr/bin") ? readdirSync("/usr/bin").filter((name) => /^python3\.\d+$/.test(name)).sort() : [];
  const exes = [...versions.map((name) => join(pyenv, name, "bin/python")), ...system.map((name) => join("/usr/bin", name))].filter(existsSync);
  const seen = new Set<string>();
  return exes.filter((exe) => {
    const real = realpathSync(exe);
    if (seen.has(real)) return false;
    seen.add(real);
    return true;
  });
}

function inquire(exe: string): TestPython | undefined {
  const program = "import sys; print(sys.implementation.name, *sys.version_info[:2])";
  const [name, major, minor] = execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() }).trim().split(" ");
  if (name !== "cpython" || major !== "3" || Number(minor) < 9) return undefined;
  return { version: `3.${minor}`, minor: Number(minor), exe };
}
