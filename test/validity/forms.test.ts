/**
 * importlib's own corners, each as this version of CPython has them (facts/cpython.md §7;
 * native/runtime/stock.c tells the forms apart): the archived program prints
 * what the stock one prints, warnings, errors and audit events included.
 */
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "./world.ts";
import type { Events } from "./world.ts";

/** What a case prints, in any version, so that it cannot pass by printing nothing. */
type Case = readonly [name: string, program: string, prints: RegExp];

const lines = (...text: readonly string[]): string => text.join("\n");
const tried = (statement: string): string => lines("try:", `    ${statement}`, "except BaseException as e: print(repr(e), e.__cause__, repr(e.__context__), e.__suppress_context__, getattr(e, 'name', ''), getattr(e, 'path', ''))");

/** Without what the usual way of showing a warning imports, and warns of in its turn. */
const warned = (action: string): string => lines("import warnings", "warnings.showwarning = lambda message, category, filename, line, *rest: print(category.__name__, filename, message)", `warnings.simplefilter('${action}')`);

const cases: readonly Case[] = [
  ["a module that is not there", lines(tried("import nope"), tried("import pkg.nope"), tried("import nope.inner"), tried("from pkg import nope"), tried("import plain.inner")), /No module named 'plain.inner'; 'plain' is not a package/],
  ["None in sys.modules", lines("import sys", "sys.modules['plain'] = None", tried("import plain"), "sys.modules['pkg.inner'] = None", tried("import pkg.inner"), tried("from pkg import inner")), /halted; None in sys\.modules/],
  ["a parent that puts None in its child's place", lines(tried("import hides.child; print(hides.child)"), "import sys; print([n for n in sys.modules if n.startswith('hides')])"), /hides/],
  ["a parent that puts the child there itself", lines(tried("import makes.child; print(makes.child.value)"), "import sys; print(sys.modules['makes.child'])"), /made by the parent|made/],
  ["a parent without __spec__", lines("import sys, types, pkg", "del pkg.__spec__", tried("import pkg.inner; print(pkg.inner.value)")), /inner|no attribute '__spec__'/],
  ["a parent whose __spec__ is None", lines("import pkg", "pkg.__spec__ = None", tried("import pkg.inner; print(pkg.inner.value)")), /inner/],
  ["a parent that takes no attributes", lines(warned("always"), tried("import fixed.child; print('loaded')")), /Cannot set an attribute on 'fixed' for child module 'child'[^]*loaded/],
  ["the same as an error", lines(warned("error"), tried("import fixed.child; print('loaded')")), /ImportWarning/],
  ["sys.meta_path empty", lines("import sys", warned("always"), "kept, sys.meta_path = sys.meta_path, []", tried("import plain"), "sys.meta_path = None", tried("import plain"), "sys.meta_path = kept", "import plain; print(plain.value)"), /sys\.meta_path is empty[^]*shutting down/],
  ["sys.meta_path that changes while it is walked", lines("import sys", "class Finder:", "    def __init__(self, name): self.name = name", "    def find_spec(self, name, path, target=None):", "        print(self.name, name)", "        if self in sys.meta_path: sys.meta_path.remove(self)", "a, b = Finder('a'), Finder('b')", "sys.meta_path[:0] = [a, b]", "import plain; print(plain.value, len(sys.meta_path))", "import pkg.inner; print(pkg.inner.value, len(sys.meta_path))"), /a plain/],
  ["a finder that loads the module while it is asked", lines("import sys", "class Finder:", "    @staticmethod", "    def find_spec(name, path, target=None):", "        if name == 'plain' and not Finder.busy:", "            Finder.busy = True", "            import plain", "            Finder.spec = plain.__spec__", "        return None", "    busy = False", "sys.meta_path.insert(0, Finder)", "import plain; print(plain.value, plain.__spec__ is Finder.spec)"), /plain one True/],
  ["finders without find_spec", lines("import sys", warned("always"), "class Old:", "    def find_module(self, name, path=None): print('find_module', name)", "sys.meta_path.insert(0, Old())", "import plain; print(plain.value)", "class Entry:", "    def __init__(self, path): pass", "    def find_loader(self, name):", "        print('find_loader', name); return None, []", "sys.path.insert(0, '/entry/of/its/own')", "sys.path_importer_cache['/entry/of/its/own'] = Entry('')", tried("import pkg; print(pkg.value)")), /plain/],
  ["path entries that are no str", lines("import sys", "class Path(str): pass", "sys.path[:0] = [3, None, Path('/nowhere')]", tried("import plain; print(plain.value)"), "sys.path.insert(0, b'/nowhere/at/all')", tried("import pkg; print(pkg.value)"), "sys.path.insert(0, __file__.rpartition('/')[0].encode())", tried("import other; print(other)")), /plain/],
  ["the current folder is gone", lines("import sys, os, tempfile", "gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)", "sys.path.insert(0, '')", tried("import plain; print(plain.value)"), "sys.path.append('.')", tried("import nope")), /plain/],
  ["audit events", lines("import sys", "events = []", "sys.addaudithook(lambda e, a: e == 'import' and events.append((a[0], a[1], [type(x).__name__ for x in a[2:]])))", "import importlib", "import plain, pkg.inner, json.decoder", "from pkg import inner", tried("import nope.inner"), "importlib.import_module('space.part')", "importlib.import_module('plain')", "print(*events, sep='\\n')"), /'pkg\.inner'/],
  ["an audit hook that refuses", lines("import sys", "def hook(event, args):", "    if event == 'import' and args[0] == 'pkg.inner': raise RuntimeError(args[0])", "sys.addaudithook(hook)", tried("import pkg.inner"), "print('pkg' in sys.modules)"), /RuntimeError/],
  ["import_module of what is loaded", lines("import importlib, plain, pkg.inner", "print(importlib.import_module('plain') is plain, importlib.import_module('.inner', 'pkg') is pkg.inner, importlib.reload(plain) is plain)"), /True True True/],
  ["a circle: names of what is half loaded", lines(tried("import circle.a; print(circle.a.told)")), /circular import/],
  ["a package that imports its child while it is imported for it", lines("import early.child", "print(early.child.value, early.told, early.__spec__._initializing)"), /child/],
  ["a child that fails once", lines("import sys", tried("import fails.child"), "print('fails' in sys.modules, 'fails.child' in sys.modules, getattr(sys.modules['fails'].__spec__, '_uninitialized_submodules', None))", tried("import fails.child; print('the second time', fails.child.value)")), /second time/],
  ["attributes of modules and specs", lines("import sys, plain, pkg, space.part", "for m in plain, pkg, space, space.part:", "    print([(k, v) for k, v in vars(m).items() if k.startswith('__') and k != '__builtins__'])", "    print({k: repr(v) for k, v in vars(m.__spec__).items()}, repr(m.__path__) if hasattr(m, '__path__') else '')", "    print(m.__spec__.cached, repr(m), repr(m.__spec__))"), /plain\.py/],
  ["sys.modules replaced by another mapping", lines("import sys", "class Modules(dict): pass", "stock = sys.modules", "sys.modules = Modules(stock)", tried("import plain; print(plain.value, 'plain' in sys.modules)"), "sys.modules = stock", tried("import pkg.inner; print(pkg.inner.value)")), /plain/],
  ["a module that takes itself out, and one that replaces itself", lines("import sys", tried("import removes"), "print('removes' in sys.modules)", tried("import replaces; print(replaces)")), /replaced/],
];

