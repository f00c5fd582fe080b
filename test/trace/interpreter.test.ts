/** What interpreters say of themselves, and those that can't be used. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { describeMarker } from "../../src/trace/describe-script.ts";
import { describeInterpreter, parseDescription } from "../../src/trace/interpreter.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const root = mkdtempSync(join(tmpdir(), "pycds-interpreter-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const env = pythonEnvironment();

async function fault(promise: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof promise === "function" ? promise() : promise);
  } catch (error) {
    if (error instanceof PycdsError) return `${error.code}: ${error.why}`;
    throw error;
  }
  throw new Error("no fault");
}

describe.each(pythons())("CPython $version ($exe)", ({ exe, version, minor, flavour, release }) => {
  it("describes itself as it is", async () => {
    const info = await describeInterpreter(exe, env);
    const program = "import sys, importlib.util, importlib._bootstrap_external as b, json, os; print(json.dumps([sys.hexversion, int.from_bytes(importlib.util.MAGIC_NUMBER, 'little'), sys.implementation.cache_tag, [s for _, l in b._get_supported_file_loaders() for s in l], sys.path, os.path.dirname(os.__file__)]))";
    const [hexversion, magic, tag, suffixes, path, stdlib] = JSON.parse(execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env })) as unknown[];
    expect([info.hexversion, info.pycMagic, info.cacheTag, info.sysPath, info.stdlib]).toEqual([hexversion, magic, tag, path, stdlib]);
    // _get_supported_file_loaders: what FileFinder's hook is made with, in its order
    expect(info.suffixes.map(({ suffix }) => suffix)).toEqual(suffixes);
    expect([info.version, info.flavour]).toEqual([release, flavour]);
    expect(info.platform).toMatch(/^linux-/);
    expect(info.dynload === null || info.sysPath.includes(info.dynload)).toBe(true);
  });

  it("is the venv's where a venv's python is asked, whatever PYTHON* variables say", async () => {
    const venv = join(root, `venv-${version}-${exe.length}`);
    execFileSync(exe, ["-m", "venv", "--without-pip", venv], { env });
    // Only a free-threaded build has a folder with its letter (venv, sysconfig: abi_thread); a debug build shares the release's.
    const site = join(venv, "lib", `python3.${minor}${flavour === "freethreaded" ? "t" : ""}`, "site-packages");
    mkdirSync(join(root, "elsewhere"), { recursive: true });
    writeFileSync(join(site, "more.pth"), `${join(root, "elsewhere")}\n`);
    writeFileSync(join(site, "sitecustomize.py"), 'print("hello from sitecustomize")\n');
    const python = join(venv, "bin/python");
    const info = await describeInterpreter(python, { ...env, PYTHONPATH: "/nowhere", PYTHONHOME: "/nowhere", PYCDS: "on" });
    expect(info.executable).toBe(python);
    expect(info.prefix).toBe(venv);
    expect(info.basePrefix).not.toBe(venv);
    expect(info.sitePackages).toEqual([site]);
    expect(info.sysPath).toContain(site);
    expect(info.sysPath).toContain(join(root, "elsewhere"));
    expect(info.sysPath).not.toContain("/nowhere");
    expect(info.stdlib.startsWith(venv)).toBe(false);
  });
});

describe("what is no usable interpreter", () => {
  const script = (name: string, text: string): string => {
    const file = join(root, name);
    writeFileSync(file, `#!/bin/sh\n${text}\n`);
    chmodSync(file, 0o755);
    return file;
  };
  it("does not exist, is a folder, is not executable, fails, says something else", async () => {
    expect(await fault(describeInterpreter(join(root, "none"), env))).toBe("INTERPRETER_NOT_FOUND: there is no such file");
    expect(await fault(describeInterpreter(root, env))).toBe("INTERPRETER_NOT_EXECUTABLE: it is not an executable file");
    writeFileSync(join(root, "text"), "");
    expect(await fault(describeInterpreter(join(root, "text"), env))).toBe("INTERPRETER_NOT_EXECUTABLE: it is not an executable file");
    expect(await fault(describeInterpreter(script("fails", "echo oops >&2; exit 9"), env))).toBe("INTERPRETER_FAILED: it ended with status 9: oops");
    expect(await fault(describeInterpreter(script("silent", "echo Hello"), env))).toBe("INTERPRETER_SILENT: it ran, but did not describe itself as Python does");
  });

  const answer = (facts: object): string => `noise\n${describeMarker}${JSON.stringify(facts)}\n`;
  const who = { executable: "/p", implementation: "cpython", hexversion: 0x030b07f0, version: "3.11.7" };
  const whole = {
    ...who, pycMagic: 1, cacheTag: "c", platform: "linux-x86_64", pointerSize: 8, freeThreaded: false, debug: false, suffixes: [],
    prefix: "/", basePrefix: "/", stdlib: "/l", dynload: null, sitePackages: [], sysPath: [],
  };
  it.each([
    [{ ...who, implementation: "pypy", version: "3.10.14" }, "NOT_CPYTHON: it is pypy 3.10.14, not CPython"],
    [{ ...who, hexversion: 0x030812f0, version: "3.8.18" }, "PYTHON_TOO_OLD: it is CPython 3.8.18, too old"],
    [{ ...whole, pointerSize: 4 }, "UNSUPPORTED_BUILD: it is a 32-bit build, for which there are no archives"],
    [{ ...whole, freeThreaded: true, debug: true }, "UNSUPPORTED_BUILD: it is a free-threaded debug build, for which there are no archives"],
    [{ ...whole, prefix: 1 }, /^INTERPRETER_SILENT: its description of itself is incomplete \(prefix: /],
    [who, /^INTERPRETER_SILENT: its description of itself is incomplete/],
  ])("%j", async (facts, expected) => {
    const message = await fault(() => parseDescription(answer(facts), "/p"));
    if (typeof expected === "string") expect(message).toBe(expected);
    else expect(message).toMatch(expected);
  });

  it("derives the flavour", () => {
    expect(parseDescription(answer(whole), "/p").flavour).toBe("release");
    expect(parseDescription(answer({ ...whole, debug: true }), "/p").flavour).toBe("debug");
    expect(parseDescription(answer({ ...whole, freeThreaded: true }), "/p").flavour).toBe("freethreaded");
  });
});
