/** tools/build-native.mjs, in a copy of the checkout's C parts; and that what it builds loads in every CPython. */
import { spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allPythons, pythonEnvironment } from "../support/pythons.ts";
import { root, scratchFolder } from "./support.ts";

const folder = scratchFolder();
const at = (...names: string[]): string => join(folder.path, ...names);

beforeAll(() => {
  mkdirSync(at("tools"));
  cpSync(join(root, "tools/build-native.mjs"), at("tools/build-native.mjs"));
  cpSync(join(root, "native"), at("native"), { recursive: true });
});
afterAll(() => folder.remove());

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function build(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [at("tools/build-native.mjs"), ...args], { encoding: "utf8", env: { ...process.env, ...env } });
  return { status, stdout, stderr };
}

describe("build-native", () => {
  it("names a missing compiler and the way to get one; with --optional goes on without", () => {
    const expected = /^pycds: error: no C compiler — .* — .*apt-get install gcc/;
    for (const env of [{ CC: "/no/such/compiler" }, { CC: "", PATH: folder.path }]) {
      const failed = build([], env);
      expect(failed.status).toBe(2);
      expect(failed.stderr).toMatch(expected);
      expect(build(["--optional"], env)).toEqual({ ...failed, status: 0 });
    }
    expect(existsSync(at("build"))).toBe(false);
  });

  it("builds every part, and nothing again until something changed", () => {
    const parts = ["_pycds.so", "_pycds_t.so", "pycds_launch.so", "pycds_launch_warm.so", "pycds_warm.so", ...(process.arch === "x64" ? ["pycds_restore"] : []), "pycds_pairs", "pycds_first"];
    const built = (names: readonly string[]): Outcome => ({ status: 0, stdout: names.map((name) => `built build/native/${name}\n`).join(""), stderr: "" });
    expect(build()).toEqual(built(parts));
    expect(build()).toEqual(built([]));
    const before = statSync(at("build/native/_pycds.so")).ino;
    appendFileSync(at("native/runtime/log.c"), "/* changed */\n");
    expect(build()).toEqual(built(["_pycds.so", "_pycds_t.so"]));
    // by rename: a process that has the old one mapped keeps it
    expect(statSync(at("build/native/_pycds.so")).ino).not.toBe(before);
    rmSync(at("build/native/_pycds.so"));
    expect(build(["--only", "_pycds.so"])).toEqual(built(["_pycds.so"]));
    expect(build(["--force", "--only", "_pycds.so"])).toEqual(built(["_pycds.so"]));
    expect(readdirSync(at("build/native")).filter((name) => name.includes("tmp"))).toEqual([]);
  }, 240_000);

  it("keeps what was built when a source does not compile, and says what the compiler said", () => {
    const library = readFileSync(at("build/native/_pycds.so"));
    appendFileSync(at("native/runtime/log.c"), "int unused_parameter(int x) { return 0; }\n");
    const failed = build(["--only", "_pycds.so", "--optional"]);
    expect(failed.status).toBe(2);
    expect(failed.stderr).toMatch(/unused parameter/);
    expect(failed.stderr).toMatch(/pycds: error: cannot build _pycds\.so \(native\/runtime\) — /);
    expect(readFileSync(at("build/native/_pycds.so")).equals(library)).toBe(true);
  }, 120_000);

  it("refuses what it does not know", () => {
    const [part, option] = [build(["--only", "nothing"]), build(["--bogus"])];
    expect([part.status, option.status]).toEqual([2, 2]);
    expect(part.stderr).toMatch(/^pycds: error: nothing is called nothing/);
    expect(option.stderr).toMatch(/^pycds: error: Unknown option/);
  });

  it("tells a C library without headers from our own faults", () => {
    const compiler = at("cc-without-headers");
    writeFileSync(compiler, `#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "native/runtime/log.c:1:10: fatal error: stdio.h: No such file or directory" >&2\nexit 1\n`);
    chmodSync(compiler, 0o755);
    const failed = build(["--only", "_pycds.so"], { CC: compiler });
    expect(failed.status).toBe(2);
    expect(failed.stderr).toMatch(/apt-get install libc6-dev/);
  });
});

const found = allPythons();
const expected = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.13t"];
it.skip.each(expected.filter((version) => !found.some((each) => each.version === version)))("the runtime in CPython %s (not on this machine)", () => undefined);

/*
 * facts/cpython.md §8: one binary for 3.9 to 3.15, of symbols that all of them export, and one
 * for free-threaded builds, which none that has a GIL must stumble over either.
 */
const libraries = ["_pycds.so", "_pycds_t.so"] as const;
const loads = found.flatMap((python) => libraries.map((library) => ({ ...python, library })));
describe.each(loads)("$library in CPython $version ($exe)", ({ exe, library, flavour }) => {
  it("finds all its symbols, is an importable module, and leaves the GIL as it is", () => {
    const folder = at("loads", library);
    mkdirSync(folder, { recursive: true });
    cpSync(at("build/native", library), join(folder, "_pycds.so"));
    const program = "import _pycds, sys, os; print(os.path.dirname(_pycds.__file__)); print(sorted(_pycds.status())); print(getattr(sys, '_is_gil_enabled', lambda: True)())";
    const { status, stdout, stderr } = spawnSync(exe, ["-S", "-c", program], { encoding: "utf8", env: { ...pythonEnvironment(), PYTHONPATH: folder, PYCDS: "auto", PYCDS_LOG: "" } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [where, keys, gil] = stdout.split("\n");
    expect(where).toBe(folder);
    expect(keys).toContain("'reason'");
    expect(gil).toBe(flavour === "freethreaded" ? "False" : "True");
  });
});
