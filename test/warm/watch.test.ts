/** What imports do that files do not show: signals that come early, the environment, random bytes and seeds, libraries loaded by hand. */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;
const withNumpy = (process.env["PYCDS_TEST_WARM_PYTHONS"] ?? "").split(":").find((exe) => exe !== "" && spawnSync(exe, ["-c", "import numpy"]).status === 0);

describe.skipIf(python === undefined)(`what imports did${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let env: Record<string, string>;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-watch-")));
    mkdirSync(join(directory, "lib"));
    env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib") };
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const image = (name: string, source: string, more: Record<string, string> = {}, options: readonly string[] = [], program = exe) => {
    writeFileSync(join(directory, "lib", `${name}.py`), source);
    const file = join(directory, `image-${name}`);
    return { file, ...createImage(file, ["--preload", name, ...options, "--", program], { env: { ...env, ...more }, cwd: directory }) };
  };
  const start = (file: string, code: string, more: Record<string, string> = {}) => {
    const { status, signal, stdout, stderr } = spawnSync(file, ["-c", code], { cwd: directory, encoding: "utf8", timeout: 60_000, env: { ...env, PYCDS: "on", ...more } });
    return { status, signal, stdout, stderr };
  };

  describe("SIGINT before the program runs", () => {
    it("while the process is still being made: raised in the program's first line", () => {
      const { file, status } = image("early", "import os, signal\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))\n");
      expect(status).toBe(0);
      const { signal, stdout, stderr } = start(file, "import time; print('sleeps'); time.sleep(30)");
      expect({ signal, stdout }).toEqual({ signal: "SIGINT", stdout: "" });
      expect(stderr).toMatch(/^Traceback \(most recent call last\):\n {2}File "<string>", line [01], in <module>\n(?: .*\n)?KeyboardInterrupt\n$/);
    });
    it("hooks can be interrupted", () => {
      const { file, status } = image("hooked", "import os, pycds, signal, time\n@pycds.register_after_restore\ndef hook():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(30)\n");
      expect(status).toBe(0);
      expect(start(file, "print('runs')")).toMatchObject({ signal: "SIGINT", stdout: "", stderr: expect.stringMatching(/in hook\n[^]*KeyboardInterrupt\n$/) as string });
    });
    it("at any moment: it ends by it, neither crashes nor goes on", { timeout: 120_000 }, async () => {
      const { file } = image("plain", "import json, socket, threading\n");
      for (let round = 0; round < 60; round++) {
        const child = spawn(file, ["-c", "import time; time.sleep(50)"], { cwd: directory, env, stdio: "ignore" });
        setTimeout(() => child.kill("SIGINT"), (round % 20) / 2);
        await once(child, "exit");
        expect([child.signalCode, child.exitCode]).toEqual(["SIGINT", null]);
      }
    });
    it("what imports blocked stays so, whatever else the starter has blocked", () => {
      const change = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN + 3])\n";
      const { file, status } = image("blocks", change);
      expect(status).toBe(0);
      const show = "import blocks, signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))";
      for (const blocked of ["", "signal.SIGUSR2, signal.SIGHUP"]) {
        const by = (which: string): string => start(exe, `import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [${blocked}]); os.execv(${JSON.stringify(which)}, [${JSON.stringify(which)}, "-c", ${JSON.stringify(show)}])`).stdout;
        const stock = by(exe);
        expect(stock).toContain("SIGUSR1");
        expect(by(file)).toBe(stock);
      }
    });
    it("who is started in its place has the starter's mask", () => {
      const { file } = image("mask", "");
      const mask = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))";
      for (const program of [exe, file]) for (const mode of ["auto", "off"]) expect(start(program, mask, { PYCDS: mode }).stdout).toBe("set()\n");
    });
  });

  describe("environment", () => {
    it("what C code reads is watched", () => {
      const { file, status } = image("native", "import ctypes\nget = ctypes.CDLL(None).getenv\nget.restype = ctypes.c_char_p\nVALUE = get(b'READ_BY_C'), get(b'NOT_SET_IN_C')\n", { READ_BY_C: "1" });
      expect(status).toBe(0);
      const code = "import native, ctypes; print(native.VALUE, native.get(b'LATER'))";
      expect(start(file, code, { READ_BY_C: "1", LATER: "x" })).toMatchObject({ stdout: "(b'1', None) b'x'\n", stderr: "" });
      expect(start(file, code, { READ_BY_C: "2" }).stderr).toContain("the environment differs: READ_BY_C");
      expect(start(file, code, { READ_BY_C: "1", NOT_SET_IN_C: "" }).stderr).toContain("the environment differs: NOT_SET_IN_C");
    });
    it("as bytes, too", () => {
      const { file } = image("bytewise", "import os\nVALUE = os.environb.get(b'READ_AS_BYTES')\n");
      expect(start(file, "", { READ_AS_BYTES: "1" }).stderr).toContain("the environment differs: READ_AS_BYTES");
    });
    it("who looks through all of it is named", () => {
      const { stderr, status } = image("looker", "import os\nMINE = [name for name in os.environ if name.startswith('MY_')]\n");
      expect({ status, stderr }).toEqual({ status: 0, stderr: "pycds: warning: the whole environment was looked through while importing: looker — variables that are only added later are not noticed\n" });
    });
    it("that of the building is not in the image, but for what is compared", () => {
      const value = "a-value-that-stands-nowhere-else";
      const { file, status } = image("unread", "", { UNREAD: value });
      expect(status).toBe(0);
      expect(readFileSync(file).includes(value)).toBe(false);
      expect(start(file, "import os; print(os.environ['UNREAD'], len(os.environb))", { UNREAD: "now" }).stdout).toMatch(/^now \d+\n$/);
      const read = image("doesread", "import os\nos.environ['UNREAD']\n", { UNREAD: value });
      expect(readFileSync(read.file).includes(value)).toBe(true);
    });
    it("nothing of any value is: long and short ones, one of many", () => {
      // a value's bytes may be overwritten in part where memory was used again: each of its pieces is looked for
      const lengths = [16, 24, 40, 64, 100, 200, 400, 480, 600, 1000, 3000, 20_000, 100_000];
      const values = Object.fromEntries(lengths.flatMap((length) => [0, 1, 2].map((number) => [`UNREAD_${length}_${number}`, randomBytes(length).toString("base64").slice(0, length)])));
      const { file, status } = image("manyunread", "", values);
      expect(status).toBe(0);
      const bytes = readFileSync(file);
      const pieces = (value: string): string[] => Array.from({ length: Math.floor(value.length / 16) }, (_, index) => value.slice(16 * index, 16 * index + 16));
      const stays = Object.entries(values).flatMap(([name, value]) => pieces(value).filter((piece, index) => (index < 40 || index % 50 === 0) && bytes.includes(piece)).map(() => name));
      expect(stays).toEqual([]);
    });
    it("a module's own settings stay", () => {
      const { file } = image("sets", "import os\nos.environ['SET_AT_IMPORT'] = 'yes'\nos.environ.pop('TAKEN', None)\n", { TAKEN: "1" });
      expect(start(file, "import os; print(os.environ['SET_AT_IMPORT'], os.environ.get('TAKEN')); os.system('echo $SET_AT_IMPORT $TAKEN')", { TAKEN: "1" }).stdout.split("\n").sort()).toEqual(["", "yes", "yes None"]);
    });
  });

  it("a thread that ends by itself, or has been joined, is waited for", () => {
    const { status, stderr } = image("threaded", "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.usleep, ctypes.c_void_p(100_000))\n");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  it("a thread that its library makes up for behind a fork does not refuse the image: jemalloc's, which Arrow has", () => {
    const thread = (name: string): string => `import ctypes, time\nlibc = ctypes.CDLL(None)\nthread = ctypes.c_ulong()\nlibc.pthread_create(ctypes.byref(thread), None, libc.sleep, ctypes.c_void_p(60))\nassert libc.pthread_setname_np(thread, b"${name}") == 0\n`;
    const { file, status, stderr } = image("jemalloc_like", thread("jemalloc_bg_thd"));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(start(file, "import os; print(os.listdir('/proc/self/task') == [str(os.getpid())])").stdout).toBe("True\n");
    expect(image("others", thread("jemalloc_bg_th"))).toMatchObject({ status: 2, stderr: expect.stringContaining("1 threads run besides the main one") as string });
  });

  it("the start that trains an image runs after-fork handlers, no hooks and no atexit functions; --no-training leaves it out", () => {
    const told = join(directory, "told");
    const source = `import atexit, os, pycds\ndef tell(word):\n    with open(${JSON.stringify(told)}, "a") as file:\n        file.write(word)\nos.register_at_fork(after_in_child=lambda: tell("handler "))\npycds.register_after_restore(tell, "hook ")\natexit.register(tell, "exit ")\n`;
    for (const [name, options, builds] of [["trained", [], "handler "], ["trained_exact", ["--exit", "exact"], "handler "], ["untrained", ["--no-training"], ""]] as const) {
      rmSync(told, { force: true });
      writeFileSync(told, "");
      const { file, status } = image(name, source, {}, options);
      expect({ status, told: readFileSync(told, "utf8") }).toEqual({ status: 0, told: builds });
      expect(start(file, "print(1)").stdout).toBe("1\n");
      expect(readFileSync(told, "utf8")).toBe(`${builds}handler hook exit `);
    }
  });

  describe("randomness", () => {
    it("modules that draw random bytes are named, and get stock functions", () => {
      const { file, status, stderr } = image("draws", "import os, random, secrets, uuid\nfrom os import urandom as mine\nKEY = mine(8), secrets.token_hex(8), uuid.uuid4(), random.SystemRandom().random(), os.getrandom(4)\n");
      expect({ status, stderr }).toEqual({ status: 0, stderr: "pycds: warning: random bytes were drawn while importing, and what was made of them is the same in every start: draws (5) — make keys behind the mark, or in pycds.register_after_restore\n" });
      const state = "import os, posix, random, draws; print(os.urandom is posix.urandom is random._urandom is draws.mine, os.urandom, os.getrandom, os.register_at_fork, random.Random.seed.__code__.co_filename == random.__file__, hasattr(__builtins__, '__pycds_seed__'))";
      expect(start(file, state)).toEqual(start(exe, state));
      expect(start(file, "import draws; print(draws.KEY)").stdout).toBe(start(file, "import draws; print(draws.KEY)").stdout);
    });
    it("draws from ssl's generator are named, too, of code that has ssl's function under another name", () => {
      const { file, status, stderr } = image("ssldraws", "import ssl\nfrom _ssl import RAND_bytes as mine\nKEY = mine(8), ssl.RAND_bytes(8)\n");
      expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("the same in every start: ssldraws (2) — ") as string });
      const state = "import _ssl, ssl, ssldraws, importlib.machinery as m; print(ssl.RAND_bytes is _ssl.RAND_bytes is ssldraws.mine, ssl.RAND_bytes, m.ExtensionFileLoader.exec_module.__qualname__)";
      expect(start(file, state)).toEqual(start(exe, state));
      expect(start(file, "import ssldraws; print(ssldraws.KEY)").stdout).toBe(start(file, "import ssldraws; print(ssldraws.KEY)").stdout);
      expect(image("sslquiet", "import ssl\nssl.create_default_context()\n")).toMatchObject({ status: 0, stderr: "" });
    });
    it("none are named where none are drawn", () => {
      expect(image("quiet", "import random, secrets, uuid, tempfile, multiprocessing.process, email.generator\n")).toMatchObject({ status: 0, stderr: "" });
    });
    const seeds = (name: string, program: string, source: string, code: string): void => {
      const { file, status, stderr } = image(name, source, {}, [], program);
      expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("seeded while importing, so every start begins with the same state, as in stock: ") as string });
      expect(start(file, code).stderr).toBe("");
      expect(start(file, code).stdout).toBe(start(program, code).stdout);
      expect(start(file, code).stdout).toBe(start(program, code).stdout);
    };
    it("random.seed at import is kept, as in stock; random.seed() is not a seed", () => {
      seeds("seeded", exe, "import random\nrandom.seed(0)\nFIRST = random.random()\n", "import random, seeded, os; print(seeded.FIRST, random.random(), random.gauss(0, 1))");
      const { file } = image("reseeded", "import random\nrandom.seed(0)\nrandom.seed()\n");
      expect(start(file, "import random; print(random.random())").stdout).not.toBe(start(file, "import random; print(random.random())").stdout);
    });
    it.skipIf(withNumpy === undefined)("numpy.random.seed, too (PYCDS_TEST_WARM_PYTHONS names an interpreter that has numpy)", () => {
      seeds("seeded_numpy", withNumpy ?? "", "import numpy.random\nnumpy.random.seed(0)\n", "import seeded_numpy, numpy; print(numpy.random.random())");
    });
  });

  it("a library that was loaded by hand is refused by name, unless it is allowed", () => {
    const source = spawnSync(exe, ["-I", "-c", "import _json; print(_json.__file__)"], { encoding: "utf8" }).stdout.trim();
    const library = join(directory, "libstray.so.1");
    copyFileSync(source, library);
    const code = `import ctypes\nLIBRARY = ctypes.CDLL(${JSON.stringify(library)})\n`;
    expect(image("stray", code)).toMatchObject({ status: 2, stderr: expect.stringContaining("it loaded libraries by itself (ctypes, cffi, plug-ins) that have not been checked: libstray — if what they keep survives os.fork(), add --allow libstray") as string });
    expect(image("stray", code, {}, ["--allow", "libstray"])).toMatchObject({ status: 0, stderr: "" });
  });
});
