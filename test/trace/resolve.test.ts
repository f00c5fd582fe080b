/** Which Python a command means, without running it. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { findProgram, guessPython, optimizeLevel, shebangCommand } from "../../src/trace/resolve.ts";
import { inForeground } from "../../src/trace/program.ts";

const root = mkdtempSync(join(tmpdir(), "pycds-resolve-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
mkdirSync(join(root, "bin"));
mkdirSync(join(root, "other"));
const make = (name: string, text: string, mode = 0o755): string => {
  const file = join(root, name);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
};
const elf = "\u007fELF";
const python = make("bin/python3.11", elf);
symlinkSync("python3.11", join(root, "bin/python"));
symlinkSync("python3.11", join(root, "bin/py-of-mine"));
const tool = make("bin/tool", `#!${python} -s\nprint()\n`);
const envTool = make("bin/env-tool", "#!/usr/bin/env python\n");
const longTool = make("bin/long-tool", `#!/bin/sh\n'''exec' "${python}" "$0" "$@"\n' '''\n`);
const shim = make("other/python3", "#!/usr/bin/env bash\nexec pyenv\n");
make("bin/ls", elf);
make("bin/not-executable", elf, 0o644);
const env = { PATH: `${join(root, "bin")}:${join(root, "other")}` };

describe("guessPython", () => {
  it.each<[readonly string[], object | undefined]>([
    [["python", "-c", "1"], { exe: join(root, "bin/python"), kind: "binary", args: ["-c", "1"] }],
    [[python], { exe: python, kind: "binary", args: [] }],
    [["bin/python"], { exe: join(root, "bin/python"), kind: "binary", args: [] }],
    [["py-of-mine"], { exe: join(root, "bin/py-of-mine"), kind: "binary", args: [] }],
    [["tool", "x"], { exe: python, kind: "binary", args: ["-s", tool, "x"] }],
    [["env-tool"], { exe: join(root, "bin/python"), kind: "binary", args: [envTool] }],
    [["long-tool", "-v"], { exe: python, kind: "binary", args: [longTool, "-v"] }],
    [["python3", "-O"], { exe: shim, kind: "shim", args: ["-O"] }],
    [["ls"], undefined],
    [["not-executable"], undefined],
    [["no-such-thing"], undefined],
    [[], undefined],
  ])("%j", (command, expected) => {
    expect(guessPython(command, env, root)).toEqual(expected);
  });

  it("finds programs as execvp does", () => {
    expect(findProgram("tool", { PATH: "" }, join(root, "bin"))).toBe(tool);
    expect(findProgram("tool", { PATH: "bin" }, root)).toBe(join(root, "bin/tool"));
    expect(findProgram("bin", { PATH: root }, root)).toBeUndefined();
  });
});

describe("shebangCommand", () => {
  it.each([
    ["#!/usr/bin/python3\n", ["/usr/bin/python3"]],
    ["#! /usr/bin/python3 -I -s \n", ["/usr/bin/python3", "-I -s"]],
    ["#!/usr/bin/env -S python3 -I\n", ["python3", "-I"]],
    ["#!/usr/bin/env -i python3\n", undefined],
    ["#!/usr/bin/env A=1 python3\n", undefined],
    ["#!\n", undefined],
    ["plain", undefined],
  ])("%j", (head, expected) => {
    expect(shebangCommand(head)).toEqual(expected);
  });
});

describe("optimizeLevel", () => {
  // Python/initconfig.c
  it.each<[readonly string[], string | undefined, number]>([
    [["app.py", "-O"], undefined, 0],
    [["-O", "app.py"], undefined, 1],
    [["-OO"], undefined, 2],
    [["-O", "-O", "-O"], undefined, 2],
    [["-BO", "-c", "-O"], undefined, 1],
    [["-W", "-O", "x"], undefined, 0],
    [["-Wignore", "-O"], undefined, 1],
    [["-X", "dev", "-OOm", "x"], undefined, 2],
    [["--check-hash-based-pycs", "always", "-O"], undefined, 1],
    [["-"], "1", 1],
    [["x"], "2", 2],
    [["x"], "yes", 1],
    [["x"], "-3", 1],
    [["x"], "", 0],
    [["-O", "x"], "2", 2],
    [["-I", "x"], "2", 0],
    [["-E", "-O", "x"], "2", 1],
  ])("%j with PYTHONOPTIMIZE=%s", (args, variable, expected) => {
    expect(optimizeLevel(args, variable === undefined ? {} : { PYTHONOPTIMIZE: variable })).toBe(expected);
  });
});

describe("inForeground", () => {
  it("compares the process group with the terminal's", () => {
    expect(inForeground("12 (a) b) S 1 40 40 34816 40 4194304")).toBe(true);
    expect(inForeground("12 (node) S 1 40 40 34816 41 4194304")).toBe(false);
    expect(inForeground("12 (node) S 1 40 40 0 -1 4194304")).toBe(false);
  });
});
