/** tools/pythons, piece by piece, and what it brought: each cached interpreter has to behave as `python`. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it, test } from "vitest";
import { provide } from "../../tools/pythons/cache.ts";
import type { Recipe, Work } from "../../tools/pythons/cache.ts";
import { relink } from "../../tools/pythons/elf.ts";
import { findPythons, headersOf, inCache, inquire, manifestName } from "../../tools/pythons/find.ts";
import { withLock } from "../../tools/pythons/lock.ts";
import { entryName, wanted } from "../../tools/pythons/plan.ts";
import { reasonIn, run } from "../../tools/pythons/run.ts";
import { unpackZip, zipEntries } from "../../tools/pythons/zip.ts";
import { allPythons, pythonEnvironment, pythons } from "../support/pythons.ts";

const scratch = mkdtempSync(join(tmpdir(), "pycds-pythons-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let folders = 0;
function folder(): string {
  const path = join(scratch, String(folders++));
  mkdirSync(path);
  return path;
}

const some = pythons()[0];
const haveCompiler = spawnSync("cc", ["--version"]).status === 0;
const x64 = process.arch === "x64";

describe("relink", () => {
  /** A program that needs libf.so, which no search path of the system has. */
  function program(...options: string[]): { exe: string; libraries: string } {
    const at = folder();
    writeFileSync(join(at, "f.c"), "int f(void) { return 42; }\n");
    writeFileSync(join(at, "m.c"), "int f(void);\nint main(void) { return f(); }\n");
    const libraries = join(at, "libraries");
    mkdirSync(libraries);
    execFileSync("cc", ["-shared", "-fPIC", "-o", join(libraries, "libf.so"), join(at, "f.c")]);
    execFileSync("cc", [...options, "-fcf-protection", "-o", join(at, "m"), join(at, "m.c"), `-L${libraries}`, "-lf"]);
    return { exe: join(at, "m"), libraries };
  }
  const systemLinker = "/lib64/ld-linux-x86-64.so.2";

  it.skipIf(!haveCompiler || !x64).each([["position-independent", "-pie"], ["at a fixed address", "-no-pie"]])("gives a program %s its linker and libraries", (_, option) => {
    const { exe, libraries } = program(option);
    expect(spawnSync(exe).status).toBe(127); // libf.so is not found
    const linker = join(libraries, "linker");
    symlinkSync(realpathSync(systemLinker), linker);
    const made = relink(readFileSync(exe), { linker, libraries }, exe);
    writeFileSync(exe, made);
    expect(spawnSync(exe).status).toBe(42);
    // its own linker, and not the system's:
    rmSync(linker);
    expect(spawnSync(exe).error).toMatchObject({ code: "ENOENT" });
    expect(() => relink(made, { linker, libraries }, exe)).toThrow(/cannot give/);
  });

  it.skipIf(!haveCompiler || !x64)("refuses what it cannot change, and what is cut off", () => {
    const linkage = { linker: "/l", libraries: "/x" };
    expect(() => relink(Buffer.from("#!/bin/sh\n".padEnd(100)), linkage, "script")).toThrow(expect.objectContaining({ why: "not an ELF file" }));
    const { exe } = program("-pie");
    const elf = readFileSync(exe);
    for (const end of [10, 63, 64, 200, 1000]) expect(() => relink(elf.subarray(0, end), linkage, exe), `${end} bytes`).toThrow(expect.objectContaining({ name: "PycdsError" }));
    const foreign = Buffer.from(elf);
    foreign[18] = 183; // EM_AARCH64
    expect(() => relink(foreign, linkage, exe)).toThrow(expect.objectContaining({ why: "not for x86-64" }));
  });
});

