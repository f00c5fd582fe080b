/**
 * Classes made with less work (native/runtime/types.c, docs/types.md): each
 * program prints what it prints in stock, fast and under the comparison; each
 * rule has a class that needs it; a fault of ours is seen by the self-test, and
 * by the comparison where there is none.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import type { Served } from "../support/served.ts";
import { World } from "../validity/world.ts";
import { cases as classCases, libraries } from "./cases.ts";
import { casesBetween } from "./cases-between.ts";

const cases = [...classCases, ...casesBetween];
const root = fileURLToPath(new URL("../../", import.meta.url));

const isKnown = ({ version }: Served): boolean => ["3.11", "3.12", "3.13", "3.14"].includes(version) && process.arch === "x64";

/** Programs whose classes stock must make, by the rule that says so. The class `ok` beside each of them differs in that alone. */
const rules: readonly (readonly [string, string, string])[] = [
  ["arguments", "a name that is a subclass of str", "class S(str): pass\nmark()\ntype(S('A'), (), {'__module__': 'm'})"],
  ["arguments", "a namespace whose __iter__ is its own", "class D(dict):\n    def __iter__(self): return iter(list(super().keys()))\nmark()\ntype('A', (), D(__module__='m'))"],
  ["metaclass", "mro() of its own", "class M(type):\n    def mro(cls): return super().mro()\nmark()\nM('A', (), {'__module__': 'm'})"],
  ["metaclass", "__del__", "class M(type):\n    def __del__(cls): pass\nmark()\nM('A', (), {'__module__': 'm'})"],
  ["bases", "a builtin base", "type('A', (dict,), {'__module__': 'm'})"],
  ["bases", "an ancestor that is builtin", "B = type('B', (list,), {'__module__': 'm'})\nmark()\ntype('A', (B,), {'__module__': 'm'})"],
  ["bases", "a base that is no class", "try: type('A', (5,), {'__module__': 'm'})\nexcept TypeError: pass"],
  ["bases", "two bases, one with a name to be asked for", "class M(type):\n    def __getattribute__(cls, n): return super().__getattribute__(n)\nB = M('B', (), {'__module__': 'm'})\nC = type('C', (), {'__module__': 'm'})\nmark()\nM('A', (B, C), {'__module__': 'm'})"],
  ["bases", "two bases, one with a __name__ of its metaclass's", "class M(type): __name__ = property(lambda c: 'x')\nB = M('B', (), {'__module__': 'm'})\nC = type('C', (), {'__module__': 'm'})\nmark()\nM('A', (B, C), {'__module__': 'm'})"],
  ["namespace", "no __module__, and globals with other keys", "globals()[5] = 1\ntype('A', (), {})"],
  ["values", "__set_name__", "class N:\n    def __set_name__(self, o, n): pass\nn = N()\nmark()\ntype('A', (), {'__module__': 'm', 'n': n})"],
  ["values", "a wrapper as a method", "type('A', (), {'__module__': 'm', '__repr__': object.__repr__})"],
  ["values", "a C type's __new__", "type('A', (), {'__module__': 'm', '__new__': object.__new__})"],
  ["values", "a method of C", "type('A', (), {'__module__': 'm', '__contains__': dict.__contains__})"],
  ["values", "a wrapper, by a name that is not interned", "type('A', (), {'__module__': 'm', ''.join(['__re', 'pr__']): object.__repr__})"],
  ["slots", "an iterator", "type('A', (), {'__module__': 'm', '__slots__': iter(('a',))})"],
  ["slots", "names that are no exact strs", "class S(str): pass\nmark()\ntype('A', (), {'__module__': 'm', '__slots__': (S('a'),)})"],
  ["slots", "by a name that is not interned", "type('A', (), {'__module__': 'm', ''.join(['__sl', 'ots__']): iter(('a',))})"],
  ["cell", "with something in it", "c = (lambda v: (lambda: v))([]).__closure__[0]\ntype('A', (), {'__module__': 'm', '__classcell__': c})"],
  ["cell", "no cell", "try: type('A', (), {'__module__': 'm', '__classcell__': 5})\nexcept TypeError: pass"],
  ["cell", "by a name that is not interned", "c = (lambda v: (lambda: v))([]).__closure__[0]\ntype('A', (), {'__module__': 'm', ''.join(['__cla', 'sscell__']): c})"],
];

