/**
 * The collector, deferred during outermost imports (native/runtime/gc.c,
 * docs/gc.md): what a program asks of gc it is told as by stock, and what it
 * does to gc has stock's effect. Each case prints what must be equal in both.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import type { Served } from "../support/served.ts";
import { World } from "./world.ts";

/** litter(n): n objects in cycles; how many of them are still there. pace(): the collector comes as often as in stock. */
const litter = [
  "import weakref",
  "class Node: pass",
  "def litter(n):",
  "    refs = []",
  "    for _ in range(n):",
  "        node = Node(); node.self = node",
  "        refs.append(weakref.ref(node))",
  "    return refs",
  "def alive(refs): return sum(r() is not None for r in refs)",
  "def pace(): return alive(litter(20000)) < 15000",
].join("\n");

/** Enough containers for stock's collector to come several times. */
const many = "things = [[i, {i: i}] for i in range(30000)]\n";

const modules: Readonly<Record<string, string>> = {
  "lib/litter.py": `${litter}\n`,
  "lib/big.py": many,
  "lib/outer.py": `${many}import inner\n`,
  "lib/inner.py": many,
  "lib/asks.py": `${many}import gc\ntold = gc.isenabled(), gc.get_threshold(), gc.get_debug(), min(gc.get_count()) >= 0, gc.get_threshold()\n`,
  "lib/collects.py": `import gc, litter\n${many}refs = litter.litter(100)\ngc.collect()\nleft = litter.alive(refs)\n`,
  "lib/collects_young.py": `import gc, litter\nrefs = litter.litter(100)\ngc.collect(0)\nleft = litter.alive(refs)\n`,
  "lib/sets.py": `import gc, litter\ngc.set_threshold(50)\ncame = litter.alive(litter.litter(5000)) < 1000\ntold = gc.get_threshold()\n`,
  "lib/disables.py": `import gc, litter\ngc.disable()\nstayed = litter.alive(litter.litter(5000))\n`,
  "lib/enables.py": `import gc, litter\ngc.disable(); gc.enable()\ncame = litter.pace()\n`,
  "lib/listens.py": `import gc\nevents = []\ndef heard(phase, info): events.append(phase)\ngc.callbacks.append(heard)\nimport inner\n`,
  "lib/freezes.py": `${many}import gc\ngc.freeze()\nfrozen = gc.get_freeze_count() > 60000\nimport inner\nsame = gc.get_freeze_count() > 60000\ngc.unfreeze()\n`,
  "lib/looks.py": `import gc\nthing = [[]]\nyoung = any(o is thing for o in gc.get_objects(generation=0)), any(o is thing for o in gc.get_objects())\n`,
  "lib/debugs.py": `import gc, io, sys\ngc.set_debug(gc.DEBUG_SAVEALL)\nimport litter\nlitter.litter(3000)\ngc.set_debug(0)\nsaved = len(gc.garbage) > 0\ndel gc.garbage[:]\n`,
  "lib/fails.py": `${many}import inner\nraise ValueError('as it should')\n`,
  "lib/exits.py": `${many}raise SystemExit(3)\n`,
  "lib/forks.py": `${many}import os, sys, litter\npid = os.fork()\nif pid == 0:\n    import gc\n    told = gc.isenabled(), gc.get_threshold()\nelse:\n    status = os.waitpid(pid, 0)[1]\n`,
  "lib/slow.py": `import builtins, time\n${many}builtins.begun.set()\nbuiltins.ended.wait(20)\n`,
  "lib/floods.py": `import litter\ncame = litter.alive(litter.litter(450000)) < 449000\n`,
  "lib/serves.py": `import litter\nthings = [[] for _ in range(120000)]\ncame = litter.pace()\n`,
  "lib/offs.py": `import litter\ntry:\n    import _pycds\n    _pycds.disable()\nexcept ImportError:\n    pass\ncame = litter.pace()\n`,
  "lib/takes.py": "from gc import collect, get_threshold\n",
  "lib/finals.py": `import litter, weakref\ngone = []\nclass Noisy:\n    def __del__(self): gone.append(1)\nfor i in range(5000):\n    n = Noisy(); n.me = n\nkept = [weakref.ref(litter.Node(), gone.append) for _ in range(3)]\n`,
  "lib/interpreters_.py": `${many}try:\n    import _interpreters as i\n    make = i.create\nexcept ImportError:\n    import _xxsubinterpreters as i\n    make = i.create\nmine = make()\ni.run_string(mine, "import gc\\nassert gc.isenabled() and gc.get_threshold()[0] in (700, 2000), gc.get_threshold()\\ngc.collect(); gc.disable()")\ni.destroy(mine)\n`,
};