describe.skipIf(some === undefined)("zip", () => {
  /** CPython's zipfile is the oracle. */
  function zip(...files: [name: string, text: string, deflated: boolean][]): string {
    const file = join(folder(), "a.zip");
    const program = "import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as z:\n  for name, text, deflated in json.loads(sys.argv[2]): z.writestr(name, text, 8 if deflated else 0)";
    execFileSync(some?.exe ?? "", ["-c", program, file, JSON.stringify(files)]);
    return file;
  }

  it("unpacks what is below a prefix", () => {
    const file = zip(["a/", "", false], ["a/b/one", "1".repeat(5000), true], ["a/two", "2", false], ["c", "3", true]);
    const to = folder();
    expect(unpackZip(readFileSync(file), file, "a/", to)).toBe(2);
    expect(readFileSync(join(to, "b/one"), "utf8")).toBe("1".repeat(5000));
    expect(readFileSync(join(to, "two"), "utf8")).toBe("2");
    expect(readdirSync(to)).toEqual(["b", "two"]);
  });

  it("refuses damage, and names that lead out", () => {
    const file = zip(["name", "some text that is kept as it is", false]);
    const bytes = readFileSync(file);
    const damaged = Buffer.from(bytes);
    damaged[bytes.indexOf("text")] = 0;
    expect(() => [...zipEntries(damaged, file)]).toThrow(expect.objectContaining({ why: "name is damaged" }));
    for (let end = 0; end < bytes.byteLength; end += 7) expect(() => [...zipEntries(bytes.subarray(0, end), file)], `${end} bytes`).toThrow(expect.objectContaining({ name: "PycdsError" }));
    const leading = zip(["a/../../out", "x", false]);
    const inner = join(folder(), "inner");
    expect(() => unpackZip(readFileSync(leading), leading, "a/", inner)).toThrow(expect.objectContaining({ why: "a/../../out leads out of the folder" }));
  });
});

describe("run", () => {
  it("tells why in one line", async () => {
    await expect(run("no-such-command", [], { what: "do it" })).rejects.toMatchObject({ code: "TOOL_MISSING", why: "no-such-command is not installed" });
    await expect(run("sh", ["-c", "echo working; echo 'E: no package' >&2; exit 3"], { what: "do it" })).rejects.toMatchObject({ message: "cannot do it", why: "no package" });
    await expect(run("sh", ["-c", "exit 3"], { what: "do it" })).rejects.toMatchObject({ why: "sh ended with status 3" });
    expect(await run("sh", ["-c", "echo out; echo err >&2"], { what: "do it" })).toBe("out\n");
  });

  it.each([
    ["Err:1 http://host suite InRelease\n  Temporary failure resolving 'host'\nE: Failed to fetch http://host/InRelease", "no network: Temporary failure resolving 'host'"],
    ["[\u001b[1;31mERROR\u001b[m] Could not find artifact a:b\n[ERROR] -> [Help 1]", "Could not find artifact a:b"],
    ["checking for gcc... no\nconfigure: error: no acceptable C compiler found in $PATH\nSee config.log", "no acceptable C compiler found in $PATH"],
    ["cc -c a.c\na.c:1:2: error: bad\nmake: *** [Makefile:1: a.o] Error 1", "a.c:1:2: error: bad"],
    ["", undefined],
  ])("finds the reason in %j", (output, reason) => expect(reasonIn(output)).toBe(reason));

  it("ends a command's children, too", async () => {
    const file = join(folder(), "pid");
    const abort = new AbortController();
    const failed = failure(run("sh", ["-c", `sh -c 'echo $$ > ${file}.new; mv ${file}.new ${file}; exec sleep 60' & wait`], { what: "wait", signal: abort.signal }));
    await until(() => existsSync(file));
    const child = Number(readFileSync(file, "utf8"));
    abort.abort(new Error("told to stop"));
    expect(await failed).toContain("told to stop");
    await until(() => !existsSync(`/proc/${child}`) || readFileSync(`/proc/${child}/stat`, "utf8").includes(") Z "));
  });
});

/** What a promise fails with; handled from the start, as the failure may come before it is looked at. */
async function failure(promise: Promise<unknown>): Promise<string> {
  return await promise.then(() => "no failure", String);
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("waited in vain");
}

const haveFlock = spawnSync("flock", ["--version"]).status === 0;

describe.skipIf(!haveFlock)("withLock", () => {
  it("lets one in at a time", async () => {
    const file = join(folder(), "lock");
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 30));
      inside--;
    };
    await Promise.all([1, 2, 3].map(async () => await withLock(file, {}, work)));
    expect(most).toBe(1);
  });

  it("waits for another process, and no longer than that lives", async () => {
    const file = join(folder(), "lock");
    const other = spawn("flock", [file, "sh", "-c", "echo held; exec sleep 60"], { stdio: ["ignore", "pipe", "ignore"], detached: true });
    await new Promise((resolve) => other.stdout.once("data", resolve));
    let waited = 0;
    let entered = false;
    const entering = withLock(file, { waiting: () => void waited++ }, async () => void (entered = true));
    await until(() => waited === 1);
    expect(entered).toBe(false);
    process.kill(-(other.pid ?? 0), "SIGKILL");
    await entering;
    expect({ waited, entered }).toEqual({ waited: 1, entered: true });
  });

  it("stops waiting when told", async () => {
    const file = join(folder(), "lock");
    const abort = new AbortController();
    await withLock(file, {}, async () => {
      const waiting = failure(withLock(file, { signal: abort.signal }, () => Promise.reject(new Error("it got in"))));
      setTimeout(() => abort.abort(new Error("told to stop")), 50);
      expect(await waiting).toContain("told to stop");
    });
  });
});

