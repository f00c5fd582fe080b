/** From traces and trees to a BuildInput, on scratch trees and a real interpreter. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { abiId, knownAbis, loadAbi } from "../../src/abi/load.ts";
import { buildArchive } from "../../src/archive/build.ts";
import { interpreterCompiler } from "../../src/archive/collect-compile.ts";
import { enumerateModules } from "../../src/archive/collect-enumerate.ts";
import { parseTree, readStamps, recordingView, stampedView, writeStamps } from "../../src/archive/collect-stamps.ts";
import { machineView } from "../../src/archive/collect-view.ts";
import { collect } from "../../src/archive/collect.ts";
import { pycFileOf } from "../../src/archive/pyc-file.ts";
import type { Collected, CollectOptions, InterpreterFacts } from "../../src/archive/collect.ts";
import { xxh3 } from "../../src/base/digest.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { describeInterpreter } from "../../src/trace/interpreter.ts";
import type { InterpreterInfo, Trace, TraceModule } from "../../src/trace/types.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const root = mkdtempSync(join(tmpdir(), "pycds-collect-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const env = pythonEnvironment();
const scratchOf = (name: string): string => {
  const folder = join(root, `tmp-${name}`);
  mkdirSync(folder, { recursive: true });
  return folder;
};

const idOf = (version: string): string => abiId({ minor: Number(version.split(".")[1]), platform: `linux-${process.arch === "x64" ? "x86_64" : process.arch}`, flavour: "release" });
const supported = pythons().filter(({ version }) => knownAbis().includes(idOf(version)));

/** A small world instead of the interpreter's own folders. */
function world(name: string): { site: string; write: (path: string, text: string) => string } {
  const site = mkdtempSync(join(root, `${name}-`));
  return {
    site,
    write: (path, text) => {
      const file = join(site, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
      return file;
    },
  };
}

function factsFor(info: InterpreterInfo, site: string): InterpreterFacts {
  return { ...info, stdlib: site, dynload: null, sitePackages: [], sysPath: [site], prefix: site, basePrefix: site };
}

const source = (module: string, file: string, path: readonly string[] | null = null): TraceModule => ({ module, kind: "source", file, path: path === null ? null : [...path] });
const traceOf = (modules: readonly TraceModule[], sysPath: readonly string[] = []): Trace => ({ headers: [], modules, missing: [], sources: [], patterns: [], sysPath });

describe.each(supported)("CPython $version ($exe)", ({ exe, version }) => {
  const abi = loadAbi(idOf(version));
  const collectIn = async (site: string, options: Partial<CollectOptions>): Promise<Collected> => {
    const info = await describeInterpreter(exe, env);
    return collect({
      interpreter: factsFor(info, site), abi, optimize: 0, trace: undefined, all: false, sealed: false, digest: false, view: machineView,
      compiler: interpreterCompiler({ exe, env, temporary: scratchOf(version) }), ...options,
    });
  };

  it("keeps the traced order, compiles what has no .pyc, and leaves nothing behind", async () => {
    const { site, write } = world("order");
    const b = write("b.py", "x = __file__\n");
    const a = write("a.py", "y = 1\n");
    const p = write("p/__init__.py", "");
    execFileSync(exe, ["-m", "compileall", "-q", b], { env });
    const before = readdirSync(site);
    const { input, compiled } = await collectIn(site, { trace: traceOf([source("b", b), source("p", p, [join(site, "p")]), source("a", a)], [`${site}/`, "relative", ""]) });
    expect(input.modules.map(({ name, folder, tail, kind }) => [name, folder, tail, kind])).toEqual([
      ["b", site, "b", "source"], ["b", `${site}/`, "b", "source"],
      ["p", join(site, "p"), "__init__", "source"],
      ["a", site, "a", "source"], ["a", `${site}/`, "a", "source"],
    ]);
    expect(input.traced).toBe(5);
    expect(compiled.toSorted()).toEqual([a, p].toSorted());
    expect(input.folders.map(({ path }) => path)).toEqual([site, `${site}/`, join(site, "p")]);
    expect(readdirSync(site)).toEqual(before);
    expect(readdirSync(scratchOf(version))).toEqual([]);
    const [first] = input.modules;
    expect(pycFileOf(first?.pyc ?? new Uint8Array()).bytes()).toEqual(readFileSync(first?.pycFile ?? ""));
    expect(buildArchive(input).report.modules).toBe(5);
  });

  it("compiles to the .pyc that an import would write", async () => {
    for (const optimize of [0, 1, 2]) {
      const { site, write } = world("compile");
      const file = write("m.py", '"""Doc."""\nassert __debug__\ndef f(x: int = 3, *, y=(1, 2.5, "ä", b"b", ...)): return [x for _ in y]\n');
      const { input } = await collectIn(site, { optimize, trace: traceOf([source("m", file)]) });
      const mine = pycFileOf(input.modules[0]?.pyc ?? new Uint8Array()).bytes();
      // not py_compile: 3.15's leaves out the FLAG_REF of the module's code object
      execFileSync(exe, [...(optimize === 0 ? [] : [`-${"O".repeat(optimize)}`]), "-S", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import m", site], { env });
      const [theirs] = readdirSync(join(site, "__pycache__"));
      expect(Buffer.from(mine).toString("hex")).toBe(readFileSync(join(site, "__pycache__", theirs ?? "")).toString("hex"));
    }
  });

  it("names what is left out, and why", async () => {
    const { site, write } = world("excluded");
    const good = write("good.py", "");
    const bad = write("bad.py", "def (:\n");
    const nul = write("nul.py", "x = '\0'\n");
    const crash = write("deep.py", `x = ${"(".repeat(300)}${")".repeat(300)}\n`);
    const { input } = await collectIn(site, {
      trace: traceOf([
        source("good", good), source("bad", bad), source("nul", nul), source("deep", crash), source("gone", join(site, "gone.py")), source("gone_too", join(root, "no-folder", "x.py")),
        { module: "foreign", kind: "other", file: good, path: null }, source("odd", join(site, "odd.txt")), source("relative", "rel.py"),
        { module: "nofile", kind: "source", file: null, path: null }, { module: "sys", kind: "builtin", file: null, path: null }, { module: "ns", kind: "namespace", file: null, path: [join(site, "ns")] },
        source("surrogate", `${site}/\ud800.py`),
      ]),
    });
    expect(input.modules.map(({ name }) => name)).toEqual(["good"]);
    const reasons = new Map(input.excluded.map(({ name, reason }) => [name, reason]));
    expect(reasons.get("bad")).toMatch(/^it cannot be compiled: SyntaxError: .*\(line 1\)$/);
    expect(reasons.get("nul")).toMatch(/^it cannot be compiled: (SyntaxError|ValueError): .*null bytes/);
    expect(reasons.get("deep")).toMatch(/^it cannot be compiled: SyntaxError: too many nested parentheses/);
    expect([...reasons].filter(([name]) => !["bad", "nul", "deep"].includes(name))).toEqual([
      ["foreign", "it was loaded by a loader that is not importlib's own"],
      ["odd", "its file's name is none that FileFinder looks for"],
      ["relative", "its path is not absolute"],
      ["nofile", "the trace names no file for it"],
      ["surrogate", "its path is not UTF-8"],
      ["gone", "its source is gone"],
      ["gone_too", "its source is gone"],
    ]);
  });

  it("goes on after a file that kills the compiler", async () => {
    const { site, write } = world("killer");
    const files = ["a", "b", "c"].map((name) => write(`${name}.py`, "x = 1\n"));
    const killer = join(root, `killer-${version}`);
    writeFileSync(killer, `#!/bin/sh\nexec "${exe}" -c 'import os, sys
words = sys.argv[1:]
at = words.index("-c")
script, sys.argv = words[at + 1], words[at + 1:]
real = compile
def compile(data, path, *args, **options):
    if path.endswith("b.py"): os.abort()
    return real(data, path, *args, **options)
exec(real(script, "script", "exec"))' "$@"\n`, { mode: 0o755 });
    const { input } = await collectIn(site, {
      trace: traceOf(files.map((file, at) => source("abc"[at] ?? "", file))),
      compiler: interpreterCompiler({ exe: killer, env, temporary: scratchOf(version) }),
    });
    expect(input.modules.map(({ name }) => name)).toEqual(["a", "c"]);
    expect(input.excluded).toEqual([{ name: "b", reason: "the interpreter ended with SIGABRT while compiling it" }]);
    expect(readdirSync(scratchOf(version))).toEqual([]);
  });

  it("stamps each module by what stock goes by", async () => {
    const { site, write } = world("stamps");
    const names = ["timestamp", "checked", "unchecked", "sourceless", "stale_checked"];
    const files = new Map(names.map((name) => [name, write(`${name}.py`, `x = ${JSON.stringify(name)}\n`)]));
    for (const file of files.values()) utimesSync(file, 1_600_000_000, 1_600_000_000);
    const program = `import py_compile, sys
M = py_compile.PycInvalidationMode
site = sys.argv[1]
py_compile.compile(site + "/timestamp.py", invalidation_mode=M.TIMESTAMP)
py_compile.compile(site + "/checked.py", invalidation_mode=M.CHECKED_HASH)
py_compile.compile(site + "/stale_checked.py", invalidation_mode=M.CHECKED_HASH)
py_compile.compile(site + "/unchecked.py", invalidation_mode=M.UNCHECKED_HASH)
py_compile.compile(site + "/sourceless.py", cfile=site + "/sourceless.pyc")`;
    execFileSync(exe, ["-c", program, site], { env });
    rmSync(files.get("sourceless") ?? "");
    writeFileSync(files.get("stale_checked") ?? "", "x = 'stale_checket'\n");
    const trace = traceOf(names.map((name) => (name === "sourceless" ? { module: name, kind: "sourceless", file: join(site, "sourceless.pyc"), path: null } : source(name, files.get(name) ?? ""))));
    const stampsOf = async (digest: boolean): Promise<ReadonlyMap<string, unknown>> => new Map((await collectIn(site, { trace, digest })).input.modules.map(({ name, stamp }) => [name, stamp]));
    const contents = (name: string): Buffer => readFileSync(join(site, name));
    const digestOf = (name: string): object => ({ kind: "digest", digest: xxh3(contents(name)), size: contents(name).byteLength });
    const unchecked = readdirSync(join(site, "__pycache__")).find((name) => name.startsWith("unchecked")) ?? "";
    const pycStamp = (file: string): object => {
      const facts = machineView.stat(join(site, file));
      return { kind: "pyc", file, mtimeNs: facts?.mtimeNs, size: facts?.size };
    };

    expect(await stampsOf(false)).toEqual(new Map<string, unknown>([
      ["timestamp", { kind: "source", mtime: 1_600_000_000, size: contents("timestamp.py").byteLength }],
      ["checked", digestOf("checked.py")],
      ["unchecked", pycStamp(`__pycache__/${unchecked}`)],
      ["sourceless", pycStamp("sourceless.pyc")],
      ["stale_checked", digestOf("stale_checked.py")],
    ]));
    expect(await stampsOf(true)).toEqual(new Map<string, unknown>([
      ["timestamp", digestOf("timestamp.py")],
      ["checked", digestOf("checked.py")],
      ["unchecked", { ...digestOf(`__pycache__/${unchecked}`), file: `__pycache__/${unchecked}` }],
      ["sourceless", digestOf("sourceless.pyc")],
      ["stale_checked", digestOf("stale_checked.py")],
    ]));
  });

  it("gives the same bytes from copies and stamps as on the machine itself", async () => {
    const { site, write } = world("offline");
    write("pkg/__init__.py", "from . import a\n");
    write("pkg/a.py", "A = frozenset({1, 2, 'three'})\n");
    write("pkg/data/readme.txt", "no module");
    write("top.py", "import pkg\n");
    write("broken.py", "def (:\n");
    write("pkg/hashed.py", "H = 1\n");
    write("ext.so", "");
    execFileSync(exe, ["-m", "compileall", "-q", join(site, "pkg"), join(site, "top.py")], { env });
    execFileSync(exe, ["-c", "import py_compile, sys; py_compile.compile(sys.argv[1], invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)", join(site, "pkg/hashed.py")], { env });
    const info = factsFor(await describeInterpreter(exe, env), site);
    const trace = traceOf([source("top", join(site, "top.py"))]);
    for (const [all, digest] of [[true, false], [true, true], [false, false]] as const) {
      const view = recordingView();
      const here = await collectIn(site, { view, all, digest, trace });
      expect(here.compiled).toEqual([]);
      const text = writeStamps({ interpreter: info, optimize: 0, paths: view.seen, failures: here.failures, pures: new Map() });
      const bare = text.replaceAll(/"mtime_ns": "(\d+)"/g, '"mtime_ns": $1');
      expect(bare).not.toBe(text);

      const copy = mkdtempSync(join(root, "copy-"));
      cpSync(site, join(copy, "tree"), { recursive: true });
      for (const stampsText of [text, bare]) {
        const stamps = readStamps(stampsText, "stamps.json");
        const there = await collect({
          interpreter: stamps.interpreter, abi, optimize: stamps.optimize, trace, all, sealed: false, digest,
          view: stampedView([{ folder: copy, runtimePath: "/nothing" }, { folder: join(copy, "tree"), runtimePath: site }], stamps), compiler: undefined, knownFailures: stamps.failures,
        });
        expect(there.input.modules.length).toBe(all ? 4 : 1);
        expect(Buffer.compare(buildArchive(there.input).bytes, buildArchive(here.input).bytes)).toBe(0);
      }
    }
  });

  it("takes every module with --all, each file once", async () => {
    const { site, write } = world("all");
    const traced = write("z.py", "");
    write("a/__init__.py", "");
    write("a/b/c.py", "");
    const { input } = await collectIn(site, { all: true, trace: traceOf([source("z", traced)]) });
    expect(input.modules.map(({ name }) => name)).toEqual(["z", "a", "a.b.c"]);
    expect(input.traced).toBe(1);
  });
});

describe("enumerateModules", () => {
  it("walks what can be imported, and no circle", () => {
    const { site, write } = world("walk");
    write("one.py", "");
    write("both.py", "");
    write("both.pyc", "");
    write("only.pyc", "");
    write("fast.cpython-311.so", "");
    write("dotted.name.py", "");
    write("pkg/__init__.py", "");
    write("pkg/sub/mod.py", "");
    write("pkg/__pycache__/x.py", "");
    write("pkg/assets/deep/logo.svg", "");
    write("thing-1.0.dist-info/x.py", "");
    write("site-packages/other.py", "");
    symlinkSync("..", join(site, "pkg", "up"));
    const suffixes = [{ suffix: ".cpython-311.so", loader: "extension" }, { suffix: ".py", loader: "source" }, { suffix: ".pyc", loader: "sourceless" }] as const;
    const { files, folders } = enumerateModules(machineView, site, suffixes, new Set([join(site, "site-packages")]));
    expect(files.map(({ name, kind }) => `${name}:${kind}`)).toEqual(["both:source", "one:source", "only:sourceless", "pkg:source", "pkg.sub.mod:source"]);
    expect(folders).toEqual([site, join(site, "pkg"), join(site, "pkg/sub")]);
  });
});

describe("stamps files", () => {
  const fault = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      if (error instanceof PycdsError) return `${error.code}: ${error.why}`;
      throw error;
    }
    return "no fault";
  };
  it("that are damaged are refused, saying where", () => {
    expect(fault(() => readStamps("{", "s"))).toBe("STAMPS: it is not JSON");
    expect(fault(() => readStamps('{"pycds":"stamps","version":2}', "s"))).toMatch(/^STAMPS: version: .*; interpreter: /);
  });
  it("keep nanoseconds that no JavaScript number holds", () => {
    const facts = { hexversion: 1, pycMagic: 1, cacheTag: "", platform: "", flavour: "release", suffixes: [], prefix: "", basePrefix: "", stdlib: "", dynload: null, sitePackages: [], sysPath: [] };
    const text = `{"pycds":"stamps","version":1,"interpreter":${JSON.stringify(facts)},"optimize":0,"paths":{"/a":{"mtime_ns":1700000000123456789,"size":1},"/b":{ "mtime_ns" : -5 }}}`;
    expect(readStamps(text, "s").paths).toEqual(new Map([["/a", { mtimeNs: 1700000000123456789n, size: 1 }], ["/b", { mtimeNs: -5n, size: 0 }]]));
  });
  it("map trees by the longest path", () => {
    expect(parseTree("a=b/=/usr/lib")).toEqual({ folder: "a=b/", runtimePath: "/usr/lib" });
    expect(fault(() => parseTree("only"))).toMatch(/^TREE: /);
    expect(fault(() => parseTree("=/x"))).toMatch(/^TREE: /);
    const { site, write } = world("tree");
    write("usr/x.py", "1");
    write("lib/x.py", "22");
    const paths = new Map([["/usr/x.py", { mtimeNs: 1n, size: 1 }], ["/usr/lib/x.py", { mtimeNs: 2n, size: 2 }], ["/usr/lib/none.py", { mtimeNs: 2n, size: 2 }], ["/usr", { mtimeNs: 3n, size: 0 }]]);
    const view = stampedView([{ folder: join(site, "usr"), runtimePath: "/usr" }, { folder: join(site, "lib"), runtimePath: "/usr/lib" }], { paths, failures: new Map(), pures: new Map(), optimize: 0, interpreter: {} as InterpreterFacts });
    expect(view.stat("/usr/x.py")).toMatchObject({ kind: "file", mtimeNs: 1n, size: 1 });
    expect(Buffer.from(view.read("/usr/lib/x.py") ?? []).toString()).toBe("22");
    expect(view.stat("/usr/unstamped.py")).toBeUndefined();
    expect(view.stat("/usr/lib/none.py")).toBeUndefined();
    expect([...view.lacking]).toEqual(["/usr/lib/none.py"]);
    expect(view.list("/usr")?.map(({ name }) => name)).toEqual(["x.py"]);
    writeFileSync(join(site, "usr/x.py"), "changed");
    expect(fault(() => view.read("/usr/x.py"))).toBe("TREE_DIFFERS: /usr/x.py has 7 bytes here, 1 by the stamps");
    expect(existsSync(join(site, "usr/x.py"))).toBe(true);
  });
});
