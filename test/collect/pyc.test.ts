/** Which .pyc stock loads, with importlib itself as the oracle (facts/cpython.md §6, §7: PEP 552). */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { cachedName, choosePyc, importlibMtime } from "../../src/archive/collect-pyc.ts";
import type { PycRules } from "../../src/archive/collect-pyc.ts";
import { machineView } from "../../src/archive/collect-view.ts";
import { describeInterpreter } from "../../src/trace/interpreter.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const root = mkdtempSync(join(tmpdir(), "pycds-pyc-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const env = pythonEnvironment();
const oracle = fileURLToPath(new URL("pyc_oracle.py", import.meta.url));

interface Case {
  readonly name: string;
  /** What is done to a source and its fresh .pyc of this kind. */
  readonly kind?: "TIMESTAMP" | "CHECKED_HASH" | "UNCHECKED_HASH" | "none";
  readonly change: (source: string, pyc: string) => void;
}

const patch = (file: string, offset: number, bytes: readonly number[]): void => {
  const contents = readFileSync(file);
  contents.set(bytes, offset);
  writeFileSync(file, contents);
};
const nothing = (): void => undefined;
const sameStamp = (source: string, text: string): void => {
  writeFileSync(source, text);
  utimesSync(source, 1_600_000_000, 1_600_000_000);
};

const cases: readonly Case[] = [
  { name: "fresh", change: nothing },
  { name: "none", kind: "none", change: nothing },
  { name: "mtime", change: (source) => utimesSync(source, 1_600_000_001, 1_600_000_001) },
  { name: "fraction", change: (source) => utimesSync(source, 1_600_000_000.7, 1_600_000_000.7) },
  { name: "size", change: (source) => sameStamp(source, "x = 10\n") },
  { name: "same_stamp", change: (source) => sameStamp(source, "x = 2\n") },
  { name: "magic", change: (_, pyc) => patch(pyc, 0, [0, 0]) },
  { name: "line_end", change: (_, pyc) => patch(pyc, 2, [10, 10]) },
  { name: "flags", change: (_, pyc) => patch(pyc, 4, [4]) },
  { name: "check_source_alone", change: (_, pyc) => patch(pyc, 4, [2]) },
  { name: "cut_header", change: (_, pyc) => truncateSync(pyc, 15) },
  { name: "cut_magic", change: (_, pyc) => truncateSync(pyc, 3) },
  { name: "empty", change: (_, pyc) => truncateSync(pyc, 0) },
  { name: "folder", change: (_, pyc) => { rmSync(pyc); mkdirSync(pyc); } },
  { name: "checked", kind: "CHECKED_HASH", change: nothing },
  { name: "checked_touched", kind: "CHECKED_HASH", change: (source) => utimesSync(source, 1, 1) },
  { name: "checked_edited", kind: "CHECKED_HASH", change: (source) => sameStamp(source, "x = 2\n") },
  { name: "unchecked_edited", kind: "UNCHECKED_HASH", change: (source) => sameStamp(source, "x = 22\n") },
  { name: "gone", change: (source) => rmSync(source) },
  { name: "old", change: (source) => utimesSync(source, -10.5, -10.5) },
  { name: "far", change: (source) => utimesSync(source, 2 ** 32 + 5, 2 ** 32 + 5) },
];

