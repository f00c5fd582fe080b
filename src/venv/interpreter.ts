/** Which Python a command means: `--venv DIR`, `--python EXE`, or what the shell would start. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { PycdsError } from "../base/errors.ts";

export interface InterpreterChoice {
  /** Folder of a virtual environment (or of any prefix with a bin/python). */
  readonly venv?: string;
  /** Path of an interpreter, or a name that is looked up in `path`. */
  readonly python?: string;
  /** $VIRTUAL_ENV, used when neither of the above is given. */
  readonly virtualEnv?: string;
  /** $PATH. */
  readonly path?: string;
}

export interface Interpreter {
  /** Absolute; symbolic links are not followed, since a venv's python is one and is the venv's by its place. */
  readonly executable: string;
  readonly origin: "--venv" | "--python" | "VIRTUAL_ENV" | "PATH";
}

/** The names that are tried in a venv and on the PATH, in this order. */
const names = ["python", "python3"] as const;

/** The interpreter of the virtual environment `venv`. */
export function findVenvPython(venv: string): string {
  const what = "cannot use the virtual environment";
  const folder = resolve(venv);
  const create = `create it with: python3 -m venv ${venv}`;
  const kind = kindOf(folder);
  if (kind === "missing") throw new PycdsError("VENV_MISSING", what, "there is no such folder", { file: folder, next: create });
  if (kind !== "directory") throw new PycdsError("VENV_NOT_FOLDER", what, "it is not a folder", { file: folder, next: "name the venv's folder, not a file in it" });
  const candidates = names.map((name) => join(folder, "bin", name));
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  if (existsSync(join(folder, "pyvenv.cfg"))) {
    throw new PycdsError("VENV_BROKEN", what, "its bin/python is missing or leads nowhere (was the Python it was made from removed?)", {
      file: folder,
      next: `make it again with: python3 -m venv --clear ${venv}`,
    });
  }
  throw new PycdsError("VENV_NO_PYTHON", what, "it has neither pyvenv.cfg nor bin/python", { file: folder, next: create });
}

/** The interpreter that the options and the shell's environment choose. */
export function resolveInterpreter(choice: InterpreterChoice): Interpreter {
  if (choice.venv !== undefined && choice.python !== undefined) {
    throw new PycdsError("VENV_AND_PYTHON", "cannot choose an interpreter", "both --venv and --python are given", { next: "give one of them" });
  }
  if (choice.venv !== undefined) return { executable: findVenvPython(choice.venv), origin: "--venv" };
  if (choice.python !== undefined) return { executable: findPython(choice.python, choice.path), origin: "--python" };
  if (choice.virtualEnv !== undefined && choice.virtualEnv !== "") {
    return { executable: findVenvPython(choice.virtualEnv), origin: "VIRTUAL_ENV" };
  }
  // `python3` first: on many systems a bare `python` is absent or another major version
  for (const name of names.toReversed()) {
    const executable = searchPath(name, choice.path);
    if (executable !== undefined) return { executable, origin: "PATH" };
  }
  throw new PycdsError("PYTHON_NOT_FOUND", "cannot find a Python", "there is no python3 or python on the PATH", {
    next: "install one (Debian: apt-get install python3-venv), or name it with --python EXE or --venv DIR",
  });
}

function findPython(python: string, path: string | undefined): string {
  const what = "cannot use the interpreter";
  if (!python.includes("/")) {
    const found = searchPath(python, path);
    if (found !== undefined) return found;
    throw new PycdsError("PYTHON_NOT_FOUND", what, `there is no ${python} on the PATH`, { next: "install it, or give its path with --python" });
  }
  const file = resolve(python);
  const kind = kindOf(file);
  if (kind === "missing") throw new PycdsError("PYTHON_NOT_FOUND", what, "there is no such file", { file, next: "install it, or correct the path" });
  if (kind === "directory") throw new PycdsError("PYTHON_NOT_FILE", what, "it is a folder", { file, next: "name the executable, or use --venv for a virtual environment" });
  if (!isExecutable(file)) throw new PycdsError("PYTHON_NOT_EXECUTABLE", what, "it is not an executable file", { file, next: "name a Python executable" });
  return file;
}

function searchPath(name: string, path: string | undefined): string | undefined {
  return (path ?? "")
    .split(delimiter)
    .map((folder) => resolve(folder === "" ? "." : folder, name))
    .find(isExecutable);
}

function kindOf(path: string): "missing" | "directory" | "file" {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return "missing";
  return stats.isDirectory() ? "directory" : "file";
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
