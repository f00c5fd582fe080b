/** What a restored interpreter does to come to its program, as stock's start does it: compiling it, and what -c imports. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const found = missing === undefined ? warmPythons() : [];

describe.skipIf(missing !== undefined)(`to the program${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  describe.each(found)("$exe", ({ exe, minor }) => {
    let directory: string;
    let image: string;
    let env: Record<string, string>;
    beforeAll(() => {
      directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-command-")));
      for (const folder of ["lib", "work"]) mkdirSync(join(directory, folder));
      env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib") };
      writeFileSync(join(directory, "lib/module.py"), "VALUE = 1\n");
      start(exe, "-c", "import module"); // there is a .pyc file then: without one, an import calls compile()
      image = join(directory, "image");
      expect(createImage(image, ["--preload", "module", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    const start = (program: string, ...args: string[]) => {
      const { status, stdout, stderr } = spawnSync(program, args, { cwd: join(directory, "work"), encoding: "utf8", env: program === image ? { ...env, PYCDS: "on" } : env });
      return { status, stdout, stderr };
    };
    const same = (...args: string[]): string => {
      const warm = start(image, ...args);
      expect(warm).toEqual(start(exe, ...args));
      return warm.stdout;
    };

    const shows = "import module; print(module.VALUE, any(one.__name__ == 'AST' for one in object.__subclasses__()), ascii('ä'))";
    it("-c: no types of ast come to be that stock has not", () => expect(same("-c", shows)).toMatch(/^1 /));
    it("a script, with an encoding of its own", () => {
      writeFileSync(join(directory, "work/script.py"), `# coding: latin-1\n${shows}\n`, "latin1");
      expect(same("script.py")).toMatch(/'\\xe4'$/m);
    });
    it.each(["1 +", "x = '\\N{no}'", "# coding: latin-1\nprint(ascii('ä€'))", "from __future__ import annotations; print(1)", "from __future__ import no", "\ufeffprint(1)"])("-c %j", (code) => void same("-c", code));
    it("a script with a null character ends in an error", () => {
      writeFileSync(join(directory, "work/null.py"), "print(1)\n\0\n");
      expect(start(image, "null.py")).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining("null bytes") as string });
    });

    it("-c imports linecache since 3.13, the one that sys.path has first; a script does not", () => {
      const bare = join(directory, "bare");
      expect(createImage(bare, ["--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
      const where = "import sys; one = sys.modules.get('linecache'); print(one and one.__file__.rpartition('/')[0].rpartition('/')[2])";
      writeFileSync(join(directory, "work/where.py"), where);
      const by = (...args: string[]): string => {
        const { status, stdout, stderr } = spawnSync(bare, args, { cwd: join(directory, "work"), encoding: "utf8", env: { ...env, PYCDS: "on" } });
        expect({ status, stdout, stderr }).toEqual(start(exe, ...args));
        return stdout;
      };
      expect(by("-c", where)).toBe(minor >= 13 ? `python3.${minor}\n` : "None\n");
      expect(by("where.py")).toBe("None\n");
      writeFileSync(join(directory, "work/linecache.py"), "_register_code = lambda *rest: None\n");
      expect(by("-c", where)).toBe(minor >= 13 ? "work\n" : "None\n");
    });
  });
});
