/** Images of programs: parked behind the imports of __main__, or where the program says; each start runs on from there with what is its own. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mask, plainEnvironment } from "../launch/support.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, pycdsIn, warmPythons } from "./support.ts";

const missing = cannotWarm();
/** What is CPython's own was compared on all versions (differential.test.ts); here two stand for them. */
const all = missing === undefined ? warmPythons() : [];
const found = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? all : all.filter((_, index) => index === 1 || index === all.length - 1);

const app = `"""A program."""
from __future__ import annotations
import os
import sys
try:
    import tomllib
except ImportError:
    tomllib = None
import slow

STARTED = slow.count()

def main() -> int:
    print(sys.argv, STARTED, __name__, __file__, __doc__, os.getcwd(), os.environ.get("MINE"), sys.stdin.read(), sys.stdout.isatty())
    if "fail" in sys.argv:
        raise ValueError(sys.argv)
    return 5

if __name__ == "__main__":
    sys.exit(main())
`;

const hooks = `import os, sys, snapshot_restore_py, pycds
snapshot_restore_py.register_before_snapshot(print, "before 1")
pycds.register_before_snapshot(print, "before 2")
@pycds.register_after_restore
def after():
    print("after", sys.argv[1:], os.environ.get("MINE"))
def work():
    made = "before the park"
    pycds.park()
    print(made, sys.argv[1:])
    raise ValueError(made)
work()
`;

it.skipIf(found.length > 0)(`images of programs: not here, ${missing ?? "no CPython 3.11 to 3.14"}`, () => undefined);

