/**
 * Several archives at once, looked up in order: what each has, what happens
 * when one of them is refused, damaged or out of date, and how they are named.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { readEvents } from "../validity/world.ts";
import { damagedUnit, flipped, modulesOf, opened, Place } from "./place.ts";

/** `hit NAME: ARCHIVE` of several layers. */
const by = (hits: readonly string[]): Map<string, string> => new Map(hits.map((hit) => [hit.slice(0, hit.indexOf(": ")), hit.slice(hit.indexOf(": ") + 2)]));

for (const { name: title, version, python } of served()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: Place;
    let base = "";
    let app = "";
    let full = "";
    const main = (): string[] => [world.exe, world.path("main.py")];

    beforeAll(() => {
      world = new Place(python?.exe ?? "");
      world.write("lib/tool/__init__.py", "import json\nfrom . import part\ndef speak():\n    return json.dumps({'x': [1, part.value()]})\n");
      world.write("lib/tool/part.py", "import textwrap\ndef value():\n    return textwrap.dedent('  two')\n");
      world.write("main.py", "import tool\nprint(tool.speak(), tool.speak.__code__.co_filename)\n");
      base = world.build("base.pycds", [world.exe, "-c", "import json, textwrap"]);
      app = world.build("app.pycds", main(), ["--base", base]);
      full = world.build("full.pycds", main());
    });
    afterAll(() => world.remove());

    it("a layer built with --base has only what the base does not hold", () => {
      expect(modulesOf(app).toSorted()).toEqual(["tool", "tool.part"]);
      expect(modulesOf(full)).toEqual(expect.arrayContaining(["json", "textwrap", "tool", "tool.part"]));
      expect(statSync(app).size).toBeLessThan(statSync(full).size / 2);
      expect(opened(app).folders.length).toBeLessThan(opened(full).folders.length);
      expect(opened(app).meta().excluded).toEqual([]);
      expect(world.cli(["verify", app]).status).toBe(0);
    });

    it("both orders serve all of it, nothing differs from stock, and the log says which layer served", () => {
      for (const archives of [[base, app], [app, base]]) {
        const events = world.same(archives, [world.exe], "tool");
        expect(by(events.hit)).toEqual(new Map([...by(events.hit), ["tool", app], ["tool.part", app], ["json", base], ["json.decoder", base], ["textwrap", base]]));
        expect(events.miss.filter((miss) => /^(tool|json|textwrap)\b/.test(miss))).toEqual([]);
        expect(events.refused).toEqual([]);
        expect(events.summary).toMatch(new RegExp(`^hit=\\d+ miss=\\d+ stale=0 archive=${archives.join(":")}$`));
      }
    });

    it("one archive alone is logged as ever, and a layer without its base leaves the rest to stock", () => {
      const alone = world.same([full], [world.exe], "tool");
      expect(alone.hit).toEqual(expect.arrayContaining(["tool", "json"]));
      expect(alone.summary).toMatch(new RegExp(` archive=${full}$`));
      const without = world.same([app], [world.exe], "tool");
      expect(without.hit).toEqual(["tool", "tool.part"]);
      expect(without.miss.map((miss) => miss.split(":")[0])).toEqual(expect.arrayContaining(["json", "json.decoder", "textwrap"]));
    });

    it("a refused layer leaves the others working; under PYCDS=on it ends the start", () => {
      const bad = flipped(base, world.path("bad.pycds"), 100);
      for (const archives of [[bad, app], [app, bad]]) {
        const events = world.same(archives, [world.exe], "tool");
        expect(events.refused).toEqual([expect.stringContaining(bad)]);
        expect(events.hit).toEqual(["tool", "tool.part"]);
        const on = world.launched(archives, main(), { PYCDS: "on" });
        expect([on.outcome.status, on.outcome.stdout]).toEqual([2, ""]);
        expect(on.outcome.stderr).toMatch(/^pycds: error: archive refused \(.*bad\.pycds\) — /);
      }
      const gone = world.launched([world.path("none.pycds"), app], main());
      expect([gone.outcome.status, gone.events.refused.length, gone.events.hit]).toEqual([0, 1, ["tool", "tool.part"]]);
    });

    it("a damaged unit is served by the next layer, whose base address is taken already", () => {
      const damaged = damagedUnit(full, "tool", world.path("damaged.pycds"));
      expect(opened(damaged).header.preferred_base).toBe(opened(full).header.preferred_base);
      const events = world.same([damaged, full], [world.exe], "tool");
      expect(by(events.hit).get("tool")).toBe(full);
      expect(by(events.hit).get("json")).toBe(damaged);
      expect(events.stale).toEqual([expect.stringMatching(/^tool: archived code is damaged/)]);
      // in the second layer, of what the first one has not: stock imports it
      const second = world.same([base, damaged], [world.exe], "tool");
      expect(by(second.hit).get("json")).toBe(base);
      expect(by(second.hit).get("tool.part")).toBe(damaged);
      expect(by(second.hit).has("tool")).toBe(false);
      expect(second.stale).toEqual([expect.stringMatching(/^tool: archived code is damaged/)]);
    });

    it("stale in the first and valid in the second: the second serves; stale in both: stock", () => {
      world.write("lib/turned.py", "value = 'old'\n");
      world.write("turned_main.py", "import turned, sys\nprint(turned.value)\nsys.stdout.flush()\n");
      const script = [world.exe, world.path("turned_main.py")];
      const before = world.build("before.pycds", script);
      world.write("lib/turned.py", "value = 'newer'\n");
      const after = world.build("after.pycds", script);
      const both = world.launched([before, after], script);
      expect([both.outcome.stdout, both.events.stale, by(both.events.hit).get("turned")]).toEqual(["newer\n", [], after]);
      world.write("lib/turned.py", "value = 'newest of all'\n");
      const neither = world.launched([before, after], script);
      expect([neither.outcome.stdout, neither.events.stale.length, by(neither.events.hit).has("turned")]).toEqual(["newest of all\n", 1, false]);
      rmSync(world.path("lib/turned.py"));
      const gone = world.launched([before, after], script);
      expect(gone.outcome).toEqual(world.spawn(script));
      expect(gone.outcome.stderr).toContain("No module named 'turned'");
    });

    it("a folder that two layers know at different times: each tells what is true now", () => {
      world.write("lib/early.py", "value = 1\n");
      world.write("listing_main.py", "import early\ntry: import late\nexcept ImportError as error: print(error)\ntry: import never\nexcept ImportError as error: print(error)\n");
      const script = [world.exe, world.path("listing_main.py")];
      const before = world.build("listing-before.pycds", script);
      world.write("lib/late.py", "value = 2\n");
      const after = world.build("listing-after.pycds", script);
      for (const archives of [[before, after], [after, before]]) {
        const { outcome, events } = world.launched(archives, script);
        expect(outcome).toEqual(world.spawn(script));
        expect(by(events.hit).get("late")).toBe(after);
        expect(by(events.hit).get("early")).toBe(archives[0]);
      }
      rmSync(world.path("lib/late.py"));
      const { outcome } = world.launched([after, before], script);
      expect(outcome).toEqual(world.spawn(script));
      rmSync(world.path("lib/early.py"));
    });

    it("layers that tell changes by different things are not mixed: the later one is refused, by build and install too", () => {
      const normal = (): void => utimesSync(world.path("lib"), 1, 1);
      const script = [world.exe, world.write("mixed_main.py", "import early\ntry: import late\nexcept ImportError as error: print(error)\nelse: print(late.value)\n")];
      world.write("lib/early.py", "value = 1\n");
      normal();
      const mtimes = world.build("mixed-mtimes.pycds", script);
      normal();
      world.write("lib/late.py", "value = 2\n");
      const contents = world.build("mixed-contents.pycds", script, ["--digest"]);
      normal();
      const first = world.launched([contents, mtimes], script);
      expect(first.outcome).toEqual(world.spawn(script));
      expect(first.outcome.stdout).toBe("2\n");
      expect(first.events.refused).toEqual([`${mtimes}: it goes by mtimes, the archive before it goes by contents (--digest); build both with the same options`]);
      // which build says of such a tree
      const warned = (options: readonly string[]): string => world.cli(["build", "--trace", world.path("mixed-mtimes.pycds.trace"), ...options, "-o", world.path("warned.pycds")]).stderr;
      expect(warned([])).toMatch(/^pycds: warning: folders have normalised mtimes \(1970-01-01T00:00:01\.000Z\), .* — build with --digest\n$/);
      for (const option of ["--digest", "--sealed", "--quiet"]) expect(warned([option])).toBe("");
      const sealed = world.build("mixed-sealed.pycds", script, ["--sealed"]);
      const second = world.launched([mtimes, contents, sealed, mtimes], script);
      expect(second.events.refused).toEqual([expect.stringMatching(/^.*contents\.pycds: it goes by contents/), expect.stringMatching(/^.*sealed\.pycds: it does not look for changes \(--sealed\), the archive before it goes by mtimes/)]);

      const trace = world.path("mixed-mtimes.pycds.trace");
      const built = world.cli(["build", "--trace", trace, "--base", contents, "-o", world.path("mixed.pycds")]);
      expect([built.status, built.stderr]).toEqual([2, expect.stringMatching(/^pycds: error: cannot use the base archive \(.*mixed-contents\.pycds\) — it goes by contents \(--digest\), this build goes by mtimes — build both with --digest, .*\n$/)]);
      expect(world.cli(["build", "--trace", trace, "--base", contents, "--digest", "--quiet", "-o", world.path("mixed.pycds")])).toMatchObject({ status: 0, stderr: "" });
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", world.path("mixed-venv")]));
      const installed = world.cli(["install", "--venv", world.path("mixed-venv"), "--base", contents, "-a", mtimes]);
      expect([installed.status, installed.stderr]).toEqual([2, expect.stringContaining("goes by contents (--digest)")]);
      // run's own archive goes by what its base goes by
      const run = (): ReturnType<Place["cli"]> => world.cli(["run", "-a", contents, "-a", world.path("mixed-own.pycds"), "--", ...script]);
      expect(run()).toEqual(world.spawn(script));
      expect(opened(world.path("mixed-own.pycds")).meta().options).toMatchObject({ digest: true, sealed: false });
      copyFileSync(mtimes, world.path("mixed-own.pycds"));
      expect(run()).toEqual(world.spawn(script));
      expect(opened(world.path("mixed-own.pycds")).meta().options).toMatchObject({ digest: true, sealed: false });
      for (const file of ["early", "late"]) rmSync(world.path(`lib/${file}.py`));
    });

    it("a forked child imports from the layers that its parent mapped, both of them mapped to be read only", () => {
      const script = world.write("fork_main.py", [
        "import os, sys",
        "maps = [line.split() for line in open('/proc/self/maps')]",
        "for path in sys.argv[1:]:",
        "    print(path, [line[1] for line in maps if line[-1] == path], flush=True)",
        "pid = os.fork()",
        "import tool",
        "print(tool.speak(), flush=True)",
        "if pid: assert os.waitpid(pid, 0)[1] == 0",
      ].join("\n"));
      const { outcome, events } = world.launched([base, app], [world.exe, script, base, app]);
      expect(outcome.status).toBe(0);
      const lines = outcome.stdout.trim().split("\n");
      for (const file of [base, app]) expect(lines).toContain(`${file} ['r--p']`);
      expect(lines.filter((line) => line.startsWith("{"))).toHaveLength(2);
      expect(events.hit.filter((hit) => hit === `tool: ${app}`)).toHaveLength(2);
    });

    it("PYCDSARCHIVE is a list; pycds.status() names what serves", () => {
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", world.path("venv")]));
      world.must(world.cli(["install", "--venv", world.path("venv")]));
      const exe = world.path("venv/bin/python");
      const log = world.path("list.log");
      const told = world.spawn([exe, "-c", "import tool, json, pycds; s = pycds.status(); print(json.dumps([s['active'], s['archive'], s['archives']]))"], { PYCDSARCHIVE: `${base}::${world.path("none.pycds")}:${app}:`, PYCDS_LOG: log });
      expect(JSON.parse(told.stdout)).toEqual([true, `${base}:${app}`, [base, app]]);
      expect(by(readEvents(log).hit).get("tool")).toBe(app);
      expect(readEvents(log).refused).toHaveLength(1);
      // one file whose own name has a colon
      mkdirSync(world.path("a:b"));
      copyFileSync(full, world.path("a:b/full.pycds"));
      const colon = world.spawn([exe, "-c", "import tool, json, pycds; print(json.dumps(pycds.status()['archives']))"], { PYCDSARCHIVE: world.path("a:b/full.pycds") });
      expect(JSON.parse(colon.stdout)).toEqual([world.path("a:b/full.pycds")]);
      const empty = world.spawn([exe, "-c", "print('user code')"], { PYCDSARCHIVE: ":", PYCDS: "on" });
      expect([empty.status, empty.stdout]).toEqual([2, ""]);
      const many = world.spawn([exe, "-c", "print('user code')"], { PYCDSARCHIVE: Array(9).fill(app).join(":"), PYCDS: "on" });
      expect([many.status, many.stderr]).toEqual([2, expect.stringContaining("more than 8 archives")]);
    });

    it("install takes several, and a base that stays where it is; status lists them; uninstall leaves nothing", () => {
      const venv = world.path("venv2");
      world.must(world.spawn([world.exe, "-m", "venv", "--without-pip", venv]));
      const site = `${venv}/lib/python${version}/site-packages`;
      const run = (): ReturnType<typeof readEvents> => {
        const log = world.path(`install.${Math.random()}`);
        expect(world.spawn([`${venv}/bin/python`, "-c", "import tool; print(tool.speak())"], { PYCDS_LOG: log, PYCDS: "on" }).status).toBe(0);
        return readEvents(log);
      };
      world.must(world.cli(["install", "--venv", venv, "--base", base, "-a", app]));
      expect(existsSync(`${site}/pycds.data/default-2.pycds`)).toBe(false);
      expect(by(run().hit).get("json")).toBe(base);
      expect(by(run().hit).get("tool")).toBe(`${site}/pycds.data/default.pycds`);
      const status = JSON.parse(world.cli(["status", "--venv", venv, "--json"]).stdout) as { state: string; layers: unknown };
      expect(status).toMatchObject({ state: "installed", layers: [{ path: base, base: true, state: "intact" }, { path: "pycds.data/default.pycds", base: false, state: "intact" }] });
      expect(world.cli(["status", "--venv", venv]).stdout).toContain(`archives: ${base}, ${site}/pycds.data/default.pycds`);

      world.must(world.cli(["install", "--venv", venv, "-a", base, "-a", app]));
      expect(by(run().hit).get("json")).toBe(`${site}/pycds.data/default.pycds`);
      expect(by(run().hit).get("tool")).toBe(`${site}/pycds.data/default-2.pycds`);

      world.must(world.cli(["install", "--venv", venv, "-a", full]));
      expect([existsSync(`${site}/pycds.data/default-2.pycds`), existsSync(`${site}/pycds.data/default.layers`)]).toEqual([false, false]);
      expect(run().summary).toMatch(/default\.pycds$/);

      world.must(world.cli(["install", "--venv", venv, "--base", base]));
      expect(run().summary).toBe(`hit=${run().hit.length} miss=${run().miss.length} stale=0 archive=${base}`);
      copyFileSync(base, world.path("moved.pycds"));
      world.must(world.cli(["install", "--venv", venv, "--base", world.path("moved.pycds")]));
      rmSync(world.path("moved.pycds"));
      const damaged = world.cli(["status", "--venv", venv]);
      expect([damaged.status, damaged.stdout]).toEqual([1, expect.stringContaining(`the base archive ${world.path("moved.pycds")} is missing`)]);
      world.must(world.cli(["uninstall", "--venv", venv]));
      expect(existsSync(`${site}/pycds.data`)).toBe(false);
    });

    it("run -a BASE -a APP makes APP without what BASE holds, serves from both, and why tells which", () => {
      const own = world.path("own.pycds");
      const args = ["run", "-a", base, "-a", own, "--", ...main()];
      const first = world.cli(args);
      expect(first).toEqual(world.spawn(main()));
      expect(modulesOf(own).filter((name) => name.startsWith("json"))).toEqual([]);
      expect(modulesOf(own)).toEqual(expect.arrayContaining(["tool", "tool.part"]));
      const bytes = readFileSync(own);
      const log = world.path("run.log");
      world.must(world.cli(args, { PYCDS_LOG: log }));
      expect([by(readEvents(log).hit).get("tool"), by(readEvents(log).hit).get("json")]).toEqual([own, base]);
      expect(readFileSync(own).equals(bytes)).toBe(true);

      const why = JSON.parse(world.cli(["why", "--json", `${base}:${own}`, "json", "tool"]).stdout) as { module: string; archive: string; serves: boolean; because: string }[];
      expect(why.map(({ module, archive, serves }) => [module, archive, serves])).toEqual([["json", base, true], ["json", own, false], ["tool", base, false], ["tool", own, true]]);
      const refused = world.cli(["run", "-a", base, "-a", world.path("a:b/x.pycds"), "--", ...main()]);
      expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining("its name has a colon")]);
      expect(world.cli(["run", ...Array.from({ length: 9 }, () => ["-a", base]).flat(), "--", ...main()]).status).toBe(2);
      const foreign = world.cli(["build", "--trace", world.path("app.pycds.trace"), "-O", "2", "--base", base, "-o", world.path("x.pycds")]);
      expect([foreign.status, foreign.stderr]).toEqual([2, expect.stringContaining("this build is for")]);
    });
  });
}