/** Only for versions with the syntax. */
const lazyCases: readonly Case[] = [
  ["lazy imports", lines("import sys", "lazy import plain", "lazy import pkg.inner", "lazy from pkg import inner as other, value", "lazy import nope", "print([n for n in ('plain', 'pkg', 'pkg.inner') if n in sys.modules])", "print(plain.value)", "print([n for n in ('plain', 'pkg', 'pkg.inner') if n in sys.modules])", "print(pkg.inner.value, other.value, value)", tried("print(nope.value)"), "print(sys.modules['pkg'].__dict__.keys(), sorted(sys.lazy_modules))"), /plain one/],
  ["sub-modules that are lazy", lines("import sys", "lazy from pkg import inner", "lazy from pkg import nope, value", "print('pkg' in sys.modules, 'pkg.inner' in sys.modules)", "import pkg", "print(value, 'inner' in vars(pkg))", "print(inner.value)", tried("print(nope)")), /inner/],
  ["sys.lazy_modules, when what was lazy is imported otherwise", lines("import sys, importlib", "lazy import plain", "lazy import pkg.inner", "print(sorted(sys.lazy_modules))", "importlib.import_module('plain'); importlib.import_module('pkg.inner')", "print(sorted(sys.lazy_modules), 'inner' in vars(sys.modules['pkg']))"), /'plain'/],
  ["everything lazy", lines("import sys", "sys.set_lazy_imports('all')", "import plain, pkg.inner", "print('plain' in sys.modules)", "print(plain.value, pkg.inner.value)", tried("import plain.nope; print(plain.nope)"), "import early.child; print(early.child.value)"), /plain one/],
  ["lazily imported, told apart by a filter", lines("import sys", "sys.set_lazy_imports('all')", "sys.set_lazy_imports_filter(lambda importing, name, fromlist: print('asked', importing, name, fromlist) or name != 'pkg')", "import plain, pkg", "print('plain' in sys.modules, 'pkg' in sys.modules)", "print(plain.value, pkg.value)"), /asked __main__ plain/],
];

