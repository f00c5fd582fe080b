/**
 * PYCDS_EXIT=fast (native/runtime/exit.c, docs/fast-exit.md): exit status, signal,
 * output and files are stock's; only modules are not taken apart.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";

const fast = { PYCDS: "on", PYCDS_EXIT: "fast" };

/** Name, program, and what else is on the command line. */
const cases: readonly (readonly [string, string])[] = [
  ["nothing", ""],
  ["sys.exit()", "import sys; sys.exit()"],
  ["sys.exit(3)", "import sys; sys.exit(3)"],
  ["sys.exit(None), from a module's body", "import exits_none"],
  ["sys.exit(True)", "import sys; sys.exit(True)"],
  ["sys.exit of a text", "import sys; sys.exit('a reason')"],
  ["sys.exit of an object", "import sys; sys.exit(['a', 1])"],
  ["sys.exit(-1), sys.exit(256), sys.exit(2**40)", "import sys; sys.exit(-1)"],
  ["sys.exit(258)", "import sys; sys.exit(258)"],
  ["an uncaught exception", "def f(): return 1/0\nf()"],
  ["an uncaught exception with a hook", "import sys\nsys.excepthook = lambda *a: print('hooked', a[0])\n1/0"],
  ["SystemExit in an exit function", "import atexit, sys\natexit.register(lambda: sys.exit(7))\natexit.register(print, 'first')"],
  ["an exception in an exit function", "import atexit\natexit.register(lambda: 1/0)\nprint('out')"],
  ["exit functions, in their order", "import atexit, mod\natexit.register(print, 'a'); atexit.register(print, 'b')\nmod.fast()\natexit.register(print, 'c')"],
  ["an exit function that collects", "import atexit, gc, mod\natexit.register(lambda: print(gc.collect() >= 0, mod.value))"],
  ["an exit function that imports", "import atexit\ndef late():\n    import mod, late_one\n    print(late_one.value, mod.value)\natexit.register(late)"],
  ["os._exit", "import os\nopen('out.1', 'w').write('lost')\nf = open('out.2', 'w'); f.write('lost')\nos._exit(5)"],
  ["a signal of one's own", "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)"],
  ["Ctrl-C", "import os, signal, mod\nf = open('out.1', 'w'); f.write('kept')\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(5)"],
  ["abort", "import os; os.abort()"],
  ["files that nobody flushed", "import mod\nf = open('out.1', 'w'); f.write('text' * 10)\ng = open('out.2', 'wb'); g.write(b'bytes')\nh = open('out.3', 'r+b' if 0 else 'w+b'); h.write(b'random')\nmod.file = open('out.4', 'w'); mod.file.write('in a module')\nimport io\nraw = io.FileIO('out.5', 'w'); raw.write(b'raw')\ndeep = [{1: (open('out.6', 'a'),)}]; deep[0][1][0].write('deep')"],
  ["files of an imported module", "import writes"],
  ["bz2, lzma", "import mod, bz2, lzma\nmod.b = bz2.open('out.2', 'wb'); mod.b.write(b'y' * 100)\nmod.c = lzma.open('out.3', 'wt'); mod.c.write('z' * 100)"],
  ["a file class of one's own", "import io, mod\nclass Loud(io.BufferedWriter):\n    def close(self):\n        print('closing', self.closed); super().close()\nclass Final(io.RawIOBase):\n    def __del__(self): print('del'); super().__del__()\nmod.f = Loud(io.FileIO('out.1', 'w')); mod.f.write(b'kept'); mod.g = Final()"],
  ["a file in a cycle", "import mod\nf = open('out.1', 'w'); f.write('kept')\nmod.c = [f]; mod.c.append(mod.c)\ndel f"],
  ["a disk that is full, in a file", "import mod\nmod.f = open('/dev/full', 'w'); mod.f.write('x')\nprint('out')"],
  ["a stdout of one's own", "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); print('kept', end='')"],
  ["a stdout that is a file", "import sys\nsys.stdout = open('out.1', 'w'); print('kept', end='')"],
  ["a stdout that is None", "import sys\nsys.stdout = None; print('lost')"],
  ["stdout detached", "import sys\nprint('kept'); sys.stdout.detach().write(b'lost?')"],
  ["output without a newline", "import sys\nsys.stdout.write('kept'); sys.stderr.write('too')"],
  ["variables of __main__", "class Loud:\n    def __init__(self, n): self.n = n\n    def __del__(self): print('del', self.n)\na = Loud(1); b = Loud(2); c = [Loud(3)]"],
  ["a daemon thread", "import threading, time\ndef work():\n    while True: time.sleep(.01)\nthreading.Thread(target=work, daemon=True).start()\nprint('out')"],
  ["a thread that goes on", "import threading, time, mod\ndef work():\n    time.sleep(.3); print('worked'); mod.f.write(' and more')\nmod.f = open('out.1', 'w'); mod.f.write('kept')\nthreading.Thread(target=work).start()"],
  ["threading's exit function", "import concurrent.futures, time\npool = concurrent.futures.ThreadPoolExecutor(2)\npool.submit(lambda: (time.sleep(.2), print('done')))"],
  ["multiprocessing", "import multiprocessing\ndef work(n):\n    print('child', n, flush=True); return n\nif __name__ == '__main__':\n    c = multiprocessing.get_context('fork')\n    p = c.Process(target=work, args=(1,)); p.start(); p.join(); print(p.exitcode)\n    q = c.Process(target=exit, args=(4,)); q.start(); q.join(); print(q.exitcode)"],
  ["a fork's child that ends by itself", "import os, sys, mod\nmod.f = open('out.1', 'w')\npid = os.fork()\nif pid == 0:\n    mod.f.write('child'); sys.exit(6)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"],
  ["subprocess", "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(1); sys.exit(9)']).returncode)"],
  ["a pipe to a child", "import subprocess, mod\nmod.p = subprocess.Popen(['cat'], stdin=subprocess.PIPE); mod.p.stdin.write(b'piped')\nimport atexit\natexit.register(lambda: (mod.p.stdin.close(), mod.p.wait()))"],
  ["temporary files", "import tempfile, os, mod\nf = tempfile.NamedTemporaryFile(dir='.', prefix='out.'); mod.d = tempfile.TemporaryDirectory(dir='.', prefix='out.')"],
  ["weakref.finalize", "import weakref, mod\nclass A: pass\nmod.a = A()\nweakref.finalize(mod.a, print, 'finalised')"],
  ["logging", "import logging\nlogging.basicConfig(filename='out.1', level=logging.INFO); logging.info('kept')"],
  ["asyncio", "import asyncio\nasync def main():\n    await asyncio.sleep(0); print('ran')\nasyncio.run(main())"],
  ["a generator that is not finished", "def g():\n    try: yield 1\n    finally: print('finally')\nx = g(); next(x)"],
  ["the collector switched off", "import gc, mod\ngc.disable()\nmod.f = open('out.1', 'w'); mod.f.write('kept')"],
  ["frozen objects", "import gc, mod\nf = open('out.1', 'w'); f.write('kept')\ngc.freeze()"],
  ["frozen files of a module", "import gc, late_one\nlate_one.f = open('out.1', 'w'); late_one.f.write('kept')\ngc.freeze()"],
  ["a daemon thread that reads, and holds a lock", "import os, threading, time, mod\nr, w = os.pipe()\nmod.f = os.fdopen(r, 'rb')\ndef read():\n    for l in mod.f: pass\nthreading.Thread(target=read, daemon=True).start(); time.sleep(.2)\nprint('out')"],
  ["a fork's child, and a file of a thread that is not in it", "import os, sys, threading, warnings\nwarnings.simplefilter('ignore')\ngo, here = threading.Event(), threading.Event()\ndef work():\n    f = open('out.1', 'w'); f.write('once'); here.set(); go.wait(); f.close()\nt = threading.Thread(target=work); t.start(); here.wait()\npid = os.fork()\nif pid == 0: sys.exit(6)\nos.waitpid(pid, 0); go.set(); t.join()"],
  ["atexit is not in sys.modules, and is needed", "import sys, gc\nsys.modules.pop('atexit', None); gc.collect(); things = [[i] for i in range(5000)]"],
  ["more than a few files", "import io, mod\nmod.a = [io.BytesIO() for _ in range(500)]\nmod.f = open('out.1', 'w'); mod.f.write('text')\nmod.g = open('out.2', 'wb'); mod.g.write(b'bytes')"],
  ["an archive that nobody closed", "import zipfile\nz = zipfile.ZipFile('out.1', 'w')\nz.writestr(zipfile.ZipInfo('a'), 'kept')"],
  ["an archive that nobody closed, in an object", "import zipfile\nclass App:\n    def f(self): return zipfile\napp = App()\napp.z = zipfile.ZipFile('out.1', 'w')\napp.z.writestr(zipfile.ZipInfo('a'), 'kept')"],
  ["a __del__ that uses what is imported", "import os, sys\nfrom os import path\nclass Loud:\n    def __del__(self): print('del', path.basename(os.path.join('a', 'b')), helper())\ndef helper(): return 'helped'\na = Loud(); c = [Loud()]"],
  ["a __del__ that writes to a file", "class Loud:\n    def __init__(self): self.f = open('out.1', 'w')\n    def __del__(self): self.f.write('last'); print('del')\na = Loud()"],
  ["a __del__ that prints, and a stdout of one's own", "import sys, io\nclass Loud:\n    def __del__(self): print('del')\na = Loud()\nsys.stdout = open('out.1', 'w'); print('kept')"],
  ["asked for at run time", "import sys, mod\nprint('atexit' in sys.modules and sys.version_info >= (3, 10), mod.fast() in (True, None))\nf = open('out.1', 'w'); f.write('kept')\nsys.exit(4)"],
  ["a sub-interpreter", "try:\n    import _interpreters as i\nexcept ImportError:\n    import _xxsubinterpreters as i\nx = i.create()\ni.run_string(x, 'import gc, atexit; print(1, flush=True)')\ni.destroy(x)"],
  ["sys.modules replaced by a program", "import sys, mod\nsys.modules = dict(sys.modules)\nmod.f = open('out.1', 'w'); mod.f.write('kept')"],
  ["what is imported does not show it", "import sys\nprint([m for m in sys.modules if m == 'gc' or m == 'atexit' and sys.version_info >= (3, 10)])"],
];

