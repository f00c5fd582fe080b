/**
 * Programs that embed Python and start it again after Py_Finalize: the first
 * life is served, the later ones and sub-interpreters import as stock, and
 * nothing of the dead interpreter is touched (facts/cpython.md §5; CPython's
 * test_embed needs a program that no installed Python has). One of them has
 * objects of libpython moved into itself (facts/cpython.md §9: no single base).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headersOf } from "../../tools/pythons/find.ts";
import { libpythonOf, linkFlags } from "../support/libpython.ts";
import type { TestPython } from "../support/pythons.ts";
import { served } from "../support/served.ts";
import { readEvents, World } from "../validity/world.ts";

interface Linking {
  readonly include: string;
  /** The libpython that the interpreter itself has loaded. */
  readonly library: string;
}

/** What a program that links with this Python needs, or what is missing. */
function linking(python: TestPython): Linking | string {
  const library = libpythonOf(python.exe);
  if (library === undefined) return "no shared libpython";
  const include = headersOf(python);
  if (include === undefined) return "no headers";
  return spawnSync("cc", ["--version"]).status === 0 ? { include, library } : "no C compiler";
}

/** The program, and how it is built. */
const builds = { movable: ["-fPIC", "-pie"], fixed: ["-fno-pie", "-no-pie"] } as const;

for (const { name, python } of served()) {
  const how = python === undefined ? "" : linking(python);
  describe.skipIf(typeof how === "string")(typeof how === "string" && how !== "" ? `${name} (${how})` : name, () => {
    let world: World;
    let venvPython = "";
    beforeAll(() => {
      if (python === undefined || typeof how === "string") return;
      world = new World(python.exe);
      for (const [build, flags] of Object.entries(builds)) {
        const source = fileURLToPath(new URL("embed.c", import.meta.url));
        world.must(world.spawn(["cc", "-Wall", "-Wextra", "-Werror", ...flags, "-isystem", how.include, source, "-o", world.path(build), ...linkFlags(how.library)]));
      }
      venvPython = world.path("venv/bin/python");
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", world.path("venv")]));
      world.write("lib/tool.py", "import json\nNAMES = {'a', 'b'}\ndef speak(x, *, y=('a', 1.5, b'z')):\n    return json.dumps([x in NAMES, *map(str, y)])\n");
      world.must(world.spawn([venvPython, "-c", "import tool"]));
      world.must(world.cli(["trace", "-o", world.path("app.trace"), "--", venvPython, "-c", "import tool"]));
      world.must(world.cli(["build", "--trace", world.path("app.trace"), "-o", world.path("app.pycds")]));
    });
    afterAll(() => world.remove());

    it.skipIf(process.arch !== "x64")("types are moved into the program that is not movable, and not into the other", () => {
      const moved = (build: keyof typeof builds): string => execFileSync("readelf", ["-rW", world.path(build)], { encoding: "utf8" });
      expect(moved("fixed")).toMatch(/R_X86_64_COPY .*PyUnicode_Type/);
      expect(moved("fixed")).not.toMatch(/R_X86_64_COPY .*PySlice_Type/);
      expect(moved("movable")).not.toMatch(/R_X86_64_COPY/);
    });

    it.each(["movable", "fixed"] as const)("%s: three lives, each with a sub-interpreter, are stock's; the first is served", (build) => {
      const code = "import sys, tool; print(tool.speak('a'), sys.intern('speak') is tool.speak.__name__, flush=True)";
      const stock = world.spawn([world.path(build), venvPython, code]);
      expect(stock).toEqual({ status: 0, signal: null, stdout: "[true, \"a\", \"1.5\", \"b'z'\"] True\n".repeat(6), stderr: "" });
      world.must(world.cli(["install", "--venv", world.path("venv"), "-a", world.path("app.pycds")]));
      const log = world.path(`${build}.log`);
      expect(world.spawn([world.path(build), venvPython, code], { PYCDS_LOG: log })).toEqual(stock);
      expect(readEvents(log).hit.filter((module) => module === "tool")).toHaveLength(1);
      world.must(world.cli(["uninstall", "--venv", world.path("venv")]));
    });

    it("status() tells in which life it is asked, disable() leaves another life's alone", () => {
      world.must(world.cli(["install", "--venv", world.path("venv"), "-a", world.path("app.pycds")]));
      const code = "import tool, pycds; s = pycds.status(); print(s['active'], s['reason'], '' if s['active'] else pycds.disable(), flush=True)";
      const elsewhere = "False active in another interpreter of this process False\n";
      expect(world.spawn([world.path("fixed"), venvPython, code])).toEqual({ status: 0, signal: null, stdout: `True None \n${elsewhere.repeat(5)}`, stderr: "" });
    });
  });
}
