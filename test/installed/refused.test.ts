/**
 * Builds that are not served, and a runtime library of the other flavour: refused with one
 * line, and the program runs as in stock. A free-threaded Python keeps its GIL off
 * (facts/cpython.md §8: a module without Py_mod_gil would switch it on), whichever library it loads.
 */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { install } from "../../src/venv/install.ts";
import { uninstall } from "../../src/venv/uninstall.ts";
import { checkout } from "../support/built.ts";
import { allPythons } from "../support/pythons.ts";
import { readEvents, World } from "../validity/world.ts";

const builds = allPythons().filter(({ flavour }) => flavour !== "release");
const wrongLibrary = /^.*: this runtime library is for Python with a GIL, this one is free-threaded; install it again$/;
const reasons = { freethreaded: wrongLibrary, debug: /^.*: .*(another build flavour|is for Python 3).*$/ } as const;
/** Any archive that opens: what is looked at first is the interpreter. */
const maker = allPythons().find(({ version, flavour }) => flavour === "release" && version === "3.11");
const flavours = ["freethreaded", "debug"] as const;

for (const flavour of flavours.filter((each) => !builds.some((build) => build.flavour === each))) it.skip(`a ${flavour} build is not on this machine`, () => undefined);

for (const { version, release, exe, flavour } of builds) {
  const reason = flavours.flatMap((each) => (each === flavour ? [reasons[each]] : []))[0];
  describe.skipIf(reason === undefined || maker === undefined)(`CPython ${version} (${release})${maker === undefined ? " (needs a 3.11 to make an archive)" : ""}`, () => {
    let world: World;
    let venvPython = "";
    const program = "import sys, tool, json; print(tool.value, getattr(sys, '_is_gil_enabled', lambda: None)(), [m for m in sys.modules if 'pycds' in m or 'json' in m])";
    beforeAll(() => {
      world = new World(maker?.exe ?? "");
      world.write("lib/tool.py", "import json\nvalue = json.dumps('tool')\n");
      world.write("main.py", "import tool, json\n");
      world.archive(["main.py"]);
      world.must(world.spawn([exe, "-m", "venv", "--without-pip", world.path("venv")]));
      venvPython = world.path("venv/bin/python");
    });
    afterAll(() => world.remove());

    it("an installed runtime refuses, under PYCDS=on with status 2; pycds.status() says why", () => {
      const stock = world.spawn([venvPython, "-c", program]);
      expect(stock.status).toBe(0);
      if (flavour === "debug") {
        const cli = world.cli(["install", "--venv", world.path("venv")]);
        expect([cli.status, cli.stderr]).toEqual([2, expect.stringMatching(/^pycds: error: debug builds of CPython are not served .*\n$/)]);
      }
      // as it comes into a venv whose interpreter is exchanged later
      const site = world.spawn([venvPython, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.trim();
      install({ site, runtime: join(checkout, "build/native/_pycds.so"), packageDir: join(checkout, "python/pycds") });
      const log = world.path("installed.log");
      const extra = { PYCDSARCHIVE: world.path("app.pycds"), PYCDS_LOG: log };
      const refused = world.spawn([venvPython, "-c", program], extra);
      expect({ ...refused, stdout: refused.stdout.replace("'_pycds', ", "") }).toEqual(stock);
      const events = readEvents(log);
      expect([events.refused.length, events.hit, events.miss]).toEqual([1, [], []]);
      expect(events.refused[0]).toMatch(reason ?? /^$/);
      const told = world.spawn([venvPython, "-c", "import pycds; s = pycds.status(); print(s['active'], s['tracing'], pycds.disable()); print('archive: ' + s['reason'])"], extra);
      expect(told.stdout.split("\n")[0]).toBe("False False False");
      expect(told.stdout.split("\n")[1]).toMatch(reason ?? /^$/);
      const on = world.spawn([venvPython, "-c", "print('user code')"], { ...extra, PYCDS: "on" });
      expect([on.status, on.stdout]).toEqual([2, ""]);
      expect(on.stderr).toMatch(/^pycds: error: archive refused \(.*app\.pycds\) — .* — .*\n$/);
      uninstall(site);
    });

    it("`run` with an archive of another build is stock", () => {
      const log = world.path("run.log");
      // a copy: where the build can be served, `run` puts one for it in the archive's place
      copyFileSync(world.path("app.pycds"), world.path("run.pycds"));
      const stock = world.spawn([exe, "-c", program]);
      const launched = world.cli(["run", "-a", world.path("run.pycds"), "--", exe, "-c", program], { PYCDS_LOG: log });
      expect([launched.status, launched.stdout.replace("'_pycds', ", "")]).toEqual([0, stock.stdout]);
      expect(readEvents(log).refused).toHaveLength(1);
      expect(readEvents(log).hit).toEqual([]);
    });

    it.runIf(flavour === "freethreaded")("`install` takes no archive of another build, neither here nor there", () => {
      const refusal = (archive: string, python: string): string => {
        const { status, stderr } = world.cli(["install", "--python", python, "-a", archive]);
        expect(status).toBe(2);
        return stderr;
      };
      expect(refusal(world.path("app.pycds"), venvPython)).toMatch(/^pycds: error: cannot install the archive \(.*\) — it is for CPython 3\.11\.\d+, this is 3\.\d+\.\d+ \(freethreaded\) — .*\n$/);
      world.must(world.cli(["trace", "-o", world.path("t.trace"), "--", exe, "main.py"]));
      world.must(world.cli(["build", "--trace", world.path("t.trace"), "-o", world.path("t.pycds")]));
      world.must(world.spawn([maker?.exe ?? "", "-m", "venv", "--without-pip", world.path("other")]));
      expect(refusal(world.path("t.pycds"), world.path("other/bin/python"))).toMatch(/— it is for CPython 3\.\d+\.\d+ \(freethreaded\), this is 3\.11\.\d+ —/);
    });

    it.runIf(flavour === "freethreaded")("a free-threaded library in a Python with a GIL refuses; it can be loaded there", () => {
      world.must(world.spawn([maker?.exe ?? "", "-m", "venv", "--without-pip", world.path("exchanged")]));
      const python = world.path("exchanged/bin/python");
      const site = world.spawn([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.trim();
      install({ site, runtime: join(checkout, "build/native/_pycds_t.so"), packageDir: join(checkout, "python/pycds") });
      const log = world.path("exchanged.log");
      const extra = { PYCDSARCHIVE: world.path("app.pycds"), PYCDS_LOG: log };
      const told = world.spawn([python, "-c", "import pycds, json; print(pycds.status()['active'], pycds.disable())"], extra);
      expect(told).toEqual({ status: 0, signal: null, stdout: "False False\n", stderr: "" });
      expect(readEvents(log).refused).toEqual([expect.stringMatching(/^.*: this runtime library is for free-threaded Python, this one has a GIL; install it again$/)]);
      expect(world.spawn([python, "-c", "print(1)"], { ...extra, PYCDS: "on" })).toMatchObject({ status: 2, stdout: "" });
    });
  });
}
