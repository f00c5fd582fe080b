/** `run` and `trace` on real programs: exit, signals, environment, the archive's life. */
import { execFileSync, spawnSync } from "node:child_process";
import type { ChildProcess, SpawnSyncReturns } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { knownAbis } from "../../src/abi/load.ts";
import { openImage } from "../../src/image/reader.ts";
import { checkout } from "../support/built.ts";
import { pythons } from "../support/pythons.ts";
import { makeWorld } from "./support.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const world = makeWorld("run");
afterAll(() => world.remove());
// nothing may stay behind in the folder for temporary files
afterEach(() => expect(readdirSync(world.temporary)).toEqual([]));
const at = (name: string): string => join(world.work, name);

const supported = pythons().filter(({ version }) => knownAbis().some((id) => id.startsWith(`cpython-${version}-`)));
const [first] = supported;
const exe = first?.exe ?? "";

function program(name: string, text: string): string {
  writeFileSync(at(name), text);
  return at(name);
}

/** hit, miss and stale of a start; undefined: no archive was in use. */
function counts(log: string): { hit: number; miss: number; stale: number } | undefined {
  const found = /summary hit=(\d+) miss=(\d+) stale=(\d+)/.exec(existsSync(log) ? readFileSync(log, "utf8") : "");
  return found === null ? undefined : { hit: Number(found[1]), miss: Number(found[2]), stale: Number(found[3]) };
}

const archives = (): string[] => (existsSync(join(world.cache, "pycds")) ? readdirSync(join(world.cache, "pycds")).filter((name) => name.endsWith(".pycds")) : []);
const clearCache = (): void => rmSync(join(world.cache, "pycds"), { recursive: true, force: true });

/** Waits until the program has said so. */
async function ready(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", () => reject(new Error("it ended before it was ready")));
  });
}
async function end(child: ChildProcess): Promise<{ status: number | null; signal: string | null; out: string }> {
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  return new Promise((resolve) => child.once("close", (status, signal) => resolve({ status, signal, out })));
}

