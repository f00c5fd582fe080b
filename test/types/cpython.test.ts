/**
 * CPython's own tests of classes under PYCDS_TYPES=check, where the interpreter
 * has them: they end as in stock, and no class differs. `npm run test:cpython --
 * --types check` runs more of them, test by test.
 */
import { existsSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { World } from "../validity/world.ts";

const versions = ["3.11", "3.12", "3.13", "3.14"];
const modules = [
  "test_class", "test_descr", "test_subclassinit", "test_genericclass", "test_super", "test_abc", "test_types", "test_metaclass",
  "test_typing", "test_dataclasses", "test_enum", "test_functools", "test_collections", "test_exceptions",
];

for (const { name: title, python } of served().filter((each) => versions.includes(each.version) && process.arch === "x64")) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World | undefined;
    afterAll(() => world?.remove());

    it("CPython's tests of classes", { timeout: 300_000 }, ({ skip }) => {
      const here = (world = new World(python?.exe ?? ""));
      here.write("where.py", "import importlib.util as u\nprint(u.find_spec('test') and u.find_spec('test.test_descr').origin)\n");
      const where = here.stock(["where.py"]).stdout.trim();
      if (!existsSync(where)) {
        skip("this interpreter has no tests of its own");
        return;
      }
      here.write("lib/mod.py", "");
      here.write("all.py", "import mod\n");
      here.archive(["all.py"]);
      const log = here.path("check.log");
      const args = ["-m", "unittest", ...modules.map((name) => `test.${name}`)];
      const ending = (text: string): string[] => text.split("\n").filter((line) => /^(Ran \d+ tests|OK|FAILED|FAIL:|ERROR:)/.test(line)).map((line) => line.replace(/ in [\d.]+s$/, ""));
      const stock = here.stock(args);
      const { outcome } = here.direct(args, { PYCDS: "on", PYCDS_TYPES: "check", PYCDS_LOG: log });
      expect(ending(outcome.stderr)).toEqual(ending(stock.stderr));
      expect(ending(outcome.stderr).length).toBeGreaterThan(1);
      const text = readFileSync(log, "utf8");
      expect(text.split("\n").filter((line) => line.startsWith("pycds: types mismatch"))).toEqual([]);
      expect(Math.max(...[...text.matchAll(/^pycds: types fast=.* checked=(\d+)/gm)].map(([, count]) => Number(count)))).toBeGreaterThan(300);
    });
  });
}
