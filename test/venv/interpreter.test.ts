/** Which interpreter is chosen, and what the errors say when there is none. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { findVenvPython, resolveInterpreter } from "../../src/venv/interpreter.ts";
import type { InterpreterChoice } from "../../src/venv/interpreter.ts";

let scratch: string;
const at = (path: string): string => join(scratch, path);

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "pycds-interpreter-"));
  for (const folder of ["venv/bin", "three/bin", "broken/bin", "empty", "path1", "path2/python3"]) mkdirSync(at(folder), { recursive: true });
  for (const file of ["real", "three/bin/python3", "path1/python", "path1/other"]) {
    writeFileSync(at(file), "#!/bin/sh\n");
    chmodSync(at(file), 0o755);
  }
  writeFileSync(at("plain"), "");
  symlinkSync("../../real", at("venv/bin/python"));
  symlinkSync("/nonexistent/python3", at("broken/bin/python"));
  writeFileSync(at("broken/pyvenv.cfg"), "home = /nonexistent\n");
});
afterAll(() => rmSync(scratch, { recursive: true }));

describe("findVenvPython", () => {
  it("gives the venv's own name, links not followed", () => {
    expect(findVenvPython(at("venv"))).toBe(at("venv/bin/python"));
    expect(findVenvPython(at("three"))).toBe(at("three/bin/python3"));
  });
});

describe("resolveInterpreter", () => {
  const path = () => `${at("path2")}:${at("path1")}`;
  it.each<[string, () => InterpreterChoice, string, string]>([
    ["--venv before the shell's", () => ({ venv: at("venv"), virtualEnv: at("three"), path: path() }), "venv/bin/python", "--venv"],
    ["--python as a path", () => ({ python: at("real"), virtualEnv: at("three") }), "real", "--python"],
    ["--python as a name", () => ({ python: "other", path: path() }), "path1/other", "--python"],
    ["the active venv", () => ({ virtualEnv: at("three"), path: path() }), "three/bin/python3", "VIRTUAL_ENV"],
    ["the PATH, where a folder called python3 is none", () => ({ virtualEnv: "", path: path() }), "path1/python", "PATH"],
    ["python3 on the PATH before python", () => ({ path: `${at("path1")}:${at("three/bin")}` }), "three/bin/python3", "PATH"],
  ])("%s", (_name, choice, executable, origin) => {
    expect(resolveInterpreter(choice())).toEqual({ executable: at(executable), origin });
  });

  it.each<[string, () => InterpreterChoice, string, RegExp]>([
    ["both options", () => ({ venv: at("venv"), python: at("real") }), "VENV_AND_PYTHON", /give one of them/],
    ["a venv that is not there", () => ({ venv: at("none") }), "VENV_MISSING", /none.*python3 -m venv/],
    ["a file as venv", () => ({ venv: at("plain") }), "VENV_NOT_FOLDER", /plain/],
    ["a venv whose Python is gone", () => ({ venv: at("broken") }), "VENV_BROKEN", /--clear/],
    ["a folder that is no venv", () => ({ venv: at("empty") }), "VENV_NO_PYTHON", /pyvenv.cfg/],
    ["an active venv that is gone", () => ({ virtualEnv: at("none") }), "VENV_MISSING", /none/],
    ["a Python that is not there", () => ({ python: at("none") }), "PYTHON_NOT_FOUND", /none/],
    ["a folder as Python", () => ({ python: at("venv") }), "PYTHON_NOT_FILE", /--venv/],
    ["a Python that cannot be executed", () => ({ python: at("plain") }), "PYTHON_NOT_EXECUTABLE", /plain/],
    ["a name that is not on the PATH", () => ({ python: "python9", path: path() }), "PYTHON_NOT_FOUND", /python9/],
    ["nothing at all", () => ({ path: at("empty") }), "PYTHON_NOT_FOUND", /apt-get install|--python/],
    ["no PATH", () => ({}), "PYTHON_NOT_FOUND", /PATH/],
  ])("%s: an error that says what to do", (_name, choice, code, line) => {
    try {
      resolveInterpreter(choice());
    } catch (error) {
      if (!(error instanceof PycdsError)) throw error;
      expect(error.code).toBe(code);
      expect(error.line).toMatch(line);
      expect(error.next).toBeDefined();
      return;
    }
    throw new Error("no error");
  });
});