describe.skipIf(first === undefined)("how a program ends", () => {
  const commands: readonly (readonly string[])[] = [["run"], ["trace", "-o", "end.trace"]];
  describe.each(commands)("pycds %s", (...command) => {
    it.each([0, 1, 3, 127, 255])("status %i", (status) => {
      const done = world.pycds([...command, "--", exe, "-c", `import sys; print("out"); print("err", file=sys.stderr); sys.exit(${status})`]);
      expect(done).toMatchObject({ status, signal: null, stdout: "out\n", stderr: "err\n" });
    });

    it("an uncaught exception", () => {
      const stock = spawnSync(exe, ["-c", "import json; json.loads('{')"], { cwd: world.work, env: world.env, encoding: "utf8" });
      const done = world.pycds([...command, "--", exe, "-c", "import json; json.loads('{')"]);
      expect({ status: done.status, stderr: done.stderr }).toEqual({ status: stock.status, stderr: stock.stderr });
    });

    it.each(["SIGTERM", "SIGKILL", "SIGABRT", "SIGPIPE", "SIGHUP", "SIGUSR1"] as const)("killed by %s", (signal) => {
      const done = world.pycds([...command, "--", exe, "-c", `import os, signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL); os.kill(os.getpid(), signal.${signal})`]);
      expect({ status: done.status, signal: done.signal }).toEqual({ status: null, signal });
    });

    it.each(["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1", "SIGQUIT"] as const)("%s reaches it, once", async (signal) => {
      const file = program("waits.py", `import signal, sys, time
seen = []
signal.signal(signal.${signal}, lambda *_: seen.append(1))
print("ready", flush=True)
deadline = time.monotonic() + 20
while not seen and time.monotonic() < deadline: time.sleep(0.02)
time.sleep(0.3)
print("seen", len(seen), flush=True)
sys.exit(7)`);
      const child = world.start([...command, "--", exe, file]);
      await ready(child);
      const ended = end(child);
      child.kill(signal);
      expect(await ended).toMatchObject({ status: 7, signal: null, out: "seen 1\n" });
    });

    it("a signal with the default action ends both alike", async () => {
      const child = world.start([...command, "--", exe, "-c", "import time; print('ready', flush=True); time.sleep(20)"]);
      await ready(child);
      const ended = end(child);
      child.kill("SIGTERM");
      expect(await ended).toMatchObject({ status: null, signal: "SIGTERM" });
    });
  });

  it("a program that is no Python ends as it ends", () => {
    expect(world.pycds(["run", "--", "sh", "-c", "echo hi; exit 5"])).toMatchObject({ status: 5, stdout: "hi\n", stderr: "" });
    const traced = world.pycds(["trace", "-o", "none.trace", "--", "sh", "-c", "exit 5"]);
    expect(traced).toMatchObject({ status: 5, stdout: "" });
    expect(traced.stderr).toMatch(/^pycds: warning: there is no trace \(none.trace\) — no Python that can be traced was started; [^\n]*\n$/);
    expect(existsSync(at("none.trace"))).toBe(false);
  });

  it("Ctrl-C on a terminal reaches the program once", () => {
    const file = program("on_terminal.py", `import os, signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", flush=True)
deadline = time.monotonic() + 20
while not seen and time.monotonic() < deadline: time.sleep(0.02)
time.sleep(0.3)
print("seen", len(seen), flush=True)`);
    // pty: the terminal sends SIGINT to the whole foreground group, us and the program
    const driver = program("pty_driver.py", `import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
text, sent = b"", False
while True:
    try: chunk = os.read(fd, 1000)
    except OSError: break
    if not chunk: break
    text += chunk
    if b"ready" in text and not sent:
        os.write(fd, b"\\x03"); sent = True
sys.stdout.write(text.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`);
    const pycds = join(import.meta.dirname, "../../bin/pycds");
    const done = spawnSync(exe, [driver, process.execPath, pycds, "run", "--", exe, file], { cwd: world.work, env: world.env, encoding: "utf8" });
    expect(done.stdout).toContain("seen 1");
    expect(done.status).toBe(0);
  });
});

describe.skipIf(first === undefined)("what a program sees", () => {
  it("is what it sees without us", () => {
    const file = program("sees.py", `import json, os, signal, sys
print(json.dumps([dict(os.environ), sys.argv, sys.path, sys.flags.optimize, sys.executable, sys.stdin.read(), os.getcwd(), getattr(sys, "orig_argv", [])[1:],
  [str(signal.getsignal(s)) for s in sorted(signal.valid_signals()) if s < 32], sorted(k for k in vars(sys.modules["__main__"]))]))`);
    const args = [file, "a b", "", "--debug", "--", "-x"];
    for (const env of [{}, { LD_PRELOAD: "libm.so.6" }, { PYTHONPATH: "/nowhere", PYTHONOPTIMIZE: "1" }]) {
      const stock = spawnSync(exe, args, { cwd: world.work, env: { ...world.env, ...env }, encoding: "utf8", input: "" });
      const ours = [world.pycds(["run", "--", exe, ...args], env), world.pycds(["run", "--", exe, ...args], env), world.pycds(["trace", "-o", "sees.trace", "--", exe, ...args], env)];
      expect(stock.status).toBe(0);
      for (const done of ours) {
        expect(done.stderr).toBe("");
        expect(JSON.parse(done.stdout)).toEqual(JSON.parse(stock.stdout));
      }
    }
  });

  it("its limit of open files is its starter's, not the one that Node has raised", () => {
    const pycds = join(import.meta.dirname, "../../bin/pycds");
    const show = ["-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"];
    const by = (...words: readonly string[]): string => spawnSync("sh", ["-c", 'ulimit -S -n 210; "$@"', "sh", ...words, exe, ...show], { cwd: world.work, env: world.env, encoding: "utf8" }).stdout;
    const stock = by();
    expect(stock).toContain("(210, ");
    for (const words of [["run", "--"], ["run", "--"], ["trace", "-q", "-o", "limits.trace", "--"]]) expect(by(process.execPath, pycds, ...words)).toBe(stock);
  });

  it("PYCDS=off leaves all to stock", () => {
    clearCache();
    expect(world.pycds(["run", "--", exe, "-c", "import sys; print('_pycds' in sys.modules)"], { PYCDS: "off" })).toMatchObject({ status: 0, stdout: "False\n", stderr: "" });
    expect(archives()).toEqual([]);
  });
});