const library: Readonly<Record<string, string>> = {
  "lib/plain.py": "value = 'plain one'\n",
  "lib/pkg/__init__.py": "value = 'pkg'\n",
  "lib/pkg/inner.py": "value = 'inner'\n",
  "lib/space/part.py": "value = 'a namespace portion'\n",
  "lib/hides/__init__.py": "import sys\nsys.modules['hides.child'] = None\n",
  "lib/hides/child.py": "value = 'hidden'\n",
  "lib/makes/__init__.py": "import sys, types\nsys.modules['makes.child'] = m = types.ModuleType('makes.child')\nm.value = 'made by the parent'\nchild = m\n",
  "lib/fixed/__init__.py": "import sys, types\nclass Fixed(types.ModuleType):\n    def __setattr__(self, name, value):\n        if name == 'child': raise AttributeError(name)\n        super().__setattr__(name, value)\nsys.modules[__name__].__class__ = Fixed\n",
  "lib/fixed/child.py": "value = 1\n",
  "lib/circle/__init__.py": "",
  "lib/circle/a.py": "from circle import b\ntold = b.told\n",
  "lib/circle/b.py": "told = []\nimport circle\ntry: circle.a\nexcept AttributeError as e: told.append(str(e))\ntry: from circle.a import told as x\nexcept ImportError as e: told.append(str(e))\n",
  "lib/early/__init__.py": "told = []\nimport early.child\ntold.append(early.child.value)\nfrom . import child\ntold.append(child is early.child)\n",
  "lib/early/child.py": "import early\nvalue = 'child'\n",
  "lib/fails/__init__.py": "count = 0\n",
  "lib/fails/child.py": "import fails\nfails.count += 1\nif fails.count == 1: raise ValueError('the first time')\nvalue = fails.count\n",
  "lib/removes.py": "import sys\ndel sys.modules[__name__]\n",
  "lib/replaces.py": "import sys\nsys.modules[__name__] = 'replaced'\n",
};

for (const { name, version, python } of served()) {
  describe.skipIf(python === undefined)(name, () => {
    let world: World;
    const mine = [...cases, ...(Number.parseInt(version.split(".")[1] ?? "", 10) >= 15 ? lazyCases : [])];
    beforeAll(() => {
      world = new World(python?.exe ?? "");
      for (const [file, text] of Object.entries(library)) world.write(file, text);
      world.write("all.py", "import plain, pkg.inner, space.part, hides, makes, fixed.child, circle.a, early.child, fails, replaces\ntry: import fails.child\nexcept ValueError: import fails.child\ntry: import removes\nexcept Exception: pass\nimport json, importlib, warnings, types, tempfile\n");
      world.archive(["all.py"]);
      for (const [at, [, program]] of mine.entries()) world.write(`case${at}.py`, `${program}\n`);
    });
    afterAll(() => world.remove());

    const known = (text: string): string => text.replace(/0x[0-9a-f]+/g, "0x");

    it.each(mine.map(([title, , prints], at) => [title, at, prints] as const))("%s", (_title, at, prints) => {
      const stock = world.stock([`case${at}.py`]);
      const { outcome, events } = world.archived([`case${at}.py`], { PYCDS: "on" });
      expect({ ...outcome, stdout: known(outcome.stdout), stderr: known(outcome.stderr) }).toEqual({ ...stock, stdout: known(stock.stdout), stderr: known(stock.stderr) });
      expect(stock.stdout + stock.stderr).toMatch(prints);
      expect([stock.status, stock.signal]).toEqual([0, null]);
      expect(servedFrom(events)).toBe(true);
      rmSync(world.path(`case${at}.py`));
    });
  });
}

/** Something came from the archive: the case did not pass because nothing was served. */
function servedFrom(events: Events): boolean {
  return events.summary !== undefined && events.refused.length === 0;
}