/** 3.15 tells the whole chain of a failed close where its traceback module is still there, which at that point of stock's exit it is not. */
const again = "\n\nDuring handling of the above exception, another exception occurred:\n\nOSError: [Errno 28] No space left on device";

/** Free-threaded builds exit as in stock (docs/fast-exit.md). */
const withGil = served().filter(({ python }) => python?.flavour !== "freethreaded");

for (const { name: title, python } of withGil) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      world.write("lib/mod.py", "value = 1\ndef fast():\n    try:\n        import _pycds\n    except ImportError:\n        return None\n    return _pycds.fast_exit()\n");
      world.write("lib/late_one.py", "value = 2\n");
      world.write("lib/exits_none.py", "import sys\nsys.exit(None)\n");
      world.write("lib/writes.py", "f = open('out.1', 'w'); f.write('kept')\n");
      world.write("all.py", "import mod, late_one\n");
      world.archive(["all.py"]);
      for (const [at, [, program]] of cases.entries()) world.write(`case${at}.py`, `import mod\n${program}\n`);
    }, 120_000);
    afterAll(() => world.remove());

    /** What a run left in files called out.*, and takes them away. */
    const files = (): Record<string, string> => {
      const names = readdirSync(world.folder).filter((name) => name.startsWith("out.")).sort();
      const found = Object.fromEntries(names.map((name) => [name.length > 5 ? "out.…" : name, readFileSync(world.path(name)).toString("latin1")]));
      for (const name of names) rmSync(world.path(name), { recursive: true });
      return found;
    };
    it.each(cases.map(([name], at) => [name, at] as const))("%s", (_name, at) => {
      const stock = { outcome: world.stock([`case${at}.py`]), files: files() };
      const { outcome, events } = world.direct([`case${at}.py`], fast);
      const plain = (text: string): string => text.replaceAll(/0x[0-9a-f]+/g, "0x…").replace(again, "");
      expect({ outcome: { ...outcome, stderr: plain(outcome.stderr) }, files: files() }).toEqual({ ...stock, outcome: { ...stock.outcome, stderr: plain(stock.outcome.stderr) } });
      expect(events.hit).toContain("mod");
    }, 60_000);

    const shell = (command: string, env: Readonly<Record<string, string>>): unknown => {
      const done = spawnSync("sh", ["-c", command], { cwd: world.folder, env: world.env(env), encoding: "utf8", input: "print('typed')\nraise SystemExit(5)\n" });
      return [done.status, done.signal, done.stdout, done.stderr];
    };
    const started = (): Record<string, string> => world.directEnvironment(fast);

    it.each([
      ["stdout that is full: message and status 120", `"$PY" -c "import mod; print('x')" > /dev/full`],
      ["stderr that is full", `"$PY" -c "import mod, sys; sys.stderr.write('x')" 2> /dev/full`],
      ["both", `"$PY" -c "import mod, sys; print(1); sys.exit('x')" > /dev/full 2> /dev/full`],
      ["stdout that is closed", `"$PY" -c "import mod; print('x')" >&-`],
      ["a pipe that nobody reads", `"$PY" -c "import mod, sys; print('x' * 200000)" | true`],
      ["-i", `"$PY" -i -c "import mod; print(1)"`],
      ["-m", `"$PY" -m mod`],
      ["-m of a module that is not there", `"$PY" -m not_there`],
      ["a program from stdin", `echo "import mod; print(mod.value); raise SystemExit(3)" | "$PY"`],
      ["-c with a syntax error", `"$PY" -c "1 +"`],
      ["Ctrl-C ends the shell's command by SIGINT", `"$PY" -c "import mod, os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)" 2>/dev/null; echo $?`],
      ["-X dev", `"$PY" -X dev -c "import mod; f = open('out.1', 'w'); mod.g = f"`],
      ["-W default: what is left open", `"$PY" -W default -c "import mod; mod.f = open('out.1', 'w')"`],
    ])("%s", (_name, command) => {
      const stock = shell(command, { PY: world.exe });
      files();
      expect(shell(command, { PY: world.exe, ...started() })).toEqual(stock);
      files();
    }, 60_000);

    // From 3.14 on stock's exit loses what is in a module's variable: "RuntimeError: lost gzip_file".
    it.each(["wt", "wb"])("a gzip file is complete: %s", (mode) => {
      world.write("more.py", `import mod, gzip\nmod.a = gzip.open('out.1', '${mode}'); mod.a.write(${mode === "wb" ? "b" : ""}'x' * 100)\n`);
      expect(world.direct(["more.py"], fast).outcome.stderr).toBe("");
      expect(gunzipSync(readFileSync(world.path("out.1"))).toString()).toBe("x".repeat(100));
      files();
    });

    it("does leave modules as they are", () => {
      world.write("more.py", "import mod, sys\nclass Loud:\n    def __del__(self): print('del')\nmod.loud = Loud()\n");
      expect(world.direct(["more.py"], { PYCDS: "on" }).outcome.stdout).toBe("del\n");
      expect(world.direct(["more.py"], fast).outcome.stdout).toBe("");
    });
  });
}