const cases: readonly (readonly [string, string])[] = [
  ["what gc says during an import, and after", "import gc, litter, asks\nprint(asks.told, gc.isenabled(), gc.get_threshold(), litter.pace())"],
  ["after an import the collector comes as ever", "import big, litter, gc\nprint(litter.pace(), gc.isenabled(), gc.get_threshold())"],
  ["nested imports", "import outer, litter, gc\nprint(litter.pace(), gc.get_threshold())"],
  ["gc.collect() in a module's body", "import collects, litter\nprint(collects.left, litter.pace())"],
  ["gc.collect(0) in a module's body", "import collects_young, litter\nprint(collects_young.left <= 1, litter.pace())"],
  ["gc.set_threshold() in a module's body", "import sets, gc\nprint(sets.came, sets.told, gc.get_threshold())"],
  ["gc.set_threshold() before", "import gc, litter\ngc.set_threshold(50)\nimport big\nprint(gc.get_threshold(), litter.alive(litter.litter(5000)) < 1000)"],
  ["gc.disable() in a module's body", "import disables, gc, litter\nprint(disables.stayed, gc.isenabled(), gc.get_threshold(), litter.alive(litter.litter(5000)))"],
  ["gc.disable() before", "import gc, litter\ngc.disable()\nimport big, inner\nprint(gc.isenabled(), gc.get_threshold(), litter.alive(litter.litter(5000)))\ngc.enable()\nprint(litter.pace())"],
  ["gc.enable() in a module's body", "import enables\nprint(enables.came)"],
  ["callbacks from within an import", "import listens, gc\nprint('start' in listens.events, sorted(set(listens.events)))"],
  ["callbacks from before", "import gc\nheard = []\ngc.callbacks.append(lambda phase, info: heard.append(phase))\nimport big\nprint(sorted(set(heard)), gc.callbacks.clear())"],
  ["gc.freeze() in a module's body", "import freezes, gc, litter\nprint(freezes.frozen, freezes.same, gc.get_freeze_count(), litter.pace())"],
  ["what was frozen before stays so", "import gc, litter\ngc.freeze()\nn = gc.get_freeze_count()\nimport big, inner\n# stock takes none of them out either; those that died since are gone\nprint(0 <= n - gc.get_freeze_count() < 50, litter.pace())\ngc.unfreeze()\nprint(gc.get_freeze_count())"],
  ["gc.get_objects() in a module's body", "import looks\nprint(looks.young)"],
  ["gc.set_debug() in a module's body", "import debugs, gc\nprint(debugs.saved, gc.get_debug())"],
  ["an import that fails", "import litter, gc\ntry:\n    import fails\nexcept ValueError as e:\n    print(e)\nprint(litter.pace(), gc.get_threshold())"],
  ["a module that is not there, over and over", "import litter, gc\nfor _ in range(3000):\n    try:\n        import not_there\n    except ImportError:\n        pass\nprint(litter.pace(), gc.get_threshold())"],
  ["an import that ends the program", "import exits"],
  ["a fork in a module's body", "import os, litter, sys\nimport forks\nif forks.pid == 0:\n    os._exit(0 if forks.told[0] and forks.told[1][0] in (700, 2000) and litter.pace() else 1)\nprint(forks.status, litter.pace())"],
  ["a fork while another thread imports", "import os, threading, builtins, litter, gc, warnings\nwarnings.simplefilter('ignore')\nbuiltins.begun, builtins.ended = threading.Event(), threading.Event()\nt = threading.Thread(target=__import__, args=('slow',)); t.start(); builtins.begun.wait()\npid = os.fork()\nif pid == 0: os._exit(0 if litter.pace() else 1)\nprint(os.waitpid(pid, 0)[1]); builtins.ended.set(); t.join(); print(litter.pace())"],
  ["threads that import at once", "import threading, builtins, litter, gc\nbuiltins.begun, builtins.ended = threading.Event(), threading.Event()\nts = [threading.Thread(target=__import__, args=(n,)) for n in ('slow', 'outer', 'big')]\n[t.start() for t in ts]; ts[1].join(); ts[2].join(); builtins.ended.set(); ts[0].join()\nprint(litter.pace(), gc.get_threshold(), gc.isenabled())"],
  ["memory is bounded: a body that makes nothing but cycles", "import floods, litter, gc\nprint(floods.came, litter.pace(), gc.get_threshold())"],
  ["a body that goes on: after a while the collector comes as ever", "import serves, litter, gc\nprint(serves.came, litter.pace(), gc.get_threshold())"],
  ["switched off in a module's body", "import offs, litter\nprint(offs.came, litter.pace())"],
  ["gc's functions are the ones they were", "import takes, gc, inspect, pickle\nfor f in (takes.collect, takes.get_threshold, gc.freeze, gc.get_objects):\n    print(repr(f), f.__name__, f.__qualname__, f.__module__, f.__self__ is gc, f.__doc__, f.__text_signature__, type(f), getattr(gc, f.__name__) is f, pickle.loads(pickle.dumps(f)) is f)\nprint(inspect.signature(gc.collect))\nfor bad in (lambda: gc.collect(9), lambda: gc.collect(1, 2), lambda: gc.freeze(1), lambda: gc.collect(generation='x'), lambda: gc.get_threshold(1)):\n    try: bad()\n    except Exception as e: print(type(e).__name__, e)\nprint(gc.collect(generation=0) >= 0, gc.collect(1) >= 0)"],
  ["gc imported anew", "import sys, gc, litter\nold = gc\ndel sys.modules['gc']\nimport gc, big\nprint(gc.get_threshold(), old.get_threshold(), litter.pace())\ngc.set_threshold(40)\nprint(old.get_threshold())"],
  ["finalizers and weak references of what an import left", "import finals, gc\ngc.collect()\nprint(len(finals.gone), [r() for r in finals.kept])"],
  ["a sub-interpreter in a module's body", "import interpreters_, gc, litter\nprint(gc.isenabled(), gc.get_threshold(), litter.pace())"],
  ["switched off", "import big, litter\ntry:\n    import pycds\n    pycds.disable()\nexcept ImportError:\n    pass\nimport outer, gc\nprint(litter.pace(), gc.get_threshold())"],
];

