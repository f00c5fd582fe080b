/**
 * Valid means: stock would have loaded the same code (design.md, decision 5).
 * Each case changes the world after the archive was built and compares the next
 * archived start with the next stock start. Every case also says what the log
 * must show, so that a run that silently fell back everywhere would not pass.
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";

const all = served();

for (const { name: title, version, python } of all) {
  const minor = Number.parseInt(version.split(".")[1] ?? "", 10);
  describe.skipIf(python === undefined)(title, () => {
    let world: World;

    beforeEach(() => {
      world = new World(python?.exe ?? "");
      world.write("lib/pkg/__init__.py", "from . import inner\nvalue = 'pkg ' + inner.value\n");
      world.write("lib/pkg/inner.py", "value = 'inner'\ndef f(x, *, y={1, 2}):\n    return x in {'a', 'b', None}\n");
      world.write("lib/plain.py", "value = 'plain one'\nname = __name__\n");
      world.write("lib/space/part.py", "value = 'a namespace portion'\n");
      world.write("app/main.py", "import json, pkg, plain, space.part\nprint(pkg.value, plain.value, space.part.value, pkg.inner.f('a'), pkg.inner.f(1))\nprint(plain.__file__, plain.__dict__.get('__cached__'), plain.__spec__.cached, pkg.__path__, space.__path__)\n");
      world.archive(["app/main.py"]);
    });
    afterEach(() => world.remove());

    const same = (extra: Readonly<Record<string, string>> = {}, args: readonly string[] = ["app/main.py"]): ReturnType<World["archived"]>["events"] => {
      const { outcome, events } = world.archived(args, extra);
      // `run` renews what it cannot use, and says when it cannot: no word of the program's
      const stderr = outcome.stderr.replace(/^pycds: warning: no archive was made for the next run: .*\n/gm, "");
      expect({ ...outcome, stderr }).toEqual(world.stock(args, extra));
      return events;
    };

    it("unchanged: everything is served", () => {
      const events = same();
      expect(events.hit).toEqual(expect.arrayContaining(["json", "json.decoder", "pkg", "pkg.inner", "plain", "space.part"]));
      expect(events.miss).toEqual([]);
      expect(events.stale).toEqual([]);
      expect(events.summary).toMatch(new RegExp(`^hit=${events.hit.length} miss=0 stale=0 archive=`));
    });

    it("a mtime in the last hundred nanoseconds of a second counts as the next one, which is what importlib writes into a .pyc", () => {
      const settle = "import os; os.utime('lib/plain.py', ns=(0, 1_700_000_000_999_999_950))";
      world.must(world.stock(["-c", settle]));
      world.archive(["app/main.py"]);
      const events = same();
      expect([events.stale, events.miss]).toEqual([[], []]);
      expect(events.hit).toContain("plain");
      // there is a .pyc, but its folder was touched: it is looked at
      utimesSync(world.path("lib/__pycache__"), 1, 1);
      expect(same().miss).toEqual([]);
      world.must(world.stock(["-c", settle.replace("_999_999_950", "_999_999_500")]));
      expect(same().stale).toEqual(["plain: source changed"]);
    });

    it("a source edited in place is stale, the rest is served", () => {
      appendFileSync(world.path("lib/pkg/inner.py"), "value = 'edited'\n");
      const events = same();
      expect(events.stale.map((line) => line.split(":")[0])).toEqual(["pkg.inner"]);
      expect(events.hit).toContain("pkg");
      expect(world.stock(["app/main.py"]).stdout).toContain("pkg edited");
    });

    it("a source edited with its folder's mtime put back is stale all the same", () => {
      const before = statSync(world.path("lib/pkg"));
      appendFileSync(world.path("lib/pkg/inner.py"), "value = 'sly'\n");
      utimesSync(world.path("lib/pkg"), before.atime, before.mtime);
      expect(same().stale).toHaveLength(1);
    });

    it("a module added in the script's folder shadows", () => {
      world.write("app/plain.py", "value = 'shadow'\n");
      const events = same();
      expect(events.hit).not.toContain("plain");
      expect(world.stock(["app/main.py"]).stdout).toContain("shadow");
    });

    it("a package added beside a module takes its place", () => {
      world.write("lib/plain/__init__.py", "value = 'a package now'\n");
      same();
      expect(world.stock(["app/main.py"]).stdout).toContain("a package now");
    });

    it("an extension-suffixed file beside a source takes its place, as far as it loads", () => {
      world.write("lib/plain.so", "not an ELF file");
      const events = same();
      expect(events.hit).not.toContain("plain");
      expect(world.stock(["app/main.py"]).stderr).toContain("ImportError");
    });

    it("an unrelated file makes nothing stale", () => {
      world.write("lib/unrelated.py", "");
      world.write("lib/pkg/unrelated.txt", "");
      const events = same();
      expect([events.stale, events.miss]).toEqual([[], []]);
      expect(events.hit).toContain("plain");
    });

    it("a removed source is not found", () => {
      rmSync(world.path("lib/plain.py"));
      const events = same();
      expect(events.hit).not.toContain("plain");
      expect(world.stock(["app/main.py"]).stderr).toContain("No module named 'plain'");
    });

    it("a namespace package that becomes a regular one", () => {
      world.write("lib/space/__init__.py", "");
      same();
    });

    it("a replaced folder (a downgrade) is what it is now", () => {
      renameSync(world.path("lib/pkg"), world.path("pkg.new"));
      world.write("lib/pkg/__init__.py", "class inner:\n    value = 'old release'\n    f = staticmethod(lambda x: x)\nvalue = inner.value\n");
      const events = same();
      expect(events.hit).not.toContain("pkg");
      expect(world.stock(["app/main.py"]).stdout).toContain("old release");
    });

    it.each([
      ["SourceFileLoader.get_code", "import importlib.machinery as m\nstock = m.SourceFileLoader.get_code\nm.SourceFileLoader.get_code = lambda self, name: (print('patched', name), stock(self, name))[1]\n"],
      ["SourceLoader.source_to_code through a subclass hook", "import importlib.machinery as m\nm.SourceFileLoader.exec_module = lambda self, module: (print('exec', module.__name__), module.__dict__.update(value='hooked', inner=None, f=None))[0]\n"],
      ["PathFinder.find_spec", "import importlib.machinery as m\nstock = m.PathFinder.find_spec\nm.PathFinder.find_spec = classmethod(lambda cls, n, p=None, t=None: (print('finding', n), stock(n, p, t))[1])\n"],
      ["sys.path_hooks in front", "import sys, importlib.machinery as m\nclass Finder(m.FileFinder):\n    def find_spec(self, name, target=None):\n        print('hooked', name)\n        return super().find_spec(name, target)\nsys.path_hooks.insert(0, Finder.path_hook((m.SourceFileLoader, ['.py'])))\nsys.path_importer_cache.clear()\n"],
      ["another finder in sys.path_importer_cache", "import sys, importlib.machinery as m\nclass Finder(m.FileFinder):\n    def find_spec(self, name, target=None):\n        print('own', name)\n        return super().find_spec(name, target)\nlib = [p for p in sys.path if p.endswith('/lib')][0]\nsys.path_importer_cache[lib] = Finder(lib, (m.SourceFileLoader, ['.py']))\n"],
      ["a meta_path finder in front", "import sys\nclass Finder:\n    @staticmethod\n    def find_spec(name, path, target=None):\n        print('asked', name, path is None)\nsys.meta_path.insert(0, Finder)\n"],
      ["a meta_path finder behind", "import sys\nclass Finder:\n    @staticmethod\n    def find_spec(name, path, target=None):\n        print('asked', name)\nsys.meta_path.append(Finder)\ntry:\n    import not_there_at_all\nexcept ModuleNotFoundError as e:\n    print(e, e.name, e.path)\n"],
      ["sys.path edited", "import sys\nsys.path[:] = [p for p in sys.path if not p.endswith('/lib')]\n"],
      ["builtins.exec replaced", "import builtins\nstock = builtins.exec\ndef spy(code, *scopes):\n    print('exec', getattr(code, 'co_name', None))\n    return stock(code, *scopes)\nbuiltins.exec = spy\n"],
      ["sys.pycache_prefix set", "import sys\nsys.pycache_prefix = '/nowhere/at/all'\nsys.dont_write_bytecode = True\n"],
    ])("%s", (_name, patch) => {
      world.write("app/patched.py", `${patch}exec(open(${JSON.stringify(world.path("app/main.py"))}).read())\n`);
      same({}, ["app/patched.py"]);
    });

    it("names without UTF-8 (a lone surrogate) are found, and missed, as in stock", () => {
      // PEP 383: such a name stands for a file name that is not UTF-8; CPython's test_import.test_unencodable_filename
      writeFileSync(Buffer.concat([Buffer.from(world.path("lib/odd")), Buffer.from([0xff]), Buffer.from(".py")]), "value = 'odd'\n");
      const code = [
        "from importlib import import_module",
        "print(import_module('odd\\udcff').value)",
        "for name in 'none\\udcff', 'pkg.none\\udcff', 'none\\udcff.pkg':",
        "    try: import_module(name)",
        "    except ModuleNotFoundError as e: print(ascii(e), ascii(e.name))",
        "import pkg",
        // what stands before the log's line of a miss while stock answers for everything
        "import importlib.machinery as m; stock = m.SourceFileLoader.get_code; m.SourceFileLoader.get_code = lambda self, name: stock(self, name)",
        "try: import_module('later\\udcff')",
        "except ModuleNotFoundError as e: print(ascii(e))",
      ].join("\n");
      world.write("app/odd.py", code);
      expect(same({}, ["app/odd.py"]).hit).toContain("pkg");
      expect(world.stock(["app/odd.py"]).stdout).toMatch(/^odd\n(.*none.*\n){3}.*later.*\n$/);
    });

    it("imports nested 100 deep in a thread with a small stack (stock needs 170 KB for them)", () => {
      for (let i = 0; i < 100; i += 1) world.write(`lib/deep${i}.py`, `import deep${i + 1}\n`);
      world.write("lib/deep100.py", "print('at the bottom')\n");
      world.write("app/deep.py", "import threading\nthreading.stack_size(384 << 10)\nt = threading.Thread(target=__import__, args=('deep0',))\nt.start(); t.join()\nprint('and up again')\n");
      world.archive(["app/deep.py"]);
      // the first 64 are ours, stock does the rest (native/runtime/import.c, DEPTH_LIMIT)
      const deep = same({}, ["app/deep.py"]).hit.filter((name) => name.startsWith("deep"));
      expect(deep).toEqual(Array.from({ length: 64 }, (_, i) => `deep${i}`));
      expect(world.stock(["app/deep.py"]).stdout).toBe("at the bottom\nand up again\n");
    });

    it("-O has archives of its own", () => {
      const events = same({ PYTHONOPTIMIZE: "1" });
      expect(events.hit).toEqual([]);
      expect(events.refused.join()).toMatch(/-O level 0, this process has 1/);
    });

    it("-X no_debug_ranges is refused (facts/cpython.md §4: it rewrites linetable at construction)", () => {
      const events = same({ PYTHONNODEBUGRANGES: "1" });
      if (minor < 11) {
        // no columns yet: the variable says nothing
        expect(events.hit).toContain("plain");
        return;
      }
      expect(events.hit).toEqual([]);
      expect(events.refused).toHaveLength(1);
    });

    const other = all.find((each) => each.version !== version)?.python;
    it.skipIf(other === undefined)("another interpreter refuses it", () => {
      const log = world.path("other.log");
      const outcome = world.spawn([process.execPath, join(world.folder, "unused"), "-v"]);
      expect(outcome.status).not.toBe(0);
      const exe = other?.exe ?? "";
      const run = world.cli(["run", "-a", world.path("app.pycds"), "--", exe, "app/main.py"], { PYCDS_LOG: log });
      expect(run).toEqual(world.spawn([exe, "app/main.py"]));
      expect(readFileSync(log, "utf8")).toMatch(/^pycds: refused .*: .*3\.\d+/m);
    });

    it("PYCDS=off is stock, and says nothing", () => {
      const events = same({ PYCDS: "off" });
      expect(events.hit).toEqual([]);
    });

    it("PYCDS=on: a refused archive ends the process with status 2 before user code", () => {
      truncateSync(world.path("app.pycds"), 5000);
      const { outcome, events } = world.archived(["app/main.py"], { PYCDS: "on" });
      expect([outcome.status, outcome.stdout]).toEqual([2, ""]);
      expect(outcome.stderr).toMatch(/^pycds: error: .* — .*\n$/);
      expect(events.refused).toHaveLength(1);
    });

    it("PYCDS=on: a stale module is no error", () => {
      appendFileSync(world.path("lib/plain.py"), "value = 'two'\n");
      expect(same({ PYCDS: "on" }).stale).toHaveLength(1);
    });

    it.each([
      ["truncated", (file: string) => truncateSync(file, Math.floor(statSync(file).size / 2))],
      ["empty", (file: string) => truncateSync(file, 0)],
      ["writable by others", (file: string) => chmodSync(file, 0o666)],
      ["a directory", (file: string) => { rmSync(file); mkdirSync(file); }],
      ["text", (file: string) => writeFileSync(file, "not an archive\n".repeat(1000))],
      ["with a foreign byte order", (file: string) => { const bytes = readFileSync(file); bytes.subarray(8, 12).reverse(); writeFileSync(file, bytes); }],
    ] as const)("an archive that is %s means a stock start", (_name, damage) => {
      damage(world.path("app.pycds"));
      const events = same();
      expect(events.hit).toEqual([]);
      expect(events.refused).toHaveLength(1);
    });

    it("a damaged unit is stale, not a crash", () => {
      const bytes = readFileSync(world.path("app.pycds"));
      // every unit's data begins after the index: flip a byte a page
      for (let at = Math.floor(bytes.length / 2); at < bytes.length; at += 4096) bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      writeFileSync(world.path("app.pycds"), bytes);
      const events = same();
      expect(events.stale.length + events.refused.length).toBeGreaterThan(0);
    });
  });
}