const status = "import json, _pycds\ndef told(): return _pycds.status()['types']\nlast = told()\ndef mark():\n    global last\n    last = told()\n";
const since = "now = told()\nprint(json.dumps({'fast': now['fast'] - last['fast'], 'anew': now['anew'] - last['anew'], 'stock': {k: v - last['stock'].get(k, 0) for k, v in now['stock'].items() if v != last['stock'].get(k, 0)}}))\n";

interface Told {
  readonly mode: string;
  readonly reason: string | null;
  readonly fast: number;
  readonly anew: number;
  readonly stock: Readonly<Record<string, number>>;
  readonly checked: number;
  readonly mismatches: number;
}

describe.each(served().filter((each) => !isKnown(each) && each.python !== undefined))("$name", ({ python }) => {
  it("classes are stock's, and status() says why", () => {
    const world = new World(python?.exe ?? "");
    try {
      world.write("lib/mod.py", "");
      world.write("all.py", "import mod, json\ntry:\n    import _pycds\n    print(json.dumps(_pycds.status().get('types')))\nexcept ImportError:\n    pass\n");
      world.archive(["all.py"]);
      const { outcome } = world.archived(["all.py"], { PYCDS: "on", PYCDS_TYPES: "fast" });
      expect(JSON.parse(outcome.stdout)).toMatchObject({ mode: "stock", reason: "not on this Python version", fast: 0 });
    } finally {
      world.remove();
    }
  }, 60_000);
});

