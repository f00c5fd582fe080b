/**
 * Plain `python` of a venv after `pycds install`: the archive answers, Node is
 * not needed, and `uninstall` leaves the venv as it was. The seed system's three
 * steps work under its own environment names.
 */
import { appendFileSync, existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { readEvents, World } from "../validity/world.ts";

/** Names and contents of a tree, __pycache__ included. */
function picture(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const stat = lstatSync(path);
    found.set(path, stat.isSymbolicLink() ? `-> ${readlinkSync(path)}` : stat.isDirectory() ? "folder" : readFileSync(path, "base64"));
  }
  return found;
}

for (const { name: title, version, python } of served()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    let exe = "";
    const venv = (): string => world.path("venv");
    const inVenv = (code: string, extra: Readonly<Record<string, string>> = {}): ReturnType<World["spawn"]> => {
      // no Node anywhere near
      return world.spawn([exe, "-c", code], { PATH: "/usr/bin:/bin", ...extra });
    };

    beforeAll(() => {
      world = new World(python?.exe ?? "");
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", world.path("venv")]));
      exe = world.path("venv/bin/python");
      // to read any .pth at all site.py imports a codec (_bootlocale in 3.9, encodings.utf_8_sig in 3.13): with one, what is compared is our line
      world.write(`venv/lib/python${version}/site-packages/others.pth`, "# nothing\n");
      world.write("lib/tool.py", "import json\ndef speak():\n    return json.dumps({'x': [1, 2]})\n");
      world.must(world.spawn([exe, "-c", "import tool"]));
      world.must(world.cli(["trace", "-o", world.path("app.trace"), "--", exe, "-c", "import tool"]));
      world.must(world.cli(["build", "--trace", world.path("app.trace"), "-o", world.path("app.pycds")]));
    });
    afterAll(() => world.remove());

    it("install serves, status says so, uninstall restores names and contents", () => {
      const before = picture(venv());
      const stock = inVenv("import sys, tool; print(tool.speak(), sys.path, [m for m in sys.modules if 'pycds' not in m])");
      const modulesBefore = inVenv("import sys; print(*sorted(sys.modules))").stdout.trim().split(" ");
      const pathBefore = inVenv("import os, sys; print(dict(os.environ), sys.path, sys.meta_path, sys.path_hooks[1:], sys.flags)");
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const log = world.path("installed.log");
      const served = inVenv("import sys, tool; print(tool.speak(), sys.path, [m for m in sys.modules if 'pycds' not in m])", { PYCDS_LOG: log, PYCDS: "on" });
      const known = (text: string): string => text.replace(/0x[0-9a-f]+/g, "0x");
      expect({ ...served, stdout: known(served.stdout) }).toEqual({ ...stock, stdout: known(stock.stdout) });
      expect(readEvents(log).hit).toEqual(expect.arrayContaining(["tool", "json", "json.decoder"]));
      expect(readEvents(log).summary).toMatch(/^hit=\d+ miss=0 stale=0 archive=.*\/pycds\.data\/default\.pycds$/);

      const modulesAfter = inVenv("import sys; print(*sorted(sys.modules))").stdout.trim().split(" ");
      expect(modulesAfter.filter((name) => !modulesBefore.includes(name)).every((name) => name.includes("pycds"))).toBe(true);
      expect(modulesAfter).toContain("_pycds");
      const pathAfter = inVenv("import os, sys; print(dict(os.environ), sys.path, sys.meta_path, sys.path_hooks[1:], sys.flags)");
      expect(known(pathAfter.stdout)).toBe(known(pathBefore.stdout));

      const status = world.cli(["status", "--venv", venv(), "--json"]);
      expect(status.status).toBe(0);
      expect(JSON.stringify(JSON.parse(status.stdout))).toContain("default.pycds");

      inVenv("import pycds"); // leaves a __pycache__ of ours
      world.must(world.cli(["uninstall", "--venv", venv()]));
      expect([...picture(venv())]).toEqual([...before]);
      expect(inVenv("import sys; print('_pycds' in sys.modules)").stdout).toBe("False\n");
    });

    it("what stands in sys.path beside the archive's folders: a folder gets no FileFinder, a zip file its importer", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const log = world.path("beside.log");
      world.must(world.spawn([world.exe, "-c", "import zipfile; z = zipfile.ZipFile('beside.zip', 'w'); z.writestr('zipped.py', 'value = 1'); z.close()"]));
      world.write("here/near.py", "value = 2\n");
      const program = (path: string, name: string): string => `import sys; sys.path.insert(0, ${JSON.stringify(world.path(path))}); import tool, sys; print(sys.path[0] in sys.path_importer_cache)\nimport ${name}; print(${name}.value, sys.path[0] in sys.path_importer_cache)`;
      expect(inVenv(program("here", "near"), { PYCDS_LOG: log }).stdout).toBe("False\n2 True\n");
      expect(inVenv(program("beside.zip", "zipped"), { PYCDS_LOG: log }).stdout).toBe("True\n1 True\n");
      expect(readEvents(log).hit.filter((name) => name === "tool")).toHaveLength(2);
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("another hook in zipimporter's place: stock", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const [log, first] = [world.path("hook.log"), `venv/lib/python${version}/site-packages/_a.pth`];
      world.write(first, "import sys; sys.path_hooks[0] = type('Hook', (), {'__init__': lambda self, path: (_ for _ in ()).throw(ImportError())})\n");
      expect(inVenv("import tool; print(tool.speak())", { PYCDS_LOG: log }).stdout).toBe('{"x": [1, 2]}\n');
      expect(readEvents(log).refused.join()).toContain("a hook stands before FileFinder's");
      rmSync(world.path(first));
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("pycds.status() and pycds.disable() from Python", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const told = inVenv("import json, pycds, tool; s = pycds.status(); print(json.dumps([s['active'], s['hit'] > 0, s['archive'], pycds.disable(), pycds.disable(), pycds.status()['active'], type(__import__('_frozen_importlib')._find_and_load).__name__]))");
      expect(JSON.parse(told.stdout)).toEqual([true, true, expect.stringMatching(/default\.pycds$/), true, false, false, "function"]);
      const off = inVenv("import json, pycds; s = pycds.status(); print(json.dumps([s['active'], s['mode']]))", { PYCDS: "off" });
      expect(JSON.parse(off.stdout)).toEqual([false, "off"]);
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("a sub-interpreter imports as stock, says so, and cannot switch the main one off", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const told = inVenv([
        "import pycds",
        "try: import _interpreters as interpreters",
        "except ImportError: import _xxsubinterpreters as interpreters",
        "inner = 'import json, pycds, tool; s = pycds.status(); print(tool.speak(), s[\"active\"], s[\"reason\"], pycds.disable(), flush=True)'",
        "one = interpreters.create(); interpreters.run_string(one, inner); interpreters.destroy(one)",
        "import tool; s = pycds.status(); print(s['active'], s['reason'], s['hit'] > 0, pycds.disable())",
      ].join("\n"));
      expect(told).toEqual({ status: 0, signal: null, stdout: '{"x": [1, 2]} False active in another interpreter of this process False\nTrue None True True\n', stderr: "" });
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("children of an installed python are served too, children of `run` are not", () => {
      const child = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'import tool, sys; print(\"_pycds\" in sys.modules)'], capture_output=True, text=True).stdout)";
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      expect(inVenv(child).stdout).toBe("True\n\n");
      world.must(world.cli(["uninstall", "--venv", venv()]));
      expect(world.cli(["run", "-a", world.path("app.pycds"), "--", exe, "-c", child]).stdout).toBe("False\n\n");
    });

    it("PYCDS=on with an archive that is gone ends with status 2 before user code", () => {
      world.must(world.cli(["install", "--venv", venv()]));
      const gone = inVenv("print('user code')", { PYCDS: "on", PYCDSARCHIVE: world.path("gone.pycds") });
      expect([gone.status, gone.stdout]).toEqual([2, ""]);
      expect(gone.stderr).toMatch(/^pycds: error: .*gone\.pycds.* — .* — .*\n$/);
      const auto = inVenv("print('user code')", { PYCDSARCHIVE: world.path("gone.pycds") });
      expect(auto).toEqual({ status: 0, signal: null, stdout: "user code\n", stderr: "" });
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("the seed's three steps under its own names", () => {
      world.must(world.cli(["install", "--venv", venv()]));
      const list = world.path("mod.lst");
      const image = world.path("mod.img");
      const code = "import tool; print(tool.speak())";
      const traced = inVenv(code, { PYCDSMODE: "TRACE", PYCDSLIST: list });
      expect(traced).toEqual({ status: 0, signal: null, stdout: '{"x": [1, 2]}\n', stderr: "" });
      expect(readFileSync(list, "utf8")).toContain('"module":"tool"');
      world.must(world.cli(["build", "--list", list, "-o", image]));
      const quiet = inVenv(code, { PYCDSMODE: "SHARE", PYCDSARCHIVE: image, PYCDSVERBOSE: "0" });
      expect(quiet).toEqual({ status: 0, signal: null, stdout: '{"x": [1, 2]}\n', stderr: "" });
      const some = inVenv(code, { PYCDSMODE: "SHARE", PYCDSARCHIVE: image, PYCDSVERBOSE: "1" });
      expect(some.stderr).toMatch(/^pycds: summary hit=\d+ miss=0 stale=0 archive=.*mod\.img\n$/);
      const all = inVenv(code, { PYCDSMODE: "SHARE", PYCDSARCHIVE: image, PYCDSVERBOSE: "2" });
      expect(all.stderr).toMatch(/^pycds: hit tool$/m);
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("a fork's child, a thread and a sub-process end as in stock; the summary is written once", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const code = "import os, threading\npid = os.fork()\nimport tool\nif pid: os.waitpid(pid, 0)\nt = threading.Thread(target=lambda: __import__('json.tool'))\nt.start(); t.join()\nif pid: print(tool.speak())\n";
      const log = world.path("fork.log");
      const outcome = inVenv(code, { PYCDS_LOG: log });
      expect(outcome).toEqual({ status: 0, signal: null, stdout: '{"x": [1, 2]}\n', stderr: "" });
      expect(readFileSync(log, "utf8").match(/summary/g)).toHaveLength(1);
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("many threads that import the same modules at once get them whole", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      const code = [
        "import threading",
        "start = threading.Barrier(16)",
        "faults = []",
        "def work():",
        "    start.wait()",
        "    try:",
        "        import tool, json.decoder",
        "        assert tool.speak() and json.decoder.JSONDecoder",
        "    except BaseException as e: faults.append(repr(e))",
        "ts = [threading.Thread(target=work) for _ in range(16)]",
        "[t.start() for t in ts]; [t.join() for t in ts]",
        "print(faults)",
      ].join("\n");
      for (let round = 0; round < 10; round += 1) expect(inVenv(code, { PYCDS: "on" }).stdout).toBe("[]\n");
      world.must(world.cli(["uninstall", "--venv", venv()]));
    });

    it("an edited module is stock's again, an untouched one stays served", () => {
      world.must(world.cli(["install", "--venv", venv(), "-a", world.path("app.pycds")]));
      appendFileSync(world.path("lib/tool.py"), "speak = lambda: 'edited'\n");
      const log = world.path("edited.log");
      expect(inVenv("import tool; print(tool.speak())", { PYCDS_LOG: log }).stdout).toBe("edited\n");
      expect([readEvents(log).stale, readEvents(log).hit.includes("json")]).toEqual([["tool: source changed"], true]);
      world.must(world.cli(["uninstall", "--venv", venv()]));
      expect(existsSync(world.path("venv/lib", `python${version}`, "site-packages/_pycds.pth"))).toBe(false);
    });
  });
}

