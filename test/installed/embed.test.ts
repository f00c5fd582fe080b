/**
 * A program that embeds Python and starts it again after Py_Finalize: its first
 * life is served, the later ones and sub-interpreters import as stock, and
 * nothing of the dead interpreter is touched (facts/cpython.md §5; CPython's
 * test_embed needs a program that no installed Python has).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { readEvents, World } from "../validity/world.ts";

const facts = z.object({ include: z.string(), folder: z.string(), library: z.string(), shared: z.boolean() });
const program = 'import json, sysconfig as s; v = s.get_config_var; print(json.dumps(dict(include=s.get_path("include"), folder=v("LIBDIR") or "", library="python" + (v("LDVERSION") or ""), shared=bool(v("Py_ENABLE_SHARED")))))';

/** What a program that links with this Python needs, or what is missing. */
function linking(exe: string): z.infer<typeof facts> | string {
  const found = facts.parse(JSON.parse(execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() })));
  if (!found.shared) return "no shared libpython";
  if (!existsSync(join(found.include, "Python.h"))) return "no headers";
  return spawnSync("cc", ["--version"]).status === 0 ? found : "no C compiler";
}

for (const version of ["3.11", "3.12", "3.13"]) {
  const candidates = pythons().filter((each) => each.version === version);
  const linked = candidates.map(({ exe }) => ({ exe, how: linking(exe) }));
  const usable = linked.flatMap(({ exe, how }) => (typeof how === "string" ? [] : [{ exe, how }]))[0];
  const lacking = linked.map(({ how }) => (typeof how === "string" ? how : "")).find(Boolean) ?? "not on this machine";
  describe.skipIf(usable === undefined)(`CPython ${version}${usable === undefined ? ` (${lacking})` : ""}`, () => {
    let world: World;
    let venvPython = "";
    beforeAll(() => {
      if (usable === undefined) return;
      world = new World(usable.exe);
      const { include, folder, library } = usable.how;
      world.must(world.spawn(["cc", "-Wall", "-Wextra", "-Werror", `-I${include}`, fileURLToPath(new URL("embed.c", import.meta.url)), "-o", world.path("embed"), `-L${folder}`, `-l${library}`, `-Wl,-rpath,${folder}`]));
      venvPython = world.path("venv/bin/python");
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", world.path("venv")]));
      world.write("lib/tool.py", "import json\nNAMES = {'a', 'b'}\ndef speak(x, *, y=('a', 1.5, b'z')):\n    return json.dumps([x in NAMES, *map(str, y)])\n");
      world.must(world.spawn([venvPython, "-c", "import tool"]));
      world.must(world.cli(["trace", "-o", world.path("app.trace"), "--", venvPython, "-c", "import tool"]));
      world.must(world.cli(["build", "--trace", world.path("app.trace"), "-o", world.path("app.pycds")]));
    });
    afterAll(() => world.remove());

    it("three lives, each with a sub-interpreter, are stock's; the first is served", () => {
      const code = "import sys, tool; print(tool.speak('a'), sys.intern('speak') is tool.speak.__name__, flush=True)";
      const stock = world.spawn([world.path("embed"), venvPython, code]);
      expect(stock).toEqual({ status: 0, signal: null, stdout: "[true, \"a\", \"1.5\", \"b'z'\"] True\n".repeat(6), stderr: "" });
      world.must(world.cli(["install", "--venv", world.path("venv"), "-a", world.path("app.pycds")]));
      const log = world.path("embed.log");
      expect(world.spawn([world.path("embed"), venvPython, code], { PYCDS_LOG: log })).toEqual(stock);
      expect(readEvents(log).hit.filter((name) => name === "tool")).toHaveLength(1);
    });

    it("status() tells in which life it is asked, disable() leaves another life's alone", () => {
      const code = "import tool, pycds; s = pycds.status(); print(s['active'], s['reason'], '' if s['active'] else pycds.disable(), flush=True)";
      const elsewhere = "False active in another interpreter of this process False\n";
      expect(world.spawn([world.path("embed"), venvPython, code])).toEqual({ status: 0, signal: null, stdout: `True None \n${elsewhere.repeat(5)}`, stderr: "" });
    });
  });
}