describe.each(supported)("the archive's life, CPython $version ($exe)", ({ exe: python }) => {
  it("is made by the first run, used by the second, and grows", () => {
    clearCache();
    const log = at("log");
    const run = (code: string): ReturnType<typeof counts> => {
      rmSync(log, { force: true });
      const done = world.pycds(["run", "--", python, "-c", code], { PYCDS_LOG: log });
      expect(done).toMatchObject({ status: 0, stderr: "" });
      return counts(log);
    };
    expect(run("import json")).toBeUndefined();
    const [name = ""] = archives();
    expect(name).toMatch(/^[0-9a-f]{16}-[0-9a-f]{16}\.pycds$/);
    const file = join(world.cache, "pycds", name);
    expect(statSync(join(world.cache, "pycds")).mode & 0o777).toBe(0o700);
    expect(statSync(file).mode & 0o022).toBe(0);
    const made = statSync(file).mtimeMs;

    const second = run("import json");
    expect(second).toMatchObject({ miss: 0, stale: 0 });
    expect(second?.hit).toBeGreaterThan(3);
    expect(run("import json")).toEqual(second);
    expect(statSync(file).mtimeMs).toBe(made); // nothing new: not built again

    expect(run("import json, wave")?.miss).toBeGreaterThan(0);
    expect(statSync(file).mtimeMs).toBeGreaterThan(made);
    expect(run("import json, wave")).toMatchObject({ miss: 0, stale: 0 });
    expect(run("import json")).toMatchObject({ miss: 0, stale: 0 }); // what this run does not import is kept
    expect(run("import wave")).toMatchObject({ miss: 0, stale: 0 });
  });

  it("follows edits, again and again", () => {
    clearCache();
    const log = at("log");
    const folder = at("edits");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "app.py"), "import thing; print(thing.x)");
    let stamp = 1_600_000_000;
    const run = (): { out: string; counts: ReturnType<typeof counts> } => {
      rmSync(log, { force: true });
      const done = world.pycds(["run", "--", python, join(folder, "app.py")], { PYCDS_LOG: log });
      return { out: done.stdout + done.stderr, counts: counts(log) };
    };
    for (let version = 1; version <= 3; version++) {
      writeFileSync(join(folder, "thing.py"), `x = ${version}\n`);
      utimesSync(join(folder, "thing.py"), stamp, stamp++);
      expect(run().out).toBe(`${version}\n`);
    }
    // each edit was followed: the last run's archive has the last state
    expect(run()).toMatchObject({ out: "3\n", counts: { stale: 0, miss: 0 } });
  });

  it("-a FILE: made where it is missing or damaged, used where it is valid", () => {
    const file = at("own.pycds");
    rmSync(file, { force: true });
    const log = at("log");
    const run = (): ReturnType<typeof counts> => {
      rmSync(log, { force: true });
      expect(world.pycds(["run", "-a", "own.pycds", "--", python, "-c", "import wave"], { PYCDS_LOG: log })).toMatchObject({ status: 0, stderr: "" });
      return counts(log);
    };
    expect(run()).toBeUndefined();
    expect(run()).toMatchObject({ miss: 0 });
    writeFileSync(file, readFileSync(file).subarray(0, 5000));
    expect(run()).toBeUndefined();
    expect(run()).toMatchObject({ miss: 0 });
    // another interpreter's archive is replaced too
    const other = supported.find((each) => each.exe !== python && each.version !== first?.version);
    if (other !== undefined) {
      expect(world.pycds(["run", "-a", "own.pycds", "--", other.exe, "-c", "import wave"]).status).toBe(0);
      expect(run()).toBeUndefined();
    }
    expect(run()).toMatchObject({ miss: 0 });
  });
});

