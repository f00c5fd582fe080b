/** tools/build-native.mjs, in a copy of the checkout's C parts; and that what it builds loads in every CPython. */
import { spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
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
    const parts = ["_pycds.so", "pycds_launch.so", "pycds_pairs"].filter((name) => existsSync(at("native", { "_pycds.so": "runtime", "pycds_launch.so": "launch" }[name] ?? "bench")));
    const built = (names: readonly string[]): Outcome => ({ status: 0, stdout: names.map((name) => `built build/native/${name}\n`).join(""), stderr: "" });
    expect(build()).toEqual(built(parts));
    expect(build()).toEqual(built([]));
    const before = statSync(at("build/native/_pycds.so")).ino;
    appendFileSync(at("native/runtime/log.c"), "/* changed */\n");
    expect(build()).toEqual(built(["_pycds.so"]));
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

const found = pythons();
it.skip.each(["3.9", "3.10", "3.11", "3.12", "3.13"].filter((version) => !found.some((each) => each.version === version)))("the runtime in CPython %s (not on this machine)", () => undefined);

// facts/cpython.md §8: one binary for 3.9 to 3.15, of symbols that all of them export
describe.each(found)("the runtime in CPython $version ($exe)", ({ exe }) => {
  it("finds all its symbols, and is an importable module", () => {
    const program = "import _pycds, os; print(os.path.dirname(_pycds.__file__)); print(sorted(_pycds.status()))";
    const { status, stdout, stderr } = spawnSync(exe, ["-S", "-c", program], { encoding: "utf8", env: { ...pythonEnvironment(), PYTHONPATH: at("build/native"), PYCDS: "auto", PYCDS_LOG: "" } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.split("\n")[0]).toBe(dirname(at("build/native/_pycds.so")));
    expect(stdout).toContain("'reason'");
  });
});
