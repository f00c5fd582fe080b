/**
 * PYCDS_TYPES=check over what the basket's imports and the standard library
 * make: after each class stock updates its slots again, and none differs.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { venvPython } from "../../src/bench/scratch.ts";
import { basketVenv } from "../support/basket.ts";
import { served } from "../support/served.ts";
import { World } from "../validity/world.ts";

const basket = ["requests", "boto3", "django.db.models", "fastapi", "sqlalchemy", "pandas"];
const venvVersions = ["3.11", "3.12", "3.13"];
const versions = [...venvVersions, "3.14"];

/** Every module of the standard library that can be imported, but those that do something by it; what each prints goes nowhere. */
const standardLibrary = `
import importlib, io, os, pkgutil, sys, warnings
warnings.simplefilter('ignore')
out, sys.stdout, sys.stderr = sys.stdout, io.StringIO(), io.StringIO()
skipped = {'antigravity', 'this', 'idlelib', 'turtledemo', 'turtle', 'test', 'tests', '__main__', 'lib2to3.pgen2.conv', 'site-packages', '__phello__', 'tkinter'}
def each(path, prefix=''):
    for info in pkgutil.iter_modules(path, prefix):
        if set(info.name.split('.')) & skipped: continue
        yield info.name
        if info.ispkg:
            try: package = importlib.import_module(info.name)
            except BaseException: continue
            yield from each(package.__path__, info.name + '.')
count = 0
for name in sorted(sys.builtin_module_names) + list(each([os.path.dirname(os.__file__)])):
    if name in skipped: continue
    try:
        importlib.import_module(name)
        count += 1
    except BaseException: pass
print(count > 300, file=out)
`;

for (const { name: title, version, python } of served().filter((each) => versions.includes(each.version) && process.arch === "x64")) {
  describe.skipIf(python === undefined)(title, () => {
    const worlds: World[] = [];
    let inVenv: World | undefined;
    const make = (exe: string): World => {
      const world = new World(exe);
      worlds.push(world);
      world.write("lib/mod.py", "");
      world.write("all.py", "import mod\n");
      world.archive(["all.py"]);
      return world;
    };
    beforeAll(async () => {
      if (venvVersions.includes(version)) inVenv = make(venvPython(await basketVenv(python?.exe ?? "")));
    }, 900_000);
    afterAll(() => worlds.forEach((world) => world.remove()));

    const checked = (world: World, program: string): { stdout: string; count: number; mismatches: string[] } => {
      const log = world.path("check.log");
      world.write("program.py", program);
      const { outcome } = world.direct(["program.py"], { PYCDS: "on", PYCDS_TYPES: "check", PYCDS_LOG: log });
      expect(outcome.status).toBe(0);
      const text = readFileSync(log, "utf8");
      return { stdout: outcome.stdout.trim(), count: Number(/^pycds: types fast=.* checked=(\d+)/m.exec(text)?.[1]), mismatches: text.split("\n").filter((line) => line.startsWith("pycds: types mismatch")) };
    };

    it.for(basket)("import %s", { timeout: 300_000 }, (name, { skip }) => {
      if (inVenv === undefined) {
        skip("the basket's venv is for 3.11 to 3.13");
        return;
      }
      const { count, mismatches } = checked(inVenv, `import ${name}\n`);
      expect(mismatches).toEqual([]);
      expect(count).toBeGreaterThan(400);
    });

    it("every module of the standard library", { timeout: 300_000 }, () => {
      const { stdout, count, mismatches } = checked(make(python?.exe ?? ""), standardLibrary);
      expect(mismatches).toEqual([]);
      expect(stdout).toBe("True");
      expect(count).toBeGreaterThan(1000);
    });
  });
}