describe.skipIf(first === undefined)("archives that can't be", () => {
  it("never change the program's end; one line says why", () => {
    mkdirSync(at("folder.pycds"), { recursive: true });
    execFileSync("mkfifo", [at("fifo.pycds")]);
    for (const name of ["folder.pycds", "fifo.pycds", "no/folder/x.pycds"]) {
      const done = world.pycds(["run", "-a", name, "--", exe, "-c", "import wave; print(1); raise SystemExit(4)"]);
      expect(done).toMatchObject({ status: 4, stdout: "1\n" });
      expect(done.stderr).toMatch(/^pycds: warning: no archive was made for the next run: [^\n]+\n$/);
      expect(world.pycds(["run", "-q", "-a", name, "--", exe, "-c", "import wave"])).toMatchObject({ status: 0, stderr: "" });
    }
    expect(readdirSync(at("folder.pycds"))).toEqual([]);
  });

  it("are an error before user code under PYCDS=on", () => {
    writeFileSync(at("bad.pycds"), "no archive");
    for (const name of ["bad.pycds", "missing.pycds"]) {
      const done = world.pycds(["run", "-a", name, "--", exe, "-c", "print('ran')"], { PYCDS: "on" });
      expect(done).toMatchObject({ status: 2, stdout: "" });
      expect(done.stderr).toMatch(/^pycds: error: .+\n$/);
    }
    expect(readFileSync(at("bad.pycds"), "utf8")).toBe("no archive");
  });

  const unserved = pythons().filter(({ version }) => !supported.some((each) => each.version === version));
  it.skipIf(unserved.length === 0)(`an interpreter that is not served runs as ever (${unserved.map(({ version }) => version).join(", ") || "none here"})`, () => {
    for (const { version, exe: python } of unserved) {
      const done = world.pycds(["run", "--", python, "-c", "import wave; print(1); raise SystemExit(4)"]);
      expect(done, version).toMatchObject({ status: 4, stdout: "1\n" });
      expect(done.stderr, version).toMatch(version.endsWith("d") ? /^pycds: warning: [^\n]*debug builds of CPython are not served[^\n]*\n$/ : /^(pycds: warning: [^\n]*no layout data for cpython-3[^\n]*\n)?$/);
    }
  });
});

describe.skipIf(first === undefined)("which Python a command means", () => {
  it("is found through PATH, a console script and a shim", () => {
    clearCache();
    const bin = at("bin");
    mkdirSync(bin, { recursive: true });
    const script = (name: string, text: string): void => {
      writeFileSync(join(bin, name), text);
      chmodSync(join(bin, name), 0o755);
    };
    script("tool", `#!${exe}\nimport wave; print("tool")\n`);
    script("python3", `#!/bin/sh\nexec "${exe}" "$@"\n`);
    const log = at("log");
    const run = (...words: string[]): ReturnType<typeof counts> => {
      rmSync(log, { force: true });
      expect(world.pycds(["run", "--", ...words], { PATH: `${bin}:${world.env["PATH"] ?? ""}`, PYCDS_LOG: log })).toMatchObject({ status: 0, stderr: "" });
      return counts(log);
    };
    expect(run("tool")).toBeUndefined();
    expect(run("tool")).toMatchObject({ miss: 0 });
    expect(run("python3", "-c", "import wave")).toBeUndefined(); // a shim decides for itself …
    expect(run("python3", "-c", "import wave")).toMatchObject({ miss: 0 }); // … and what it chose is remembered
    expect(archives()).toHaveLength(1);
    expect(run("python3", "-O", "-c", "import wave")).toBeUndefined(); // another -O level, another archive
    expect(run("python3", "-O", "-c", "import wave")).toMatchObject({ miss: 0 });
    expect(archives()).toHaveLength(2);
  });
});