describe.each(found)("programs, $exe", ({ exe }) => {
  let directory: string;
  const env = { ...plainEnvironment(""), MINE: "while building" };
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-program-")));
    mkdirSync(join(directory, "pack"));
    mkdirSync(join(directory, "elsewhere"));
    const slow = "calls = 0\ndef count():\n    global calls\n    calls += 1\n    return calls\n";
    for (const folder of ["", "pack"]) writeFileSync(join(directory, folder, "slow.py"), slow);
    writeFileSync(join(directory, "app.py"), app);
    writeFileSync(join(directory, "pack/__main__.py"), app);
    writeFileSync(join(directory, "hooks.py"), hooks);
    writeFileSync(join(directory, "console"), `#!${exe}\nimport sys\nfrom slow import count\nif __name__ == '__main__':\n    print(sys.argv, count())\n    sys.exit(7)\n`, { mode: 0o755 });
    execFileSync(exe, ["-m", "zipapp", "pack", "-o", "pack.zip"], { cwd: directory, env: pythonEnvironment() });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const start = (argv: readonly string[], more: Record<string, string> = {}, cwd = directory) => {
    const [program = "", ...rest] = argv;
    const { status, stdout, stderr } = spawnSync(program, rest, { cwd, encoding: "utf8", env: { ...env, ...more }, input: "input" });
    return { status, stdout: mask(stdout), stderr: mask(stderr) };
  };

  it.each([
    ["script", ["app.py"]], ["module", ["-m", "pack.__main__"]], ["package", ["-m", "pack"]], ["folder", ["pack"]], ["zip file", ["pack.zip"]],
  ])("%s", (name, words) => {
    const image = join(directory, `image-${name}`);
    // a script's path is made absolute, so that starts can come from anywhere
    const command = words[0] === "-m" ? words : [join(directory, words[0] ?? "")];
    const path = name === "module" || name === "package" ? { PYTHONPATH: join(directory, "pack") } : {};
    expect(createImage(image, ["--exit", "exact", "--", exe, ...words, "first"], { env: { ...env, ...path }, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    for (const args of [["a", "--b"], ["fail"]]) {
      const more = { MINE: "now", PYCDS: "on", ...path };
      expect(start([image, ...args], more)).toEqual(start([exe, ...command, "first", ...args], more));
    }
  });

  it("from another folder, in every exit mode", () => {
    for (const mode of ["exact", "fast", "quick"]) {
      const image = join(directory, `image-${mode}`);
      expect(createImage(image, ["--exit", mode, "--", exe, "app.py"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
      const elsewhere = join(directory, "elsewhere");
      expect(start([image, "x"], { PYCDS: "on" }, elsewhere)).toEqual(start([exe, join(directory, "app.py"), "x"], {}, elsewhere));
    }
  });

  it("the start while building stops before the program, and shows the pages that starts write to", () => {
    writeFileSync(join(directory, "leaves.py"), "import json, os\nopen('left-by-' + os.environ.get('MINE'), 'w').close()\nprint([name for name in os.environ if name.startswith('PYCDS')], os.getenv('PYCDS_WARM_TRAIN'))\n");
    const hot = (image: string): number => (JSON.parse(pycdsIn(["warm", "inspect", "--json", image], { env, cwd: directory }).stdout) as { hotPages: number }).hotPages;
    const image = join(directory, "image-leaves");
    expect(createImage(image, ["--", exe, "leaves.py"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(existsSync(join(directory, `left-by-${env.MINE}`))).toBe(false);
    expect(hot(image)).toBeGreaterThan(50);
    expect(start([image], { PYCDS: "on" }).stdout).toBe("['PYCDS'] None\n");
    const interpreter = join(directory, "image-interpreter");
    expect(createImage(interpreter, ["--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(hot(interpreter)).toBeGreaterThan(hot(image) / 2);
  });

  it("console script", () => {
    const image = join(directory, "image-console");
    expect(createImage(image, ["--", "./console"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(start([image, "x"], { PYCDS: "on" })).toEqual(start([join(directory, "console"), "x"]));
    expect(start([image, "x"], { PYCDS: "off" })).toEqual(start([join(directory, "console"), "x"]));
  });

  it("park() and the hooks, in SnapStart's order", () => {
    const image = join(directory, "image-hooks");
    const built = createImage(image, ["--park", "--quiet", "--", exe, "hooks.py"], { env, cwd: directory });
    expect(built).toMatchObject({ status: 0, stdout: "before 2\nbefore 1\n" });
    const result = start([image, "x"], { MINE: "now", PYCDS: "on" });
    expect(result).toMatchObject({ status: 1, stdout: "after ['x'] now\nbefore the park ['x']\n" });
    expect(result.stderr).toBe(`Traceback (most recent call last):\n  File "${directory}/hooks.py", line 12, in <module>\n    work()\n${exe.includes("3.13") || exe.includes("3.14") ? "    ~~~~^^\n" : ""}  File "${directory}/hooks.py", line 11, in work\n    raise ValueError(made)\nValueError: before the park\n`);
  });

  it("children, threads, asyncio, multiprocessing in every start method, sockets, later imports", { timeout: 120_000 }, () => {
    const image = join(directory, "image-busy");
    expect(createImage(image, ["--preload", "json,ssl,asyncio,multiprocessing,concurrent.futures,ctypes,subprocess,socket,threading", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0 });
    writeFileSync(join(directory, "busy.py"), `import asyncio, concurrent.futures, ctypes, multiprocessing, os, signal, socket, subprocess, sys, threading, time
def double(x): return 2 * x
async def later(x):
    await asyncio.sleep(0.001); return x
if __name__ == "__main__":
    print(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout)
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool: print(method, pool.map(double, range(5)))
    with concurrent.futures.ThreadPoolExecutor(4) as pool: print(list(pool.map(double, range(9))))
    async def all_of(): return await asyncio.gather(*map(later, range(5)))
    print(asyncio.run(all_of()))
    a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1))
    libc = ctypes.CDLL(None); print(libc.getpid() == os.getpid() == int(os.readlink("/proc/self")))
    import sqlite3, decimal, lzma; print(sqlite3.connect(":memory:").execute("select 1+1").fetchone(), decimal.Decimal(1) / 3, len(lzma.compress(b"x" * 1000)))
    def deep(n): return n and deep(n - 1)
    sys.setrecursionlimit(5000); print(deep(4000))
    big = [bytes(1000) for _ in range(200_000)]; print(len(big)); del big
    signal.signal(signal.SIGALRM, lambda *_: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)
    print(threading.main_thread() is threading.current_thread(), threading.get_native_id() == os.getpid(), open("/proc/self/comm").read().startswith("python"))
`);
    const stock = start([exe, "busy.py"]);
    expect(stock.status).toBe(0);
    expect(start([image, "busy.py"], { PYCDS: "on" })).toEqual(stock);
  });

  it("nohup, umask, limits, closed and odd standard streams", () => {
    const image = join(directory, "image-plain");
    expect(createImage(image, ["--preload", "json,resource,signal", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0 });
    const code = "import os, resource, signal, sys; print(signal.getsignal(1), signal.getsignal(2), os.umask(0), resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_STACK), sys.stdin, sys.stderr, sys.stdout.line_buffering)";
    for (const script of ['trap "" HUP INT; umask 027; ulimit -n 100; ulimit -s 4096; exec "$0" -c "$1"', 'exec "$0" -c "$1" <&- 2>&-', 'exec "$0" -c "$1" 2>&1 | cat', 'exec "$0" -c "$1" </dev/null 3</dev/null']) {
      const by = (program: string) => start(["sh", "-c", script, program, code], program === image ? { PYCDS: "on" } : {});
      expect(by(image)).toEqual(by(exe));
    }
  });

  it("inspect names what is in it; the file is its owner's", () => {
    const image = join(directory, "image-inspect");
    const secret = "s3cr3t-value-of-a-token";
    writeFileSync(join(directory, "reads.py"), "import os\nKEPT = os.environ['MY_API_TOKEN']\n");
    const built = createImage(image, ["--preload", "json,reads", "--", exe], { env: { ...env, PYTHONPATH: directory, MY_API_TOKEN: secret }, cwd: directory });
    expect(built.stderr).toContain("the image's memory holds the value of MY_API_TOKEN");
    expect(execFileSync("stat", ["-c", "%a", image], { encoding: "utf8" }).trim()).toBe("700");
    const { modules, command, imageBytes, dirtyBytes, variables } = JSON.parse(pycdsIn(["warm", "inspect", "--json", image], { env, cwd: directory }).stdout) as Record<string, never>;
    expect(modules).toContain("json");
    expect(command).toEqual([exe]);
    expect(variables).toContain("MY_API_TOKEN");
    expect(Number(imageBytes) / Number(dirtyBytes)).toBeLessThan(1.2);
  });
});