const status = "import _pycds\ntold = lambda: _pycds.status()['collector']\n";

const isFree = ({ python }: Served): boolean => python?.flavour === "freethreaded";

describe.each(served().filter(isFree))("$name", ({ python }) => {
  // no generations there, and another pace: what counts is that nothing is done
  it("the collector is left alone", () => {
    const world = new World(python?.exe ?? "");
    try {
      world.write("lib/mod.py", "");
      world.write("all.py", "import mod\ntry:\n    import _pycds\n    print(_pycds.status().get('collector'))\nexcept ImportError:\n    pass\n");
      world.archive(["all.py"]);
      expect(world.archived(["all.py"], { PYCDS: "on" }).outcome.stdout).toBe("stock\n");
    } finally {
      world.remove();
    }
  }, 60_000);
});

for (const { name: title, python } of served().filter((each) => !isFree(each))) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      for (const [file, text] of Object.entries(modules)) world.write(file, text);
      const names = Object.keys(modules).map((file) => file.slice("lib/".length, -".py".length));
      const unusual = ["slow", "fails", "exits", "forks", "offs", "interpreters_"];
      // a body that fails or waits is in the trace all the same
      const all = [
        "import builtins, threading, weakref, gc, inspect, pickle, warnings",
        "builtins.begun = builtins.ended = threading.Event(); builtins.ended.set()",
        `for name in ${JSON.stringify([...names.filter((name) => !unusual.includes(name)), ...unusual.filter((name) => name !== "forks" && name !== "offs")])}:`,
        "    try: __import__(name)",
        "    except BaseException: pass",
        "import os, forks",
        "if forks.pid == 0: os._exit(0)",
        "import offs", // ends the trace
      ];
      world.write("all.py", `${all.join("\n")}\n`);
      world.archive(["all.py"]);
      for (const [at, [, program]] of cases.entries()) world.write(`case${at}.py`, `${program}\n`);
    }, 120_000);
    afterAll(() => world.remove());

    it.each(cases.map(([name], at) => [name, at] as const))("%s", (_name, at) => {
      const { outcome, events } = world.direct([`case${at}.py`], { PYCDS: "on" });
      expect(outcome).toEqual(world.stock([`case${at}.py`]));
      expect(outcome.stderr).toBe("");
      expect(events.hit.length).toBeGreaterThan(0);
    }, 60_000);

    const archived = (program: string, env: Readonly<Record<string, string>> = {}): string => {
      world.write("more.py", `${status}${program}\n`);
      const { outcome } = world.direct(["more.py"], { PYCDS: "on", ...env });
      expect(outcome.stderr).toBe("");
      return outcome.stdout.trim();
    };
    /** Early releases of 3.14 have an incremental collector, which is left alone. */
    const isDeferred = (): boolean => archived("print(told())") === "deferred";

    it("does defer: no collection within an import, and its survivors are in the oldest generation", ({ skip }) => {
      if (!isDeferred()) skip("a collector without generations");
      const program = "import outer, gc\nc = gc.get_count()\nprint(sum(s['collections'] for s in gc.get_stats()), c[1:], sum(o is outer.things[-1] for o in gc.get_objects(generation=2)), sum(o is outer.things[-1] for o in gc.get_objects()))";
      // what start-up itself collected before the runtime was there
      const before = "import gc\nprint(sum(s['collections'] for s in gc.get_stats()))";
      expect(archived(program)).toBe(`${archived(before)} (0, 0) 1 1`);
      expect(archived(program, { PYCDS_GC: "stock" })).not.toContain("(0, 0) 1 1");
    });

    it("is off for good once the program has to do with gc, and where PYCDS_GC=stock", ({ skip }) => {
      if (!isDeferred()) skip("a collector without generations");
      expect(archived("import gc\ngc.isenabled(); gc.get_threshold()\nprint(told())\ngc.collect()\nprint(told())")).toBe("deferred\nstock");
      for (const call of ["disable()", "enable()", "freeze()", "unfreeze()", "set_threshold(700)", "set_debug(0)", "get_count()", "get_stats()", "get_objects()", "get_referrers(1)"]) {
        expect([call, archived(`import gc\ngc.${call}\nprint(told())`)]).toEqual([call, "stock"]);
      }
      expect(archived("import gc\ngc.callbacks.append(lambda *_: None)\nimport litter\ngc.callbacks.clear()\nprint(told())")).toBe("stock");
      expect(archived("import floods\nprint(told())")).toBe("stock");
      expect(archived("print(told())", { PYCDS_GC: "stock" })).toBe("stock");
    });

    it("is bounded over all imports of a process", ({ skip }) => {
      if (!isDeferred()) skip("a collector without generations");
      const again = "import sys\nwhile told() == 'deferred' and len(seen) < 40:\n    sys.modules.pop('big', None)\n    import big\n    seen.append(big.things)\n";
      expect(archived(`seen = []\n${again}print(told(), 4 < len(seen) < 10)`)).toBe("stock True");
    });
  });
}
