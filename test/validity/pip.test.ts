/**
 * pip under an installed archive's feet: an unrelated package makes nothing
 * stale, an upgrade or downgrade is what stock would run.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import { readEvents, World } from "./world.ts";
import type { Events, Outcome } from "./world.ts";

for (const { name: title, python } of served()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    let exe = "";
    let runs = 0;
    const pip = (...args: readonly string[]): void => world.must(world.spawn([exe, "-m", "pip", "--quiet", "--disable-pip-version-check", ...args]));
    const program = "import packaging, packaging.version, packaging.tags, json; print(packaging.__version__, packaging.version.parse('1.2'), sorted(vars(packaging.tags)))";
    const archived = (): { readonly outcome: Outcome; readonly events: Events } => {
      const log = world.path(`log.${(runs += 1)}`);
      return { outcome: world.spawn([exe, "-c", program], { PYCDS_LOG: log }), events: readEvents(log) };
    };
    const stock = (): Outcome => world.spawn([exe, "-c", program], { PYCDS: "off" });

    beforeAll(() => {
      world = new World(python?.exe ?? "");
      world.must(world.spawn([world.exe, "-m", "venv", world.path("venv")]));
      exe = world.path("venv/bin/python");
      pip("install", "packaging==24.0");
      world.must(world.spawn([exe, "-c", program]));
      world.must(world.cli(["trace", "-o", world.path("app.trace"), "--", exe, "-c", program]));
      world.must(world.cli(["build", "--quiet", "--trace", world.path("app.trace"), "-o", world.path("app.pycds")]));
      world.must(world.cli(["install", "--venv", world.path("venv"), "-a", world.path("app.pycds")]));
    });
    afterAll(() => world.remove());

    it("serves, also after an unrelated package was installed", () => {
      const first = archived();
      expect([first.outcome, first.events.stale, first.events.miss]).toEqual([stock(), [], []]);
      expect(first.events.hit).toEqual(expect.arrayContaining(["packaging", "packaging.version", "json"]));
      pip("install", "six==1.16.0");
      const second = archived();
      expect([second.outcome, second.events.stale, second.events.miss, second.events.hit]).toEqual([stock(), [], [], first.events.hit]);
    });

    it("after a downgrade the next start runs the older release", () => {
      pip("install", "packaging==23.2");
      const { outcome, events } = archived();
      expect(outcome).toEqual(stock());
      expect(outcome.stdout).toMatch(/^23\.2 /);
      expect(events.stale.length).toBeGreaterThan(0);
      expect(events.hit).toContain("json");
    });

    it("after the removal of a package it is not found", () => {
      pip("uninstall", "-y", "packaging");
      const { outcome } = archived();
      expect(outcome).toEqual(stock());
      expect(outcome.stderr).toContain("No module named 'packaging'");
    });

    it("after pip has been at work, uninstall still takes out just what is ours", () => {
      world.must(world.cli(["uninstall", "--venv", world.path("venv")]));
      const left = world.spawn([exe, "-c", "import sysconfig, os; print(*sorted(n for n in os.listdir(sysconfig.get_path('purelib')) if 'pycds' in n))"]);
      expect(left.stdout).toBe("\n");
      expect(world.spawn([join(world.path("venv"), "bin/python"), "-c", "import six; print(six.__version__)"]).stdout).toBe("1.16.0\n");
    });
  });
}