describe.each(pythons())("CPython $version ($exe)", ({ exe, version, minor }) => {
  it.each([0, 1, 2])("chooses as importlib does, -O level %i", async (optimize) => {
    const info = await describeInterpreter(exe, env);
    const rules: PycRules = { pycMagic: info.pycMagic, cacheTag: info.cacheTag, optimize, minor };
    const folder = mkdtempSync(join(root, `${version}-${optimize}-`));
    const made = cases.map(({ name, kind = "TIMESTAMP" }) => {
      const source = join(folder, `${name}.py`);
      sameStamp(source, "x = 1\n");
      return { source, kind };
    });
    const compile = `import json, sys, py_compile
for job in json.load(sys.stdin):
    if job["kind"] != "none": py_compile.compile(job["source"], doraise=True, invalidation_mode=py_compile.PycInvalidationMode[job["kind"]])`;
    const level = optimize === 0 ? [] : [`-${"O".repeat(optimize)}`];
    execFileSync(exe, [...level, "-I", "-c", compile], { input: JSON.stringify(made), env });
    cases.forEach(({ change }, at) => change(made[at]?.source ?? "", cachedName(made[at]?.source ?? "", rules)));

    const answers = JSON.parse(execFileSync(exe, [...level, "-I", oracle], { input: JSON.stringify(made.map(({ source }) => source)), encoding: "utf8", env })) as readonly object[];
    const ours = made.map(({ source }) => {
      const choice = choosePyc(machineView, source, rules);
      switch (choice.kind) {
        case "gone":
          return { gone: true };
        case "compile":
          return { pyc: null };
        case "pyc":
          return { pyc: choice.file };
      }
    });
    expect(Object.fromEntries(ours.map((each, at) => [cases[at]?.name, each]))).toEqual(Object.fromEntries(answers.map((each, at) => [cases[at]?.name, each])));
    // the cases are not all alike
    expect(ours.filter((each) => "pyc" in each && each.pyc !== null).length).toBeGreaterThan(5);
  });

  it("hashes sources of every length as _imp.source_hash does", () => {
    const folder = mkdtempSync(join(root, `hash-${version}-`));
    const lengths = [...Array.from({ length: 35 }, (_, at) => at), 1000, 65537];
    const program = `import _imp, importlib.util, sys
key = int.from_bytes(importlib.util.MAGIC_NUMBER, "little")
for n in ${JSON.stringify(lengths)}:
    data = bytes((i * 131 + n * 7) % 256 for i in range(n))
    open("%s/%d.py" % (sys.argv[1], n), "wb").write(data)
    open("%s/%d.hash" % (sys.argv[1], n), "wb").write(_imp.source_hash(key, data))`;
    execFileSync(exe, ["-I", "-c", program, folder], { env });
    const magic = Number.parseInt(execFileSync(exe, ["-I", "-c", "import importlib.util as u; print(int.from_bytes(u.MAGIC_NUMBER, 'little'))"], { encoding: "utf8", env }), 10);
    const rules: PycRules = { pycMagic: magic, cacheTag: "tag", optimize: 0, minor };
    for (const length of lengths) {
      const source = join(folder, `${length}.py`);
      const header = Buffer.alloc(16);
      header.writeUInt32LE(magic, 0);
      header.writeUInt32LE(3, 4);
      readFileSync(join(folder, `${length}.hash`)).copy(header, 8);
      const pyc = cachedName(source, rules);
      mkdirSync(dirname(pyc), { recursive: true });
      writeFileSync(pyc, header);
      expect([length, choosePyc(machineView, source, rules).kind]).toEqual([length, "pyc"]);
    }
  });
});

describe("importlibMtime", () => {
  it.each(pythons().slice(0, 1))("is int(st_mtime), also where the double rounds up (CPython $version)", ({ exe }) => {
    const file = join(root, "stamp");
    writeFileSync(file, "");
    const stamps = ["1600000000999999999", "1600000000999999880", "1600000000999999881", "1600000000000000000", "-10500000000", "-1", "4294967301000000000", "1"];
    const program = `import os, sys
for ns in sys.argv[2:]:
    os.utime(sys.argv[1], ns=(0, int(ns)))
    st = os.stat(sys.argv[1])
    print(st.st_mtime_ns, int(st.st_mtime) & 0xFFFFFFFF)`;
    const rows = execFileSync(exe, ["-I", "-c", program, file, ...stamps], { encoding: "utf8", env }).trim().split("\n").map((row) => row.split(" "));
    expect(rows).toHaveLength(stamps.length);
    for (const [ns = "", expected] of rows) expect([ns, importlibMtime(BigInt(ns))]).toEqual([ns, Number(expected)]);
  });
});

describe("cachedName", () => {
  it.each(pythons().slice(0, 1))("is cache_from_source (CPython $version)", async ({ exe }) => {
    const { cacheTag } = await describeInterpreter(exe, env);
    const names = ["/a/b.py", "/a.b/c", "/a/.hidden.py", "/a/.hidden", "/a/two.dots.py"];
    const program = "import importlib.util as u, json, sys; print(json.dumps([[u.cache_from_source(n, optimization=o) for o in ('', 1, 2)] for n in sys.argv[1:]]))";
    const expected = JSON.parse(execFileSync(exe, ["-I", "-c", program, ...names], { encoding: "utf8", env })) as unknown;
    expect(names.map((name) => [0, 1, 2].map((optimize) => cachedName(name, { cacheTag, optimize, pycMagic: 0, minor: 11 })))).toEqual(expected);
  });
});
