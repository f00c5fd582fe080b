/**
 * The same trees and stamps give the same bytes on a machine with only Node on
 * it: the build for a target runs with nothing on the PATH and may start no
 * process at all, on copies with other mtimes.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { abiId, knownAbis } from "../../src/abi/load.ts";
import { builtPycds } from "../support/built.ts";
import { tell } from "../support/matrix.ts";
import { served } from "../support/served.ts";
import { pycds, readEvents, World } from "../validity/world.ts";
import type { Outcome } from "../validity/world.ts";

/** Whoever wants to start a process is told off, and found out. */
const guard = `
const fs = require("node:fs"), children = require("node:child_process");
for (const name of ["spawn", "spawnSync", "exec", "execSync", "execFile", "execFileSync", "fork"])
  children[name] = (file) => {
    fs.writeFileSync(process.env.PYCDS_TEST_STARTED, String(file));
    throw new Error("no process may be started: " + file);
  };
require("node:module").syncBuiltinESMExports();
`;
const oracle = "Built with only Node (no PATH, no process started) against built by the interpreter's machine";

for (const { name: title, version, python } of served()) {
  describe.skipIf(python === undefined)(title, () => {
    let world: World;
    const at = (name: string): string => world.path(name);
    const offline = (args: readonly string[]): Outcome =>
      world.spawn([process.execPath, "--require", at("guard.cjs"), pycds, ...args], { PATH: at("nothing"), PYCDS_TEST_STARTED: at("started"), HOME: at("home") });

    beforeAll(async () => {
      if (python === undefined) return;
      await builtPycds();
      world = new World(python.exe);
      mkdirSync(at("nothing"));
      writeFileSync(at("guard.cjs"), guard);
      world.write("lib/tool/__init__.py", "import json, re, collections\nfrom tool import part\n");
      world.write("lib/tool/part.py", "import dataclasses\nPATTERN = re.compile('a+b') if (re := __import__('re')) else 0\n@dataclasses.dataclass\nclass Point:\n    x: int = 0\nNAMES = frozenset({'a', 1, (2, 'b')})\n");
      world.write("app/main.py", "import tool\n"); // in a folder of its own: what is written beside it would be in its listing
      world.must(world.stock(["app/main.py"]));
      world.must(world.cli(["trace", "-o", at("app.trace"), "--", world.exe, "app/main.py"]));
      world.must(world.cli(["build", "--trace", at("app.trace"), "--python", world.exe, "--write-stamps", at("app.stamps"), "-o", at("here.pycds")]));
      // With mtimes of its own: what counts is what the stamps say.
      cpSync(at("lib"), at("copy"), { recursive: true });
    });
    afterAll(() => world.remove());

    const target = (id: string, stamps: string, output: string): Outcome =>
      offline(["build", "--trace", at("app.trace"), "--target", id, "--stamps", stamps, "--tree", "/=/", "--tree", `${at("copy")}=${at("lib")}`, "-o", output]);
    const targetOf = (platform: string): string => abiId({ minor: python?.minor ?? 0, platform, flavour: python?.flavour ?? "release" });

    it("a build that would need the interpreter cannot pass here", () => {
      const outcome = offline(["build", "--trace", at("app.trace"), "--python", world.exe, "-o", at("not.pycds")]);
      expect(outcome.status).not.toBe(0);
      expect(readFileSync(at("started"), "utf8")).toContain("python");
      expect(existsSync(at("not.pycds"))).toBe(false);
    });

    it("gives the same bytes, and starts nothing", ({ task }) => {
      writeFileSync(at("started"), "");
      const outcome = target(targetOf("linux-x86_64"), at("app.stamps"), at("there.pycds"));
      expect(outcome).toMatchObject({ status: 0, signal: null });
      expect(readFileSync(at("started"), "utf8")).toBe("");
      expect(world.cli(["diff", at("here.pycds"), at("there.pycds")])).toEqual({ status: 0, signal: null, stdout: "the archives are equal\n", stderr: "" });
      const [here, there] = [readFileSync(at("here.pycds")), readFileSync(at("there.pycds"))];
      expect(here.byteLength).toBeGreaterThan(100_000);
      expect(Buffer.compare(here, there)).toBe(0);
      tell(task, { oracle, minor: python?.minor ?? 0, text: `${version} (${python?.release ?? ""}): ${there.byteLength} bytes, the same` });
    });

    it("one for the same Python with another C library is refused here: its finders look for other suffixes", () => {
      const stamps = readFileSync(at("app.stamps"), "utf8");
      const musl = stamps.replaceAll("-linux-gnu.so", "-linux-musl.so");
      expect(musl).not.toBe(stamps);
      writeFileSync(at("musl.stamps"), musl);
      const fewer = JSON.parse(stamps) as { interpreter: { suffixes: unknown[] } };
      fewer.interpreter.suffixes.splice(1, 1);
      writeFileSync(at("fewer.stamps"), JSON.stringify(fewer));
      for (const [name, why] of [["musl", /look for other suffixes than \.cpython-.*-linux-musl\.so; build it with this Python$/], ["fewer", /look for \d suffixes, it has \d; /], ["app", undefined]] as const) {
        const archive = at(`${name}-suffixes.pycds`);
        expect(target(targetOf("linux-x86_64"), at(`${name}.stamps`), archive)).toMatchObject({ status: 0 });
        const log = at(`${name}-suffixes.log`);
        world.must(world.spawn([process.execPath, pycds, "run", "-a", archive, "-a", at(`${name}-own.pycds`), "--", world.exe, "app/main.py"], { PYCDS_LOG: log }));
        const { refused, hit } = readEvents(log);
        const mine = refused.filter((line) => line.startsWith(archive));
        expect(mine).toEqual(why === undefined ? [] : [expect.stringMatching(why)]);
        expect(hit.length > 0).toBe(why === undefined);
      }
    });

    const arm = targetOf("linux-aarch64");
    it.skipIf(!knownAbis().includes(arm))(`for ${arm}: sound, and the same whenever it is built`, () => {
      const stamps = readFileSync(at("app.stamps"), "utf8").replace('"linux-x86_64"', '"linux-aarch64"').replaceAll("x86_64-linux-gnu", "aarch64-linux-gnu");
      writeFileSync(at("arm.stamps"), stamps);
      for (const output of ["arm1.pycds", "arm2.pycds"]) expect(target(arm, at("arm.stamps"), at(output))).toMatchObject({ status: 0 });
      expect(Buffer.compare(readFileSync(at("arm1.pycds")), readFileSync(at("arm2.pycds")))).toBe(0);
      expect(offline(["verify", at("arm1.pycds")])).toMatchObject({ status: 0 });
      const summary = JSON.parse(offline(["inspect", "--json", at("arm1.pycds")]).stdout) as { target: { platform: string }; modules: number };
      expect(summary.target.platform).toBe("linux-aarch64");
      expect(summary.modules).toBeGreaterThan(10);
      expect(readFileSync(at("started"), "utf8")).toBe("");
    });
  });
}
