/**
 * Many threads that import at the same time, in a free-threaded Python on several
 * cores at once: every body runs once, nobody sees a module that is not ready, and
 * what is loaded in the end is what stock loads. Guards native/runtime/runtime.h, "Threads".
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";

/** A part of the standard library that needs no display and no terminal; what a build lacks is ImportError in both. */
const stdlib = [
  "json", "argparse", "asyncio", "unittest.mock", "email.mime.multipart", "http.client", "http.server", "xml.dom.minidom", "xml.etree.ElementTree", "sqlite3", "ssl", "urllib.request",
  "logging.config", "multiprocessing.pool", "concurrent.futures.thread", "concurrent.futures.process", "ctypes.util", "decimal", "fractions", "statistics", "dataclasses", "typing",
  "inspect", "pydoc", "doctest", "cProfile", "tarfile", "zipfile", "tempfile", "subprocess", "xmlrpc.client", "wsgiref.simple_server", "html.parser", "difflib", "csv", "configparser",
  "plistlib", "optparse", "getpass", "gettext", "calendar", "random", "secrets", "hmac", "uuid", "ipaddress", "smtplib", "mailbox", "selectors", "queue", "shelve", "copy", "pprint",
  "graphlib", "ast", "tokenize", "compileall", "zipapp", "venv", "importlib.metadata", "importlib.resources", "zoneinfo",
];

/** argv: threads, seed. Prints one line that does not depend on who was first. */
const hammer = `
import _imp, _random, sys, threading
names = ${JSON.stringify(stdlib)}
count, seed = int(sys.argv[1]), int(sys.argv[2])
start, errors = threading.Barrier(count), []
def work(i):
    r, mine = _random.Random(seed * 1000 + i), list(names)
    for k in range(len(mine) - 1, 0, -1):
        j = int(r.random() * (k + 1))
        mine[k], mine[j] = mine[j], mine[k]
    start.wait()
    for name in mine:
        try:
            __import__(name)
            spec = sys.modules[name].__spec__
            if spec._initializing: errors.append((name, 'not ready'))
        except BaseException as e:
            errors.append((name, repr(e)))
threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
[t.start() for t in threads]
[t.join(120) for t in threads]
left = [n for n, m in list(sys.modules.items()) if getattr(getattr(m, '__spec__', None), '_initializing', False)]
hung = sum(t.is_alive() for t in threads)
print(sorted(m for m in sys.modules if 'pycds' not in m))
print(sorted(set(errors)), left, hung, _imp.lock_held(), len(sys.modules['_frozen_importlib']._module_locks), getattr(sys, '_is_gil_enabled', lambda: True)())
`;

/** Every body says that it ran, waits for nothing, and imports others in circles. */
const crowd = Array.from({ length: 40 }, (_, at) => at);
const bodies = `
import sys, threading, builtins
builtins.ran = []
import crowd # first: stock's importlib takes a module out of sys.modules for a moment at the end of its loading, and others stumble
count = int(sys.argv[1])
start, told = threading.Barrier(count), []
def work(i):
    names = ['crowd.m%d' % ((k * 7 + i * 3) % ${crowd.length}) for k in range(${crowd.length})]
    start.wait()
    try:
        for name in names:
            __import__(name)
            if not sys.modules[name].ready: told.append(name)
    except BaseException as e: told.append(repr(e))
threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
[t.start() for t in threads]
[t.join(60) for t in threads]
print(sorted(ran) == sorted(set(ran)), len(ran), told, sum(t.is_alive() for t in threads), sys.modules['crowd'].m0 is sys.modules['crowd.m0'])
`;

const forks = `
import os, sys, threading, builtins
builtins.ran = []
builtins.begun = threading.Event()
builtins.goon = threading.Event()
def other():
    import sleeps
t = threading.Thread(target=other); t.start(); begun.wait()
pid = os.fork()
if pid == 0:
    import crowd.m0, json.tool
    os.write(1, b'child %d %d\\n' % (crowd.m0.ready, 'json.decoder' in sys.modules)); os._exit(7)
status = os.waitpid(pid, 0)[1]
goon.set(); t.join()
import crowd.m1
print('parent', os.waitstatus_to_exitcode(status), crowd.m1.ready, sys.modules['sleeps'].done)
`;

/** b's import of a looks for it before a's loader has it in sys.modules, and asks for its lock when that thread waits for b. */
const early = `
import builtins, sys, threading, time
builtins.in_a, builtins.in_b = threading.Event(), threading.Event()
import ends
def waits(name):
    ident, seen = next(t.ident for t in threading.enumerate() if t.name == name), 0
    while seen < 5:
        time.sleep(.02)
        code = sys._current_frames()[ident].f_code
        seen = seen + 1 if code.co_name == 'acquire' and 'importlib' in code.co_filename else 0
class Modules(dict):
    looked = False
    def early(self, name):
        if name == 'ends.a' and threading.current_thread().name == 'b' and not self.looked:
            self.looked = True
            waits('a')
            return True
    def get(self, name, default=None):
        return default if self.early(name) else dict.get(self, name, default)
    def __getitem__(self, name):
        if self.early(name): raise KeyError(name)
        return dict.__getitem__(self, name)
sys.modules = Modules(sys.modules)
told = []
def load(name):
    try: __import__('ends.' + name)
    except BaseException as e: told.append(type(e).__name__)
threads = [threading.Thread(target=load, args=(name,), name=name, daemon=True) for name in 'ab']
[t.start() for t in threads]
[t.join(60) for t in threads]
print('hung' if any(t.is_alive() for t in threads) else told[0] if told else 'taken as it is')
`;

