/**
 * Builds that are not served, and a runtime library of the other flavour: refused with one
 * line, and the program runs as in stock. A free-threaded Python keeps its GIL off
 * (facts/cpython.md §8: a module without Py_mod_gil would switch it on), whichever library it loads.
 */
import { chmodSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeMarker } from "../../src/trace/describe-script.ts";
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

/** Interpreters that are not on this machine, by what they would say of themselves. */
describe("builds without layout data: one line, status 2, and the program runs as in stock", () => {
  const said = {
    executable: "/opt/bin/python", implementation: "cpython", hexversion: 0x030e_00f0, version: "3.14.0", pycMagic: 0x0a0d_0e2b, cacheTag: "cpython-314", platform: "linux-x86_64",
    pointerSize: 8, freeThreaded: false, debug: false, suffixes: [{ suffix: ".py", loader: "source" }], prefix: "/opt", basePrefix: "/opt", stdlib: "/opt/lib", dynload: null, sitePackages: ["/opt/site"], sysPath: [],
  };
  const others = [
    ["free-threaded 3.14", { freeThreaded: true }, /^pycds: error: no layout data for cpython-3\.14-linux-x86_64-freethreaded — known: .* — use a CPython of that list, .*\n$/],
    ["a debug build", { debug: true }, /^pycds: error: debug builds of CPython are not served \(cpython-3\.14-linux-x86_64-debug\) — .* — use a release build\n$/],
    ["a free-threaded debug build", { debug: true, freeThreaded: true }, /^pycds: error: cannot use interpreter \(.*\) — it is a free-threaded debug build, for which there are no archives — .*\n$/],
    ["a 32-bit build", { pointerSize: 4 }, /it is a 32-bit build, for which there are no archives/],
    ["PyPy", { implementation: "pypy", version: "3.10.14" }, /^pycds: error: cannot use interpreter \(.*\) — it is pypy 3\.10\.14, not CPython — .*\n$/],
  ] as const;
  let world: World;
  beforeAll(() => {
    world = new World("");
  });
  afterAll(() => world.remove());

  it.each(others)("%s", (name, differs, line) => {
    const exe = world.write(`${name.replaceAll(" ", "-")}/bin/python`, `#!/bin/sh\n[ "$1" = -I ] && printf '%s\\n' '${describeMarker}${JSON.stringify({ ...said, ...differs })}' || echo "$@"\n`);
    chmodSync(exe, 0o755);
    for (const command of [["install"], ["build", "--all", "-o", world.path("x.pycds")]]) {
      const { status, stdout, stderr } = world.cli([...command, "--python", exe]);
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toMatch(line);
    }
    expect(world.cli(["run", "--", exe, "app.py"])).toMatchObject({ status: 0, stdout: "app.py\n", stderr: "" });
  });
});
