/**
 * Module locks (native/runtime/locks.c): a thread that imports what another one
 * is loading waits for it, as in stock; circular imports of two threads end.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";

const prelude = [
  "import threading, sys",
  "def together(*jobs):",
  "    start = threading.Barrier(len(jobs)); told = {}",
  "    def run(i, job):",
  "        start.wait()",
  "        try: told[i] = job()",
  "        except BaseException as e: told[i] = repr(e)",
  "    ts = [threading.Thread(target=run, args=x) for x in enumerate(jobs)]",
  "    [t.start() for t in ts]; [t.join(60) for t in ts]",
  "    return [told.get(i, 'hung') for i in range(len(jobs))]",
].join("\n");

const cases: readonly (readonly [string, string])[] = [
  ["a second thread waits for the first", "def job():\n    import slow\n    return slow.done\nprint(together(job, job, job, job))"],
  ["`from` waits too", "def job():\n    from slow import done\n    return done\nprint(together(job, job))"],
  ["a sub-module and its package", "def one():\n    import ring.a\n    return ring.a.x\ndef two():\n    import ring\n    return ring.x\nprint(together(one, two, one))"],
  ["two threads in a circle end, one of them perhaps with a partial module", "def one():\n    import left\n    return left.x\ndef two():\n    import right\n    return right.x\nprint(all(x != 'hung' for x in together(one, two)))"],
  ["a module that waits for a thread that imports others", "import starter\nprint(starter.told)"],
  ["a module whose body fails releases the waiters", "def job():\n    try:\n        import fails\n    except ValueError as e:\n        return str(e)\ntold = together(job, job, job)\n# a thread that waited gets the module that is being taken away, in stock too (it found it in sys.modules): None here\nprint('as it should' in told, set(told) <= {None, 'as it should'}, 'fails' in sys.modules)"],
  ["a reload while another thread loads", "import importlib\ndef load():\n    import slow\n    return slow.done\ndef reload():\n    while 'slow' not in sys.modules: pass\n    return importlib.reload(sys.modules['slow']).done\nprint(together(load, reload))"],
  ["no lock is left behind", "import importlib._bootstrap as b, slow, gc\ngc.collect()\nprint([n for n in b._module_locks if n == 'slow'], slow.__spec__._initializing)"],
  ["import_module of what another thread reloads (3.9 and 3.10 wait)", "import builtins, importlib, again\nbuiltins.begun = begun = threading.Event(); order = []\ndef reload():\n    importlib.reload(again); order.append('reloaded')\ndef load():\n    begun.wait(); importlib.import_module('again'); order.append('imported')\ntogether(reload, load); print(order)"],
  ["a sub-module of what another thread loads (3.14 waits for it)", "import builtins\nbuiltins.begun = begun = threading.Event()\ndef one():\n    import begins\ndef two():\n    begun.wait()\n    import begins.child\n    return begins.child.ready\nprint(together(one, two))"],
  ["a package whose sub-module another thread wants (3.15 holds both)", "import builtins\nbuiltins.begun = begun = threading.Event()\ndef one():\n    import holds.child\ndef two():\n    begun.wait()\n    import holds\n    return hasattr(sys.modules.get('holds.child'), 'done')\nprint(together(one, two))"],
  ["a module that one thread loads twice at a time", "import builtins\nbuiltins.begun = begun = threading.Event()\ndef one():\n    import nests.child\ndef two():\n    begun.wait()\n    import nests.child\n    return hasattr(nests, 'done')\nprint(together(one, two))"],
  ["a circle of two threads: import_module is told of the deadlock, a statement takes what is there", "import builtins, importlib\nbuiltins.begun = True\nimport circle\ndef job(name):\n    return lambda: importlib.import_module('circle.' + name).told\nprint(together(job('a1'), job('b1')), together(job('a2'), job('b2')))"],
  ["a module that another thread loads between the first look and the lock", "import builtins\nbuiltins.runs = runs = []\nlooked, loaded = threading.Event(), threading.Event()\ndef waits():\n    # C looks in the interpreter's own dict there, so what can be met is the look under the lock\n    return sys.version_info < (3, 11) and any(f.f_code.co_name == 'acquire' and 'importlib' in f.f_code.co_filename for f in sys._current_frames().values())\nclass Modules(dict):\n    def late(self, name):\n        if name == 'late' and threading.current_thread().name == 'first' and not looked.is_set():\n            looked.set()\n            while not (loaded.wait(.02) or waits()): pass\n            return True\n    def get(self, name, default=None):\n        return default if self.late(name) else dict.get(self, name, default)\n    def __getitem__(self, name):\n        if self.late(name): raise KeyError(name)\n        return dict.__getitem__(self, name)\nsys.modules = Modules(sys.modules)\ndef job():\n    import late\n    runs.append(late.value)\nt = threading.Thread(target=job, name='first'); t.start(); looked.wait(30)\nimport late\nloaded.set(); t.join(60)\nprint(runs)"],
  ["switched off in the middle of an import, with a thread waiting", "def one():\n    import switches\n    return switches.done\ndef two():\n    import time; time.sleep(.1)\n    import switches\n    return switches.done\nprint(together(one, two))"],
];

for (const { name: title, python } of served()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      world.write("lib/slow.py", "import time\ntime.sleep(.4)\ndone = True\n");
      world.write("lib/ring/__init__.py", "import time\ntime.sleep(.2)\nfrom . import a\nx = a.x + 1\n");
      world.write("lib/ring/a.py", "import time\ntime.sleep(.2)\nx = 1\n");
      world.write("lib/left.py", "import time\ntime.sleep(.2)\nimport right\nx = 'left'\n");
      world.write("lib/right.py", "import time\ntime.sleep(.2)\nimport left\nx = 'right'\n");
      world.write("lib/starter.py", "import threading\ntold = []\ndef work():\n    import slow, ring.a\n    told.append((slow.done, ring.a.x))\nt = threading.Thread(target=work)\nt.start(); t.join()\n");
      world.write("lib/fails.py", "import time\ntime.sleep(.2)\nraise ValueError('as it should')\n");
      world.write("lib/switches.py", "import time\ntry:\n    import _pycds\n    _pycds.disable()\nexcept ImportError:\n    pass\ntime.sleep(.4)\ndone = True\n");
      const begun = "import builtins, time\nbegun = getattr(builtins, 'begun', None)\nif begun:\n    begun.set(); time.sleep(.5)\n";
      world.write("lib/again.py", begun);
      world.write("lib/begins/__init__.py", `${begun}ready = True\n`);
      world.write("lib/begins/child.py", "import sys\nready = hasattr(sys.modules['begins'], 'ready')\n");
      world.write("lib/holds/__init__.py", begun);
      world.write("lib/holds/child.py", "import time\ntime.sleep(.5)\ndone = True\n");
      world.write("lib/nests/__init__.py", "import nests.child, time\ntime.sleep(.4)\ndone = True\n");
      world.write("lib/nests/child.py", begun);
      // a's import of b waits, since b is being loaded, and only then b imports a
      const circle = ["import builtins, sys, threading, time", "live, start = hasattr(builtins, 'begun'), threading.Barrier(2)", "def meet():", "    if live: start.wait(60)"];
      const waits = ["def other_waits():", "    me, seen = threading.get_ident(), 0", "    while live and seen < 5:", "        time.sleep(.02)"];
      const frames = "[f.f_code for i, f in sys._current_frames().items() if i != me]";
      const count = [`        waiting = any(c.co_name == 'acquire' and 'importlib' in c.co_filename for c in ${frames})`, "        seen = seen + 1 if waiting else 0", ""];
      world.write("lib/circle/__init__.py", [...circle, ...waits, ...count].join("\n"));
      for (const at of [1, 2]) world.write(`lib/circle/a${at}.py`, `import circle\ncircle.meet()\nimport circle.b${at}\ntold = circle.b${at}.told\n`);
      const asks = ["import importlib\ntry:\n    importlib.import_module('circle.a1')\n    told = 'it was there'\nexcept RuntimeError as e:\n    told = type(e).__name__\n", "import circle.a2\ntold = 'it was there'\n"];
      for (const [at, ask] of asks.entries()) world.write(`lib/circle/b${at + 1}.py`, `import circle\ncircle.meet(); circle.other_waits()\n${ask}`);
      world.write("lib/late.py", "import builtins\nif hasattr(builtins, 'runs'): builtins.runs.append(__name__)\nvalue = 1\n");
      world.write("all.py", "import late, again, begins.child, holds.child, nests.child, circle.a1, circle.b1, circle.a2, circle.b2\nimport threading, slow, ring, left, starter, importlib\ntry:\n    import fails\nexcept ValueError: pass\nimport switches\n");
      world.archive(["all.py"]);
      for (const [at, [, program]] of cases.entries()) world.write(`case${at}.py`, `${prelude}\n${program}\n`);
    });
    afterAll(() => world.remove());

    it.each(cases.map(([name], at) => [name, at] as const))("%s", (_name, at) => {
      const others = python?.flavour === "freethreaded" ? 10 : 0;
      for (let round = 0; round < 3; round += 1) {
        const { outcome, events } = world.archived([`case${at}.py`], { PYCDS: "on" });
        // without a GIL stock's own threads may meet in a deadlock that it reports, or pass each other: as one of its runs (decision 11)
        let stock = world.stock([`case${at}.py`]);
        for (let again = 0; again < others && stock.stdout !== outcome.stdout; again += 1) stock = world.stock([`case${at}.py`]);
        expect(outcome).toEqual(stock);
        expect(outcome.stdout).not.toContain("hung");
        expect(events.hit.length).toBeGreaterThan(0);
      }
    }, 240_000);
  });
}