const switched = `
import sys, threading, time
names = ${JSON.stringify(stdlib)}
start, errors = threading.Barrier(5), []
def work(i):
    start.wait()
    for name in names[i * 7:] + names[:i * 7]:
        try: __import__(name)
        except BaseException as e: errors.append((name, repr(e)))
def off():
    start.wait()
    while 'asyncio' not in sys.modules: time.sleep(.001)
    try:
        import _pycds
        _pycds.disable()
    except ImportError: pass
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)] + [threading.Thread(target=off)]
[t.start() for t in threads]
[t.join(120) for t in threads]
b = sys.modules['_frozen_importlib']
print(sorted(m for m in sys.modules if 'pycds' not in m), errors, sum(t.is_alive() for t in threads), len(b._module_locks), type(b._find_and_load).__name__)
`;

for (const { name: title, python } of served()) {
  describe.skipIf(python === undefined)(title, { timeout: 240_000 }, () => {
    const free = python?.flavour === "freethreaded";
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      world.write("hammer.py", hammer);
      world.write("bodies.py", bodies);
      world.write("forks.py", forks);
      world.write("switched.py", switched);
      world.write("lib/crowd/__init__.py", "ran.append(__name__)\nready = True\n");
      // each imports one further on, in four circles of ten
      for (const at of crowd) world.write(`lib/crowd/m${at}.py`, `ran.append(__name__)\nimport json, crowd.m${(at + 4) % crowd.length}\nready = True\n`);
      world.write("lib/sleeps.py", "begun.set()\ngoon.wait(60)\ndone = True\n");
      world.write("early.py", early);
      world.write("lib/ends/__init__.py", "");
      world.write("lib/ends/a.py", "import builtins\nif hasattr(builtins, 'in_b'):\n    in_a.set(); in_b.wait(30)\nimport ends.b\n");
      world.write("lib/ends/b.py", "import builtins\nif hasattr(builtins, 'in_b'):\n    in_b.set(); in_a.wait(30)\nimport ends.a\n");
      world.write("all.py", `import ends.a\nimport builtins, threading\nbuiltins.ran = []\nbuiltins.begun = builtins.goon = threading.Event(); goon.set()\nimport sleeps, json.tool\nimport ${crowd.map((at) => `crowd.m${at}`).join(", ")}\nfor name in ${JSON.stringify(stdlib)}:\n    try: __import__(name)\n    except ImportError: pass\n`);
      world.archive(["all.py"]);
    }, 240_000);
    afterAll(() => world.remove());

    it("the standard library, by many threads in different orders: the same sys.modules, each served once", () => {
      const stock = world.stock(["hammer.py", "1", "0"]);
      expect(stock.status).toBe(0);
      expect(stock.stdout.split("\n")[1]).toBe(`[] [] 0 False 0 ${free ? "False" : "True"}`);
      for (let seed = 1; seed <= (free ? 12 : 3); seed += 1) {
        const { outcome, events } = world.archived(["hammer.py", String(2 + (seed % 7) * 2), String(seed)], { PYCDS: "on" });
        expect(outcome).toEqual(stock);
        expect(new Set(events.hit).size).toBe(events.hit.length);
        expect(events.hit.length).toBeGreaterThan(150);
        expect([events.stale, events.refused]).toEqual([[], []]);
      }
    });

    it("bodies that import one another in circles run once each", () => {
      for (let round = 0; round < (free ? 8 : 2); round += 1) {
        const { outcome, events } = world.archived(["bodies.py", "16"], { PYCDS: "on" });
        expect(outcome).toEqual({ status: 0, signal: null, stdout: `True ${crowd.length + 1} [] 0 True\n`, stderr: "" });
        expect(events.hit.filter((name) => name.startsWith("crowd")).sort()).toEqual(["crowd", ...crowd.map((at) => `crowd.m${at}`)].sort());
      }
    });

    it("a child of os.fork, made while another thread imports, imports on", () => {
      const { outcome } = world.archived(["forks.py"], { PYCDS: "on", PYTHONWARNINGS: "ignore" });
      expect(outcome).toEqual(world.stock(["forks.py"], { PYTHONWARNINGS: "ignore" }));
      expect(outcome.stdout).toBe("child 1 1\nparent 7 True True\n");
    });

    it("switched off while threads import", () => {
      const stock = world.stock(["switched.py"]);
      expect(stock.stdout).toMatch(/\[\] 0 0 function\n$/);
      for (let round = 0; round < (free ? 6 : 2); round += 1) expect(world.archived(["switched.py"], { PYCDS: "on" }).outcome).toEqual(stock);
    });

    // 3.9 and 3.10 look with the lock held only, 3.15 locks a package and its modules together
    it.runIf(python !== undefined && python.minor >= 11 && python.minor <= 13)("a statement whose lock would be a deadlock takes what is there, where stock raises if it looks a moment too early (decision 11)", () => {
      expect(world.stock(["early.py"]).stdout).toBe("_DeadlockError\n");
      const { outcome } = world.archived(["early.py"], { PYCDS: "on" });
      expect(outcome).toMatchObject({ status: 0, stdout: "taken as it is\n" });
    });

    it.runIf(free)("with the GIL switched on it is served as well", () => {
      const { outcome, events } = world.archived(["hammer.py", "4", "1"], { PYCDS: "on", PYTHON_GIL: "1" });
      expect(outcome.stdout.split("\n")[1]).toBe("[] [] 0 False 0 True");
      expect(events.hit.length).toBeGreaterThan(150);
    });
  });
}
