/** Builds the launcher and a fake runtime into scratch, and runs commands stock and launched. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { allPythons, pythonEnvironment, pythons } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";

const here = dirname(fileURLToPath(import.meta.url));
export const root = dirname(dirname(here));
export const launchSources = join(root, "native/launch");

export const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);

export function compile(output: string, sources: readonly string[], flags: readonly string[] = []): void {
  if (compiler === undefined) throw new Error("no C compiler");
  execFileSync(compiler, ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", ...sources, "-o", output, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
}

export interface Scratch {
  readonly directory: string;
  readonly launcher: string;
  readonly runtime: string;
  readonly freeThreaded: string;
  remove(): void;
}

/** A scratch folder with the launcher and the fake runtime, built from the sources as they are. */
export function buildScratch(): Scratch {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-launch-")));
  const launcher = join(directory, "launch.so");
  const runtime = join(directory, "runtime.so");
  const sources = readdirSync(launchSources).filter((name) => name.endsWith(".c")).map((name) => join(launchSources, name));
  compile(launcher, sources, ["-fPIC", "-shared", "-Wl,-z,defs", "-ldl"]);
  const freeThreaded = join(directory, "runtime_t.so");
  compile(runtime, [join(here, "native/fake_runtime.c")], ["-fPIC", "-shared"]);
  compile(freeThreaded, [join(here, "native/fake_runtime.c")], ["-fPIC", "-shared", '-DSTART="start_t"']);
  return { directory, launcher, runtime, freeThreaded, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

export interface Result {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Command {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** Runs a command to its end; output is latin1, so that bytes that are not UTF-8 compare too. */
export function run(command: Command): Promise<Result> {
  return new Promise((resolve, reject) => {
    const [file = "", ...rest] = command.argv;
    const child = spawn(file, rest, { cwd: command.cwd, env: { ...command.environment } });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("latin1").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("latin1").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
    child.stdin.on("error", () => undefined); // the program may not read it
    child.stdin.end(command.stdin ?? "");
  });
}

/** The text of output that is UTF-8. */
export function utf8(output: string): string {
  return Buffer.from(output, "latin1").toString("utf8");
}

/** What is different in any two runs of one program: addresses, process numbers, times. */
export function mask(text: string): string {
  return text
    .replace(/0x[0-9a-f]{6,}/g, "0x…")
    .replace(/pid[= ]\d+/g, "pid …")
    // faulthandler of 3.14+ shows the C stack, which begins with the launcher's main in place of Py_BytesMain
    .replace(/^  Binary file ".*(?:at Py_BytesMain|launch\.so").*\n/gm, "")
    // and in a debug build, where the compiler keeps their frames, in place of pymain_main and main, which have no dynamic symbols
    .replace(/^(  Binary file ".*at Py_RunMain\b.*\n)(?:  Binary file "[^"]*" \[.*\n)*(?=  Binary file "[^"]*\/libc\.so)/gm, "$1")
    .replace(/^import time: +\d+ \| +\d+ \|/gm, "import time: … | … |");
}

export function masked(result: Result): Result {
  return { ...result, stdout: mask(result.stdout), stderr: mask(result.stderr) };
}

/** The variables that the command line sets for a launch, after those of the program, as it does. */
export function launchEnvironment(
  scratch: Scratch,
  environment: Readonly<Record<string, string>>,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const before = environment["LD_PRELOAD"];
  return {
    ...environment,
    LD_PRELOAD: before === undefined ? scratch.launcher : `${scratch.launcher}:${before}`,
    PYCDS_LAUNCH_RUNTIME: scratch.runtime,
    PYCDS_LAUNCH_RUNTIME_T: scratch.freeThreaded,
    PYCDS_LAUNCH_ARCHIVE: "/an/archive",
    PYCDS_LAUNCH_TRACE: "",
    PYCDS_LAUNCH_PRELOAD: before ?? "",
    ...extra,
  };
}

/** What the fake runtime writes for a start with the archive of {@link launchEnvironment}: which library it is tells by its first word. */
export function startLine(flavour: TestPython["flavour"]): string {
  return `${flavour === "freethreaded" ? "start_t" : "start"} size=24 archive=/an/archive trace=- active=1 initialized=1 state=1`;
}

export function startsIn(log: string): string[] {
  return existsSync(log) ? readFileSync(log, "utf8").split("\n").filter((line) => line !== "") : [];
}

/** A basic environment: what a test adds to it is all that a program sees beyond it. */
export function plainEnvironment(log: string): Record<string, string> {
  const path = pythonEnvironment()["PATH"] ?? "/usr/bin:/bin";
  return { ZZ_FIRST: "1", PATH: path, HOME: "/nonexistent", LANG: "C.UTF-8", PYTHONHASHSEED: "0", FAKE_RUNTIME_LOG: log, AA_LAST: "ü x=y" };
}

const expected = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.13t", ...(process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? ["3.14", "3.15"] : [])];

/** Every interpreter there is, of any flavour, and the versions that a full run would have too, by name. */
export function interpreters(): { found: readonly TestPython[]; absent: readonly string[] } {
  const found = [...new Set([...pythons(), ...allPythons().filter(({ flavour }) => flavour === "freethreaded")])];
  return { found, absent: expected.filter((version) => !found.some((each) => each.version === version)) };
}

/** A folder with a venv and the programs that the cases run. */
export function makePrograms(directory: string, exe: string): void {
  execFileSync(exe, ["-m", "venv", "--without-pip", join(directory, "venv")], { env: pythonEnvironment() });
  const files: Record<string, string> = {
    "script.py": "import sys\nprint(sys.argv, sys.path[0], __name__, __file__, __spec__)\n",
    "fails.py": "def f():\n    1 / 0\nf()\n",
    "mod.py": "import sys\nprint(__name__, __spec__.name, sys.argv)\n",
    "state.py": [
      "import os, sys",
      "for name in ('argv', 'orig_argv', 'path', 'flags', 'executable', '_base_executable', 'prefix', 'base_prefix',",
      "             'exec_prefix', 'warnoptions', '_xoptions', 'dont_write_bytecode', 'pycache_prefix', 'platlibdir'):",
      "    print(name, getattr(sys, name, None))",
      "print(sorted(sys.modules))",
      "print(sys.stdin, sys.stdout, sys.stderr, sys.getfilesystemencoding())",
      "print(list(os.environ.items()))",
      "",
    ].join("\n"),
    "console": `#!${join(directory, "venv/bin/python")}\nimport sys\nprint(sys.argv, sys.prefix, sys.executable)\nsys.exit(5)\n`,
    "wrapper": `#!/bin/bash\nset -e\n"$1" -c 'print("first")'\nexec "$@"\n`,
    "shim": `#!/usr/bin/env bash\nset -e\nprogram="\${0##*/}"\nexport SHIM=1\nexec env "${exe}" "$@"\n`,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text, { mode: 0o755 });
  execFileSync("mkdir", ["-p", join(directory, "folder")]);
  writeFileSync(join(directory, "folder/__main__.py"), "import sys\nprint('folder', sys.argv, sys.path[0], __spec__)\n");
  execFileSync(exe, ["-m", "zipapp", join(directory, "folder"), "-o", join(directory, "app.zip")], { env: pythonEnvironment() });
}
