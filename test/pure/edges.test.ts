/**
 * Where results of pure functions must be stock's: another re than the standard
 * library's, frames that somebody counts from C, and KeyboardInterrupt out of source strings.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Place } from "../places/place.ts";
import { served } from "../support/served.ts";

const compiles = Array.from({ length: 12 }, (_, number) => `import re; p${number} = re.compile(r'number ${number} (\\w+)[a-z]')`).join("\n");
const show = `print([getattr(uses, 'p%d' % n).flags for n in range(12)], uses.p3.match('number 3 x\\u00e9z'))`;

for (const { name: title, python } of served().filter(({ python: one }) => one?.flavour !== "freethreaded")) {
  const minor = python?.minor ?? 0;
  const [parser, compiler] = minor >= 11 ? ["re/_parser.py", "re._parser"] : ["sre_parse.py", "sre_parse"];
  describe.skipIf(python === undefined)(title, () => {
    let world: Place;
    let archive = "";
    beforeAll(() => {
      world = new Place(python?.exe ?? "");
      world.write("lib/uses.py", `${compiles}\n`);
      world.write("lib/execs.py", [
        "import sys",
        "def once():",
        "    try: exec('raise KeyboardInterrupt # archived')",
        "    except KeyboardInterrupt: print('caught')",
        "def stocks():",
        "    try: exec('raise KeyboardInterrupt # ' + str(sys.argv))",
        "    except KeyboardInterrupt: print('caught')",
        "def later(): exec('done = 1 # archived')",
        "def value():",
        "    try: eval('interrupt()', {'interrupt': interrupt})",
        "    except KeyboardInterrupt: print('caught')",
        "def interrupt(*_): raise KeyboardInterrupt",
        "if len(sys.argv) == 1: once(); value(); later()",
        "for name in sys.argv[1:]: globals()[name]()",
      ].join("\n"));
      world.write("main.py", `import uses, execs\n${show}\n`);
      archive = world.build("app.pycds", [world.exe, world.path("main.py")]);
    });
    afterAll(() => world.remove());

    /** What stock says and how it ends, which the archived run must too; and how many results that was served. */
    const both = (argv: readonly string[], extra: Readonly<Record<string, string>> = {}): { readonly stdout: string; readonly ended: string | number | null; readonly patterns: number; readonly sources: number } => {
      const stock = world.spawn([world.exe, ...argv], extra);
      const { outcome, log } = world.launched([archive], [world.exe, ...argv], extra);
      expect(outcome).toEqual(stock);
      const [, sources = "", patterns = ""] = /pure sources=(\d+) patterns=(\d+)/.exec(readFileSync(log, "utf8")) ?? [];
      return { stdout: stock.stdout, ended: stock.signal ?? stock.status, patterns: Number(patterns), sources: Number(sources) };
    };

    it("serves patterns of the standard library's re, imported before activation or after", () => {
      expect(both([world.path("main.py")]).patterns).toBeGreaterThanOrEqual(12);
      world.write("quiet/sitecustomize.py", "import re\n");
      expect(both([world.path("main.py")], { PYTHONPATH: `${world.path("quiet")}:${world.path("lib")}` }).patterns).toBeGreaterThanOrEqual(12);
    });

    it.each([
      ["a function", "parser.fix_flags = lambda src, flags, stock=parser.fix_flags: stock(src, flags) | 256"],
      ["a method", "parser.Tokenizer.get = lambda self, stock=parser.Tokenizer.get: (counted.append(1), stock(self))[1]"],
      ["re._compile", "re._compile = lambda pattern, flags, stock=re._compile: stock(pattern, flags | 256)"],
    ])("a sitecustomize that replaces %s of it: its results", (_, patch) => {
      world.write("custom/sitecustomize.py", `import re, ${compiler} as parser\ncounted = []\n${patch}\n`);
      const code = `import uses, sitecustomize, sys\n${show}\nprint(len(sitecustomize.counted))`;
      const { patterns: count, stdout } = both(["-c", code], { PYTHONPATH: `${world.path("custom")}:${world.path("lib")}` });
      // re._compile is above what is served; in 3.11 it is what asks for it
      if (patch.startsWith("parser.")) expect(count).toBe(0);
      expect(stdout).toMatch(patch.includes("256") ? /^\[(288|256), / : /\n[1-9]\d+\n$/);
    });

    it("a PYTHONPATH with a re of its own: its results", () => {
      const stdlib = world.stock(["-c", "import os; print(os.path.dirname(os.__file__))"]).stdout.trim();
      mkdirSync(world.path("shadow"), { recursive: true });
      for (const name of ["re", "re.py", "sre_parse.py", "sre_compile.py", "sre_constants.py"]) {
        if (existsSync(join(stdlib, name))) cpSync(join(stdlib, name), world.path("shadow", name), { recursive: true, filter: (file) => !file.includes("__pycache__") });
      }
      world.write(`shadow/${parser}`, `${readFileSync(world.path("shadow", parser), "utf8")}\nfix_flags = lambda src, flags, stock=fix_flags: stock(src, flags) | 256\n`);
      const { patterns: count, stdout } = both([world.path("main.py")], { PYTHONPATH: `${world.path("shadow")}:${world.path("lib")}`, PYTHONDONTWRITEBYTECODE: "1" });
      expect([count, stdout]).toEqual([0, expect.stringContaining("[288, 288, ")]);
    });

    it("a frame evaluator (PEP 523), and a profiler set from C with NULL, see re's frames", () => {
      world.write("count.c", [
        "typedef struct PyObject PyObject; typedef struct PyThreadState PyThreadState; typedef struct PyInterpreterState PyInterpreterState;",
        "extern PyInterpreterState *PyInterpreterState_Get(void);",
        "extern PyObject *_PyEval_EvalFrameDefault(PyThreadState *, void *, int);",
        "extern void _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState *, PyObject *(*)(PyThreadState *, void *, int));",
        "extern void PyEval_SetProfile(int (*)(PyObject *, void *, int, PyObject *), PyObject *);",
        "static long frames;",
        "static PyObject *evaluate(PyThreadState *t, void *f, int e) { frames++; return _PyEval_EvalFrameDefault(t, f, e); }",
        "static int profile(PyObject *o, void *f, int what, PyObject *a) { (void)o, (void)f, (void)a; frames += what == 0; return 0; }",
        "__attribute__((visibility(\"default\"))) long count(int how) {",
        "    long now = frames;",
        "    if (how == 1) _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), evaluate);",
        "    if (how == 2) PyEval_SetProfile(profile, 0);",
        "    if (how == 3) { _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), _PyEval_EvalFrameDefault); PyEval_SetProfile(0, 0); }",
        "    frames = 0;",
        "    return now;",
        "}",
      ].join("\n"));
      execFileSync(process.env["CC"] ?? "cc", ["-shared", "-fPIC", "-O1", world.path("count.c"), "-o", world.path("count.so")]);
      const hows = minor >= 12 ? [1, 2] : [1]; // sys tells nothing of a NULL argument before sys.monitoring: docs/differences.md
      for (const how of hows) {
        const code = `import ctypes, re, uses\nlib = ctypes.PyDLL(${JSON.stringify(world.path("count.so"))})\nlib.count.restype = ctypes.c_long\nre.purge()\nlib.count(${how})\nre.compile(r'number 1 (\\w+)[a-z]')\nprint(lib.count(3) > 15)\nre.compile(r'number 2 (\\w+)[a-z]')`;
        const { stdout, patterns: count } = both(["-c", code]);
        expect(stdout).toBe("True\n");
        expect(count).toBeGreaterThanOrEqual(13);
      }
    });

    // the process ends as by SIGINT when the exception left a string's code last (until 3.13), caught or not
    it.each(["once", "once later", "value", "later", "stocks", "stocks later", "once value later", "later once"])("a KeyboardInterrupt out of source strings: %s", (text) => {
      const words = text.split(" ");
      world.write("interrupt.py", "import execs\n");
      const { ended, sources } = both([world.path("interrupt.py"), ...words]);
      const marked = words.at(-1) !== "later" && minor < 14;
      expect(ended).toBe(marked ? "SIGINT" : 0);
      expect(sources > 0).toBe(words[0] !== "stocks" || (words.length > 1 && (minor < 12 || minor > 13)));
    });
  });
}
