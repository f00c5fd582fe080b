/** Which Python is behind a command: PATH, shebang lines, shims. Nothing is run here. */
import { accessSync, closeSync, constants, openSync, readSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Environment } from "./command.ts";

export interface PythonGuess {
  /** The file to ask, as a path that keeps a venv's python the venv's. */
  readonly exe: string;
  /**
   * `binary`: an executable named like Python, always the same one.
   * `shim`: a script named like Python (pyenv, asdf) that decides for itself which one to run.
   */
  readonly kind: "binary" | "shim";
  /** The arguments that this Python gets. */
  readonly args: readonly string[];
}

const pythonName = /^python(\d+(\.\d+)?)?[dt]{0,2}$/;

/** The file that execvp(3) would run for `name`, or undefined. */
export function findProgram(name: string, env: Environment, cwd: string): string | undefined {
  const candidates = name.includes("/")
    ? [name]
    : (env["PATH"] ?? "/bin:/usr/bin").split(":").map((folder) => join(folder === "" ? "." : folder, name));
  for (const candidate of candidates) {
    const file = candidate.startsWith("/") ? candidate : join(cwd, candidate);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // not here: the next folder
    }
  }
  return undefined;
}

/** The Python that `command` runs, or undefined when that cannot be told without running it. */
export function guessPython(command: readonly string[], env: Environment, cwd: string, depth = 0): PythonGuess | undefined {
  const [name, ...args] = command;
  if (name === undefined || depth > 4) return undefined;
  const file = findProgram(name, env, cwd);
  if (file === undefined) return undefined;
  const head = readHead(file);
  if (!head.startsWith("#!")) return isPython(file) ? { exe: file, kind: "binary", args } : undefined;
  if (pythonName.test(basename(file))) return { exe: file, kind: "shim", args };
  const interpreter = shebangCommand(head);
  return interpreter === undefined ? undefined : guessPython([...interpreter, file, ...args], env, cwd, depth + 1);
}

function isPython(file: string): boolean {
  if (pythonName.test(basename(file))) return true;
  try {
    return pythonName.test(basename(realpathSync(file)));
  } catch {
    return false;
  }
}

/** What a script's first lines run it with. */
export function shebangCommand(head: string): readonly string[] | undefined {
  const [first = "", second = ""] = head.split("\n", 2);
  // the kernel passes all that follows the interpreter as one argument (execve(2))
  const match = /^#![ \t]*(\S+)(?:[ \t]+(.*?))?[ \t]*$/.exec(first);
  if (match === null) return undefined;
  const [, interpreter = "", argument] = match;
  if (basename(interpreter) === "env" && argument !== undefined) {
    const words = argument.replace(/^-S\s*|^--split-string[= ]\s*/, "").split(/\s+/);
    return words[0] === undefined || words[0].startsWith("-") || words[0].includes("=") ? undefined : words;
  }
  // distlib's form for long or odd paths (pip, uv): #!/bin/sh, then '''exec' "/path/python" "$0" "$@"
  const exec = /^'''exec' (?:"([^"]+)"|(\S+)) "\$0" "\$@"/.exec(second);
  if (exec !== null) return [exec[1] ?? exec[2] ?? ""];
  return argument === undefined ? [interpreter] : [interpreter, argument];
}

/** The first bytes of a file, or "" when it cannot be read. */
function readHead(file: string): string {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return "";
  }
  try {
    const buffer = Buffer.alloc(1024);
    return buffer.toString("latin1", 0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch {
    return "";
  } finally {
    closeSync(fd);
  }
}

/**
 * The -O level that Python's own arguments and PYTHONOPTIMIZE ask for
 * (Python/initconfig.c, config_parse_cmdline and config_read_env_vars).
 */
export function optimizeLevel(args: readonly string[], env: Environment): 0 | 1 | 2 {
  let level = 0;
  let ignoresEnvironment = false;
  scan: for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    if (word === "--check-hash-based-pycs") {
      at++;
      continue;
    }
    if (word.startsWith("--")) continue;
    if (!word.startsWith("-") || word === "-") break;
    for (let i = 1; i < word.length; i++) {
      const letter = word[i] ?? "";
      if (letter === "O") level++;
      if (letter === "E" || letter === "I") ignoresEnvironment = true;
      if (letter === "c" || letter === "m") break scan;
      if (letter === "W" || letter === "X") {
        if (i === word.length - 1) at++; // its value is the next word
        break;
      }
    }
  }
  const variable = ignoresEnvironment ? undefined : env["PYTHONOPTIMIZE"];
  if (variable !== undefined && variable !== "") {
    // _Py_get_env_flag: a number, or 1 for anything that is none or is negative
    const number = /^\s*[+-]?\d+$/.test(variable) ? Number.parseInt(variable, 10) : 1;
    level = Math.max(level, number < 0 ? 1 : number);
  }
  return level >= 2 ? 2 : level === 1 ? 1 : 0;
}