describe.skipIf(first === undefined)("traces", () => {
  it("are what build reads; children are recorded when asked", () => {
    const parent = program("parent.py", `import subprocess, sys, colorsys
subprocess.run([sys.executable, "-c", "import wave"], check=True)`);
    expect(world.pycds(["trace", "-o", "alone.trace", "--", exe, parent])).toMatchObject({ status: 0, stderr: "" });
    expect(world.pycds(["trace", "--children", "-o", "both.trace", "--", exe, parent])).toMatchObject({ status: 0, stderr: "" });
    const names = (file: string): string[] => readFileSync(at(file), "utf8").split("\n").flatMap((line) => /^\{"module":"(\w+)"/.exec(line)?.[1] ?? []);
    expect(names("alone.trace")).toContain("colorsys");
    expect(names("alone.trace")).not.toContain("wave");
    expect(names("both.trace")).toContain("wave");
    const built = world.pycds(["build", "--trace", "both.trace", "-o", "both.pycds", "--json"]);
    expect(built).toMatchObject({ status: 0, stderr: "" });
    const listed = JSON.parse(world.pycds(["inspect", "--modules", "--json", "both.pycds"]).stdout) as { module_list: { name: string }[] };
    expect(listed.module_list.map(({ name }) => name)).toEqual(expect.arrayContaining(["colorsys", "wave"]));
    copyFileSync(at("both.trace"), at("both.lst"));
    expect(world.pycds(["build", "--list", "both.lst", "-o", "again.pycds", "-q"]).status).toBe(0);
    // the folder is in sys.path and has changed, the modules have not
    expect(JSON.parse(world.pycds(["diff", "--json", "both.pycds", "again.pycds"]).stdout)).toMatchObject({ added: [], removed: [], changed: [] });
  });

  it("a trace that fails leaves the old one", () => {
    writeFileSync(at("old.trace"), "before");
    expect(world.pycds(["trace", "-o", "old.trace", "--", "no-such-program"]).status).toBe(2);
    expect(readFileSync(at("old.trace"), "utf8")).toBe("before");
    expect(readdirSync(world.work).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe.skipIf(first === undefined)("another version of pycds", () => {
  const copy = join(world.root, "copy");
  const version = (to: string): void => writeFileSync(join(copy, "package.json"), readFileSync(join(checkout, "package.json"), "utf8").replace(/"version": "[^"]*"/, `"version": "${to}"`));
  const run = (...args: readonly string[]): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, [join(copy, "bin/pycds"), "run", "-a", at("version.pycds"), "--", exe, ...args], { cwd: world.work, env: world.env, encoding: "utf8" });
  const madeBy = (): string => openImage(readFileSync(at("version.pycds")), "version.pycds").meta().pycds;

  it("renews the archive though all of it is served, and not while it comes under the program's feet", () => {
    for (const part of ["bin", "dist", "python", "build/native"]) cpSync(join(checkout, part), join(copy, part), { recursive: true });
    symlinkSync(join(checkout, "node_modules"), join(copy, "node_modules"));
    version("7.0.0");
    const upgrade = program("upgrade.py", `import json, re\nfile = ${JSON.stringify(join(copy, "package.json"))}\ntext = open(file).read()\nopen(file, "w").write(re.sub('"version": "[0-9.]*"', '"version": "8.0.0"', text))\n`);
    expect(run(upgrade)).toMatchObject({ status: 0, stderr: "" });
    expect(existsSync(at("version.pycds"))).toBe(false);
    expect(run("-c", "import json, textwrap")).toMatchObject({ status: 0, stderr: "" });
    expect(madeBy()).toBe("8.0.0");
    const before = statSync(at("version.pycds")).mtimeMs;
    expect(run("-c", "import json")).toMatchObject({ status: 0, stderr: "" });
    expect(statSync(at("version.pycds")).mtimeMs).toBe(before);
    version("9.0.0");
    expect(run("-c", "import json")).toMatchObject({ status: 0, stderr: "" });
    expect(madeBy()).toBe("9.0.0");
    expect(openImage(readFileSync(at("version.pycds")), "version.pycds").meta().modules.map(({ name }) => name)).toEqual(expect.arrayContaining(["json", "textwrap"]));
    rmSync(at("version.pycds"));
  });
});