describe.skipIf(!haveFlock || some === undefined)("cache", () => {
  function workIn(cache: string, abort = new AbortController()): Work {
    return { cache, signal: abort.signal, say: () => undefined };
  }
  /** An entry whose python is a script that starts a real one. */
  function recipe(name: string, change: Partial<Recipe> = {}, text = `#!/bin/sh\nexec ${some?.exe} "$@"\n`): Recipe & { made: number } {
    const result = {
      name, recipe: "test 1", made: 0,
      make: async ({ made }: { made: string }) => {
        result.made++;
        await new Promise((resolve) => setTimeout(resolve, 30));
        writeFileSync(join(made, "python"), text);
        chmodSync(join(made, "python"), 0o755);
        return { how: "a test", exes: ["python"] };
      },
      ...change,
    };
    return result;
  }

  it("makes an entry once, also for two at a time, and again for another recipe", async () => {
    const cache = folder();
    const first = recipe("a");
    const [one, two] = await Promise.all([provide(first, workIn(cache)), provide(first, workIn(cache))]);
    expect(first.made).toBe(1);
    expect(two).toEqual(one);
    expect(inCache(cache)).toEqual([{ version: some?.version, minor: some?.minor, flavour: some?.flavour, release: some?.release, exe: join(cache, "a/python"), found: "cache", entry: { folder: join(cache, "a"), how: "a test" }, ...(one.pythons[0]?.headers === undefined ? {} : { headers: join(cache, "a", one.pythons[0].headers) }) }]);
    await provide({ ...first, recipe: "test 2" }, workIn(cache));
    expect(first.made).toBe(2);
    // an interpreter that someone removed
    rmSync(join(cache, "a/python"));
    expect(inCache(cache)).toEqual([]);
    await provide({ ...first, recipe: "test 2" }, workIn(cache));
    expect(first.made).toBe(3);
  });

  it("leaves nothing of what failed, and clears what was killed", async () => {
    const cache = folder();
    const fails = recipe("a", { make: () => Promise.reject(new Error("no luck")) });
    await expect(provide(fails, workIn(cache))).rejects.toThrow("no luck");
    await expect(provide(recipe("a", {}, "#!/bin/sh\nexit 1\n"), workIn(cache))).rejects.toMatchObject({ code: "PYTHON_BROKEN" });
    await expect(provide(recipe("a", { finish: () => Promise.reject(new Error("no luck")) }), workIn(cache))).rejects.toThrow("no luck");
    expect(readdirSync(cache)).toEqual([".locks"]);
    for (const left of [".new-a", ".tmp-a", "a"]) {
      mkdirSync(join(cache, left));
      writeFileSync(join(cache, left, "rest"), "");
    }
    expect(inCache(cache)).toEqual([]);
    await provide(recipe("a"), workIn(cache));
    expect(readdirSync(cache)).toEqual([".locks", "a"]);
    expect(readdirSync(join(cache, "a")).sort()).toEqual([manifestName, "python"].sort());
  });

  it("stops when told, and leaves nothing", async () => {
    const cache = folder();
    const abort = new AbortController();
    const work = workIn(cache, abort);
    const slow = recipe("a", { make: async () => ({ how: await run("sleep", ["60"], { what: "wait", signal: work.signal }), exes: [] }) });
    const failed = failure(provide(slow, work));
    await until(() => existsSync(join(cache, ".new-a")));
    abort.abort(new Error("told to stop"));
    expect(await failed).toContain("told to stop");
    expect(readdirSync(cache)).toEqual([".locks"]);
  });
});

