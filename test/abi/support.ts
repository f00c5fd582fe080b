/** Interpreters whose ABI is known, and how tests ask them. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { abiId, knownAbis, loadAbi } from "../../src/abi/load.ts";
import type { Abi } from "../../src/abi/types.ts";
import { headersOf } from "../../tools/pythons/find.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";

export interface Subject {
  /** Names the test: `3.11.2 (system; cpython-3.11-…)`, without a folder that only this machine has. */
  readonly label: string;
  readonly python: TestPython;
  readonly abi: Abi;
  /** The folder of Python.h; not all interpreters have theirs here. */
  readonly headers: string | undefined;
}

/** Runs a script of this folder; stdin is JSON if given. @returns its standard output */
export function runScript(python: TestPython, script: string, input?: unknown, args: readonly string[] = []): string {
  return execFileSync(python.exe, ["-I", "-W", "ignore", fileURLToPath(new URL(script, import.meta.url)), ...args], {
    encoding: "utf8",
    env: pythonEnvironment(),
    maxBuffer: 1 << 28,
    ...(input === undefined ? {} : { input: JSON.stringify(input) }),
  });
}

function identify(python: TestPython): { id: string; release: string } {
  const program = [
    "import sys, platform, sysconfig",
    "free = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))",
    "flavour = 'debug' if hasattr(sys, 'gettotalrefcount') else 'freethreaded' if free else 'release'",
    "print(sys.platform + '-' + platform.machine().lower(), flavour, platform.python_version())",
  ].join("\n");
  const [platform = "", flavour = "", release = ""] = execFileSync(python.exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() }).trim().split(" ");
  return { id: abiId({ minor: python.minor, platform, flavour: flavour as Abi["flavour"] }), release };
}

const identified = pythons().map((python) => ({ python, ...identify(python) }));

/** Every interpreter found that has ABI data. */
export const subjects: readonly Subject[] = identified
  .filter(({ id }) => knownAbis().includes(id))
  .map(({ python, id, release }) => ({ label: labelOf(python, id, release), python, abi: loadAbi(id), headers: headersOf(python) }));

/** Those that have none, and so are refused. */
export const strangers: readonly { readonly label: string; readonly id: string }[] = identified
  .filter(({ id }) => !knownAbis().includes(id))
  .map(({ python, id, release }) => ({ label: labelOf(python, id, release), id }));

/** What no interpreter was found for; named by a skipped test. */
export const missing: readonly string[] = knownAbis().filter((id) => !identified.some((each) => each.id === id));

function labelOf(python: TestPython, id: string, release: string): string {
  return `${release} (${python.entry?.how ?? (python.exe.startsWith("/usr/") ? "system" : "own build")}; ${id})`;
}

/** Calls `use` with a scratch folder that is gone afterwards. */
export function inScratch<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "pycds-abi-"));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