for (const { name: title, version, python } of served().filter(isKnown)) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      for (const [file, text] of Object.entries(libraries)) world.write(file, text);
      world.write("all.py", "import show\n");
      world.archive(["all.py"]);
      for (const [at, [, program]] of cases.entries()) world.write(`case${at}.py`, program);
    }, 120_000);
    afterAll(() => world.remove());

    let runs = 0;
    /** A run, its lines about types, and the numbers of the last of them. */
    const run = (file: string, mode: string, extra: Readonly<Record<string, string>> = {}): { stdout: string; stderr: string; lines: string[]; numbers: Record<string, number> } => {
      const log = world.path(`types.${(runs += 1)}.log`);
      const { outcome } = world.direct([file], { PYCDS: "on", PYCDS_TYPES: mode, PYTHONHASHSEED: "1", PYCDS_LOG: log, ...extra });
      const lines = readFileSync(log, "utf8").split("\n").filter((line) => line.startsWith("pycds: types "));
      const numbers: Record<string, number> = {};
      for (const [, name = "", value] of (lines.at(-1) ?? "").matchAll(/(\w+)=(\d+)/g)) numbers[name] = Number(value);
      return { stdout: outcome.stdout, stderr: outcome.stderr, lines, numbers };
    };
    const program = (text: string, mode = "fast", extra: Readonly<Record<string, string>> = {}): string => {
      world.write("program.py", `${status}${text}\n`);
      const { stdout, stderr } = run("program.py", mode, extra);
      expect(stderr).toBe("");
      return stdout.trim();
    };
    const told = (mode: string, text = "", extra: Readonly<Record<string, string>> = {}): Told => JSON.parse(program(`${text}\nprint(json.dumps(told()))`, mode, extra)) as Told;

    it.each(cases.map(([name], at) => [name, at] as const))("%s", (_name, at) => {
      const stock = world.stock([`case${at}.py`], { PYTHONHASHSEED: "1" });
      expect(stock.stderr).toBe("");
      const fast = run(`case${at}.py`, "fast");
      expect(fast.stdout).toBe(stock.stdout);
      expect(fast.stderr).toBe("");
      expect(fast.numbers["fast"]).toBeGreaterThan(0);
      const checked = run(`case${at}.py`, "check");
      expect(checked.lines.filter((line) => line.includes("mismatch:"))).toEqual([]);
      expect(checked.numbers["checked"]).toBeGreaterThan(0);
      expect(checked.numbers["mismatches"]).toBe(0);
      expect(checked.stdout).toBe(stock.stdout);
    }, 120_000);

    it("a class like those below is made fast", () => {
      expect(JSON.parse(program(`type('A', (), {'__module__': 'm', '__len__': lambda s: 1, '__slots__': ('a',), 'x': 1})\n${since}`))).toEqual({ fast: 1, anew: 0, stock: {} });
      expect(JSON.parse(program(`class M(type): pass\nB = M('B', (), {'__module__': 'm'})\nC = type('C', (), {'__module__': 'm'})\nmark()\nM('A', (B, C), {'__module__': 'm'})\n${since}`))).toEqual({ fast: 1, anew: 0, stock: {} });
      expect(JSON.parse(program(`A = type('A', (), {})\nassert A.__module__ == '__main__'\n${since}`))).toEqual({ fast: 1, anew: 0, stock: {} });
      expect(JSON.parse(program(`class B:\n    def __init_subclass__(cls): pass\nmark()\nclass A(B, KeyError):\n    def __init__(self): super().__init__()\n${since}`))).toEqual({ fast: 1, anew: 0, stock: {} });
    }, 60_000);

    it.each(rules)("%s: %s", (rule, _what, text) => {
      expect(JSON.parse(program(`mark()\n${text}\n${since}`))).toEqual({ fast: 0, anew: 0, stock: { [rule]: 1 } });
    }, 60_000);

    it("a metaclass that another one wins over: stock passes it on, and the other's class is fast", () => {
      const text = "class M(type): pass\nB = M('B', (), {'__module__': 'm'})\nmark()\nprint(type(type.__new__(type, 'A', (B,), {'__module__': 'm'})) is M)\n";
      expect(program(`${text}${since}`).split("\n").map((line) => line.trim())).toEqual(["True", '{"fast": 1, "anew": 0, "stock": {"bases": 1}}']);
    }, 60_000);

    it("a second base with a wrapper: the class is made anew by stock, and the first is gone", () => {
      const text = "class B: __repr__ = BaseException.__repr__\nclass C: pass\nmark()\nclass A(C, B): me = lambda s: __class__\nprint(C.__subclasses__() == [A], A().me() is A)\n";
      expect(program(`${text}${since}`).split("\n").map((line) => line.trim())).toEqual(["True True", '{"fast": 0, "anew": 1, "stock": {}}']);
    }, 60_000);

    it.runIf(version !== "3.11")("typing.Generic, a C type without slots: fast; not once it got one", () => {
      const text = "import typing\nmark()\nclass A(typing.Generic[typing.TypeVar('T')]): pass\nclass B(A[int]):\n    def __len__(self): return 2\nprint(len(B()))\n";
      expect(program(`${text}${since}`).split("\n").map((line) => line.trim())).toEqual(["2", '{"fast": 2, "anew": 0, "stock": {}}']);
      expect(program(`import typing\ntyping.Generic.__len__ = lambda s: 7\n${text}print(len(A()))\n${since}`).split("\n").map((line) => line.trim())).toEqual(["2", "7", '{"fast": 0, "anew": 0, "stock": {"bases": 2}}']);
    }, 60_000);

    it("is off unless asked for, and says why", () => {
      expect(told("stock")).toMatchObject({ mode: "stock", reason: "not asked for", fast: 0 });
      expect(told("")).toMatchObject({ mode: "stock", reason: "not asked for" });
      expect(told("quick")).toMatchObject({ mode: "stock", reason: "PYCDS_TYPES is none of fast, check and stock" });
      expect(told("fast", "_pycds.disable()\nclass A: pass")).toMatchObject({ mode: "stock", reason: "disabled" });
      expect(told("fast")).toMatchObject({ mode: "fast", reason: null });
      expect(told("check")).toMatchObject({ mode: "check", reason: null });
    }, 60_000);

    it("with keys that are no strings about, classes are stock's from then on", () => {
      const odd = "import warnings; warnings.simplefilter('ignore')\n";
      expect(told("fast", `${odd}type('A', (), {'__module__': 'm', 5: 1})\nn = told()['fast']\nclass B: pass\nassert told()['fast'] == n`)).toMatchObject({ mode: "stock", reason: "a class has keys that are no strings" });
      // also of classes that stock makes for another reason
      expect(told("fast", `${odd}type('A', (dict,), {5: 1})`)).toMatchObject({ mode: "stock" });
    }, 60_000);

    it("with a second interpreter, classes are stock's as long as it is there", () => {
      const make = "try:\n    import _interpreters as i\nexcept ImportError:\n    import _xxsubinterpreters as i\nmine = i.create()\n";
      const inside = 'i.run_string(mine, "class A:\\n    def __len__(self): return 4\\nassert len(A()) == 4\\nclass B(A): pass\\nassert len(B()) == 4\\n")\n';
      const { fast, stock } = JSON.parse(program(`${make}mark()\nclass A: pass\n${inside}${since}i.destroy(mine)`)) as Told;
      expect([fast, Object.keys(stock)]).toEqual([0, ["interpreters"]]);
      expect(JSON.parse(program(`${make}${inside}i.destroy(mine)\nmark()\nclass A: pass\n${since}`))).toEqual({ fast: 1, anew: 0, stock: {} });
    }, 60_000);

    it("the self-test leaves no class behind", () => {
      const names = "import gc\ndef below(c):\n    for s in type.__subclasses__(c): yield (s.__module__, s.__qualname__); yield from below(s)\n";
      const list = `${names}seen = sorted(set(below(object)))\nprint([s for s in seen if 'pycds' in s[0] + s[1] or '__module__' in s], len([o for o in gc.get_objects() if type(o) is type and o.__name__ in ('pycds', '__module__')]))\n`;
      expect(program(list)).toBe("[] 0");
    }, 60_000);

    /** A runtime that gives each class a wrong tp_hash; `level` 2 skips the self-test. */
    const sabotaged = (level: 1 | 2): string => {
      const library = world.path(`_pycds_sabotaged_${level}.so`);
      const sources = readdirSync(join(root, "native/runtime")).filter((file) => file.endsWith(".c")).map((file) => join(root, "native/runtime", file));
      const include = ["native/include", "native/vendor"].map((folder) => `-I${join(root, folder)}`);
      execFileSync("cc", ["-std=c11", "-O1", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,nodelete", `-DPYCDS_TYPES_SABOTAGE=${level}`, ...include, "-o", library, ...sources]);
      return library;
    };

    it("a fault is seen by the self-test, which turns it off; without it by the comparison", () => {
      const text = "class A:\n    def __hash__(self): return 7\nclass B: pass\nprint(json.dumps(told()))";
      const read = (mode: string, level: 1 | 2): { told: Told; lines: string[] } => {
        world.write("program.py", `${status}${text}\n`);
        const { stdout, lines } = run("program.py", mode, { PYCDS_LAUNCH_RUNTIME: sabotaged(level) });
        return { told: JSON.parse(stdout) as Told, lines };
      };
      for (const mode of ["fast", "check"]) {
        const { told: it, lines } = read(mode, 1);
        expect(it).toMatchObject({ mode: "stock", reason: "the self-test's classes differ from stock's", fast: 0 });
        expect(lines[0]).toBe("pycds: types off: the self-test's classes differ from stock's");
      }
      const { told: checked, lines } = read("check", 2);
      expect(checked.mode).toBe("check");
      expect(checked.mismatches).toBe(checked.checked);
      expect(checked.mismatches).toBeGreaterThanOrEqual(2);
      expect(lines).toContain("pycds: types mismatch: B, 1 slots");
    }, 180_000);
  });
}