describe("find", () => {
  it("tells why an executable is of no use", () => {
    const script = (text: string): string => {
      const file = join(folder(), "python");
      writeFileSync(file, `#!/bin/sh\n${text}\n`);
      chmodSync(file, 0o755);
      return file;
    };
    const says = (name: string, version: string, abiflags: string): string => script(`echo '{"name": "${name}", "version": [${version}], "abiflags": "${abiflags}"}'`);
    const named = (exe: string) => inquire({ exe, found: "named" });
    expect(named(says("pypy", "3, 10, 1", ""))).toMatchObject({ reason: "pypy 3.10, not CPython 3.9 or later" });
    expect(named(says("cpython", "3, 8, 1", ""))).toMatchObject({ reason: "cpython 3.8, not CPython 3.9 or later" });
    expect(named(says("cpython", "3, 14, 1", "td"))).toMatchObject({ reason: 'a build with ABI flags "td"' });
    expect(named(script("exit 1"))).toHaveProperty("reason");
    expect(named(says("cpython", "3, 14, 1", "t"))).toMatchObject({ version: "3.14t", minor: 14, flavour: "freethreaded", release: "3.14.1" });
    const order = findPythons([says("cpython", "3, 13, 1", "t"), says("cpython", "3, 9, 1", ""), says("cpython", "3, 13, 0", ""), script("exit 1")]);
    expect(order.pythons.map(({ version }) => version)).toEqual(["3.9", "3.13", "3.13t"]);
    expect(order.unusable).toHaveLength(1);
  });

  it("keeps new versions and flavours from tests that do not ask for them", () => {
    if (process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" || process.env["PYCDS_TEST_PYTHONS"] !== undefined) return;
    const own = new Set(allPythons().filter(({ found, flavour }) => found !== "cache" && flavour === "release").map(({ minor }) => minor));
    expect(pythons()).toEqual(allPythons().filter(({ flavour, minor, found }) => flavour === "release" && minor <= 13 && (found !== "cache" || !own.has(minor))));
  });
});

const cached = inCache();
for (const { version, ways } of wanted) {
  const entries = new Set(ways.map(entryName));
  const here = cached.filter((python) => python.version === version && python.entry !== undefined && entries.has(basename(python.entry.folder)));
  test.skipIf(here.length === 0)(`${version}, as tools/pythons brings it, behaves as python${here.length === 0 ? " (not in the cache)" : ""}`, { timeout: 120_000 }, () => {
    for (const python of here) {
      const { exe, flavour, release, entry } = python;
      const ask = (program: string, from = exe): unknown => JSON.parse(execFileSync(from, ["-c", `import json, os, subprocess, sys, sysconfig\nprint(json.dumps(${program}))`], { encoding: "utf8", env: pythonEnvironment() }));
      expect(inquire({ exe, found: "named" })).toMatchObject({ version, flavour, release });
      // No script or linker in front: the launcher of `pycds run` looks at /proc/self/exe.
      expect(ask("[sys.executable, os.readlink('/proc/self/exe')]")).toEqual([exe, realpathSync(exe)]);
      expect(ask("subprocess.check_output([sys.executable, '-c', 'import sys; print(sys.executable)'], text=True).strip()")).toBe(exe);
      // Programs of the system run beside another C library.
      expect(ask("subprocess.check_output(['sh', '-c', 'echo $0'], text=True).strip()")).toBe("sh");
      expect(ask("[__import__(name).__name__ for name in ['ssl', 'zlib', 'ctypes', 'sqlite3', 'bz2']]")).toHaveLength(5);
      // Headers that need nothing of /usr/include but the C library's.
      const headers = headersOf(python) ?? "";
      expect(headers.startsWith(entry?.folder ?? "?"), headers).toBe(true);
      if (haveCompiler) execFileSync("cc", ["-fsyntax-only", "-x", "c", "-isystem", headers, "-"], { input: `#include <Python.h>\n#if PY_MINOR_VERSION != ${python.minor}\n#error version\n#endif\n#if defined(Py_DEBUG) != ${Number(flavour === "debug")} || defined(Py_GIL_DISABLED) != ${Number(flavour === "freethreaded")}\n#error flavour\n#endif\n` });

      const venv = join(folder(), "venv");
      execFileSync(exe, ["-m", "venv", venv], { env: pythonEnvironment() });
      const inside = join(venv, "bin/python");
      expect(ask("[sys.executable, sys.prefix]", inside)).toEqual([inside, venv]);
      expect(execFileSync(inside, ["-m", "pip", "--version"], { encoding: "utf8" })).toContain(venv);
      // Byte-compiled for where it stands.
      expect(ask("[os.path.exists(subprocess.__spec__.cached), subprocess.run.__code__.co_filename == subprocess.__file__]", inside)).toEqual([true, true]);

      if (haveCompiler) {
        const library = join(folder(), "preload.so");
        writeFileSync(`${library}.c`, "#include <unistd.h>\n__attribute__((constructor)) static void hello(void) { if (write(2, \"preloaded\", 9) != 9) _exit(9); }\n");
        execFileSync("cc", ["-shared", "-fPIC", "-o", library, `${library}.c`]);
        expect(spawnSync(inside, ["-c", ""], { encoding: "utf8", env: { ...pythonEnvironment(), LD_PRELOAD: library } }).stderr).toBe("preloaded");
      }
    }
  });
}
