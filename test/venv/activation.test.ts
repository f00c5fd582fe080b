/**
 * The installed .pth in real virtual environments: what a start of Python sees of it,
 * with a runtime that loads and with several that do not; and the Python package.
 * Guards design.md, "Contracts": activation imports one extension module, no Python
 * package, and adds only names with `pycds` in them to sys.modules.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { install } from "../../src/venv/install.ts";
import { findVenvPython } from "../../src/venv/interpreter.ts";
import { pthText } from "../../src/venv/layout.ts";
import { status } from "../../src/venv/status.ts";
import { uninstall } from "../../src/venv/uninstall.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { makeInputs, packageDir, root, snapshot } from "./support.ts";
import type { Inputs } from "./support.ts";

const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);
const expected = ["3.9", "3.10", "3.11", "3.12", "3.13"];

/** Fresh each time, so that one start leaves no compiled files for the next: what is compared is what was installed. */
function python(exe: string, argv: readonly string[], extra: Record<string, string> = {}): { stdout: string; stderr: string; status: number | null } {
  const { stdout, stderr, status: code } = spawnSync(exe, argv, { encoding: "utf8", env: { ...pythonEnvironment(), PYTHONHASHSEED: "0", ...extra } });
  return { stdout, stderr, status: code };
}

const modules = "import sys; print(sorted(sys.modules)); print(sorted(vars(sys.modules['site']))); print(sys.path, sys.flags)";

it("the .pth is one line that site.py executes, in ASCII", () => {
  expect(pthText).toMatch(/^import [\x20-\x7e]*\n$/);
});

it("the package's version is that of package.json", () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(readFileSync(join(packageDir, "__init__.py"), "utf8")).toContain(`__version__ = "${version}"\n`);
});

for (const version of expected.filter((each) => !pythons().some((found) => found.version === each))) {
  it.skip(`CPython ${version} is not installed`, () => undefined);
}

describe.each(pythons())("$exe", { timeout: 60_000 }, ({ exe }) => {
  let inputs: Inputs;
  let venv: string;
  let site: string;
  let before: Record<string, string>;
  let stock: ReturnType<typeof python>;
  const include = execFileSync(exe, ["-I", "-c", "import sysconfig; print(sysconfig.get_path('include'))"], { encoding: "utf8", env: pythonEnvironment() }).trim();
  const canBuild = compiler !== undefined && existsSync(join(include, "Python.h"));

  beforeAll(() => {
    inputs = makeInputs();
    const folder = join(inputs.directory, "venv");
    execFileSync(exe, ["-m", "venv", "--without-pip", folder], { env: pythonEnvironment() });
    venv = findVenvPython(folder);
    site = python(venv, ["-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.trim();
    // site.py of 3.13 imports encodings.utf_8_sig to read any .pth at all: with one, what is compared is our line
    writeFileSync(join(site, "others.pth"), "# nothing\n");
    before = snapshot(folder);
    stock = python(venv, ["-c", modules]);
    if (stock.status !== 0 || stock.stderr !== "") throw new Error(stock.stderr);
  }, 60_000);
  afterAll(() => inputs.remove());

  const restored = (): void => {
    uninstall(site);
    expect(snapshot(join(inputs.directory, "venv"))).toEqual(before);
  };

  it.each([
    ["is no library", () => writeFileSync(join(site, "_pycds.so"), "\x7fELF and no more")],
    ["is empty", () => writeFileSync(join(site, "_pycds.so"), "")],
    ["is missing", () => rmSync(join(site, "_pycds.so"))],
    ["cannot be read as a file", () => (rmSync(join(site, "_pycds.so")), mkdirSync(join(site, "_pycds.so")))],
  ])("a runtime that %s is not noticed", (_name, damage) => {
    install({ site, runtime: inputs.runtime, packageDir });
    damage();
    expect(python(venv, ["-c", modules])).toEqual(stock);
    const own = python(venv, ["-B", "-c", "import pycds; print(pycds.status()['active'], pycds.disable(), pycds.__version__)"]);
    expect(own).toEqual({ status: 0, stdout: "False False 0.1.0\n", stderr: "" });
    rmSync(join(site, "_pycds.so"), { recursive: true, force: true });
    restored();
  });

  it.skipIf(!canBuild)("a runtime that loads adds `_pycds` to sys.modules and nothing else (needs a C compiler and headers)", () => {
    const runtime = join(inputs.directory, "fake.so");
    execFileSync(compiler ?? "cc", ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", `-I${include}`, join(root, "test/venv/native/fake_extension.c"), "-o", runtime]);
    install({ site, runtime, packageDir, archive: inputs.archive });

    const active = python(venv, ["-c", modules]);
    expect(active.stdout.replace("'_pycds', ", "")).toBe(stock.stdout);
    expect(active.stdout).toContain("'_pycds', ");
    expect(active).toMatchObject({ status: 0, stderr: "" });
    // not at all without site, as any .pth
    expect(python(venv, ["-S", "-c", "import sys; print('_pycds' in sys.modules)"]).stdout).toBe("False\n");

    const program = "import sys; n = set(sys.modules); import pycds; print(pycds.status(), pycds.disable(), sorted(set(sys.modules) - n))";
    expect(python(venv, ["-c", program])).toEqual({ status: 0, stdout: "{'active': True, 'archive': '/an/archive'} True ['pycds']\n", stderr: "" });
    expect(existsSync(join(site, "pycds/__pycache__"))).toBe(true);
    expect(status(site).state).toBe("installed");
    restored();
  });

  it("the package alone, with no runtime anywhere", () => {
    const program = "import pycds; s = pycds.status(); print(s['active'], 'pycds run' in s['reason'], pycds.disable(), pycds.fast_exit(), pycds.park(), pycds.__all__)";
    const result = python(exe, ["-B", "-c", program], { PYTHONPATH: join(root, "python") });
    expect(result).toEqual({ status: 0, stdout: "False True False False None ['__version__', 'disable', 'fast_exit', 'park', 'register_after_restore', 'register_before_snapshot', 'status']\n", stderr: "" });
  });
});
