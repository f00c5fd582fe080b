/** Interpreters to measure: found on PATH, asked about themselves. */
import { constants } from "node:fs";
import { access, realpath } from "node:fs/promises";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { cleanEnv, failed, run } from "./process.ts";
import type { Env } from "./process.ts";

/** An interpreter as it describes itself. */
export interface Python {
  /** The interpreter that venvs are made from: never a venv's own python, never a shim. */
  readonly base: string;
  /** sys.executable of what was asked. */
  readonly executable: string;
  /** `3.11.7` */
  readonly version: string;
  /** `3.11` */
  readonly minor: string;
  /** `cpython-311` */
  readonly cacheTag: string;
  /** The venv that `executable` belongs to, if it does. */
  readonly venv: string | null;
}

const question = `
import json, sys
print(json.dumps({
    "implementation": sys.implementation.name,
    "base": getattr(sys, "_base_executable", None) or sys.executable,
    "executable": sys.executable,
    "version": "%d.%d.%d" % sys.version_info[:3],
    "minor": "%d.%d" % sys.version_info[:2],
    "cacheTag": sys.implementation.cache_tag,
    "venv": sys.prefix if sys.prefix != sys.base_prefix else None,
}))`;

/** Asks an interpreter what it is. */
export async function probePython(exe: string, env: Env): Promise<Python> {
  const argv = [exe, "-I", "-c", question];
  const done = await run(argv, cleanEnv(env), undefined, "name a CPython with --python");
  if (done.status !== 0) throw failed("ask the interpreter what it is", [exe], done, "name a CPython with --python");
  const { implementation, ...python } = JSON.parse(done.stdout) as Python & { implementation: string };
  if (implementation !== "cpython") {
    throw new PycdsError("BENCH_NOT_CPYTHON", "cannot use the interpreter", `it is ${implementation}`, { file: exe, next: "name a CPython with --python" });
  }
  return { ...python, base: await realpath(python.base) }; // python3, python3.11 and python are one
}

/** The file that a command name stands for, or undefined. */
export async function onPath(name: string, env: Env): Promise<string | undefined> {
  const candidates = name.includes("/") ? [isAbsolute(name) ? name : resolve(name)] : (env["PATH"] ?? "").split(delimiter).filter(Boolean).map((folder) => join(folder, name));
  for (const file of candidates) {
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      // not here: the next folder
    }
  }
  return undefined;
}

const minors = ["3.14", "3.13", "3.12", "3.11"];

/**
 * The interpreter to use: the one that is named, else the newest CPython
 * 3.11–3.14 on PATH that runs (a pyenv shim for a version that is not selected does not).
 */
export async function findPython(named: string | undefined, env: Env): Promise<Python> {
  if (named !== undefined) {
    const python = await probePython(named, env);
    if (!minors.includes(python.minor)) {
      throw new PycdsError("BENCH_PYTHON_VERSION", "cannot use the interpreter", `it is CPython ${python.version}; 3.11 to 3.14 are supported`, { file: named, next: "name another with --python" });
    }
    return python;
  }
  for (const name of [...minors.map((minor) => `python${minor}`), "python3", "python"]) {
    const file = await onPath(name, env);
    if (file === undefined) continue;
    try {
      const python = await probePython(file, env);
      if (minors.includes(python.minor)) return python;
    } catch (error) {
      if (!(error instanceof PycdsError)) throw error; // a shim or a broken install: the next name
    }
  }
  throw new PycdsError("BENCH_NO_PYTHON", "cannot find an interpreter", "no CPython 3.11 to 3.14 on PATH works", {
    next: "apt-get install python3 python3-venv, or name one with --python EXE or PYCDS_PYTHON",
  });
}
