/** What a restored interpreter does to come to its program, as stock's start does it: compiling it, and what -c imports. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const canScript = spawnSync("script", ["--version"]).status === 0;
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

    // what was written, and what of it has left the process: the buffer's size
    const streams = `import fcntl, os, struct, sys, termios
def about(s): return [s.line_buffering, s.write_through, s.encoding, s.errors, s.mode, s.name, s.isatty(), s.seekable(), s.seekable() and s.tell(), s.buffer.raw._blksize, s.buffer.raw.mode, s.buffer.raw.name, type(s.buffer).__name__]
def out():
    try: return os.fstat(1).st_size or struct.unpack("i", fcntl.ioctl(1, termios.FIONREAD, b"    "))[0]
    except OSError: return None
found = [sys.stdin.buffer.read(3), sys.stdin.seekable() and (sys.stdin.buffer.seek(18), sys.stdin.buffer.read(4), sys.stdin.buffer.tell(), sys.stdin.read(3))]
found += [about(s) for s in (sys.stdin, sys.stdout, sys.stderr)] + [sys.stdout is sys.__stdout__]
for size in 500, 600, 3000, 1000, 5000, 40000:
    sys.stdout.buffer.write(b"x" * size)
    found.append(out())
open("found", "w").write(repr(found))
`;
    it.skipIf(canScript)("standard streams on terminals: not here, there is no script(1)", () => undefined);
    it.each([
      ["pipes", 'mkfifo err; exec 3<>err; printf abcdef | "$0" streams.py >&3 2>&3'], ["nothing", '"$0" streams.py < /dev/null > /dev/null 2>&1'],
      ["files from their begin", '"$0" streams.py < streams.py > out 2> err'], ["files from their middle", '(read line; echo y; echo z >&2; "$0" streams.py) < streams.py > out 2> err'],
      ["files that are appended to", '"$0" streams.py < streams.py >> out 2>> err'], ["terminals", 'script -qec "$0 streams.py" /dev/null < /dev/null > /dev/null'],
      ["mixed", 'printf abcdef | "$0" streams.py > out 2> /dev/null'],
    ].filter(([what]) => canScript || what !== "terminals"))("standard streams on %s", (_what, command = "") => {
      writeFileSync(join(directory, "work/streams.py"), streams);
      const found = (program: string): string => {
        for (const name of ["found", "out", "err"]) rmSync(join(directory, "work", name), { force: true });
        const { stderr } = spawnSync("bash", ["-c", command, program], { cwd: join(directory, "work"), encoding: "utf8", env: program === image ? { ...env, PYCDS: "on" } : env });
        expect(stderr).toBe("");
        return readFileSync(join(directory, "work/found"), "utf8");
      };
      expect(found(image)).toBe(found(exe));
    });
    it("standard streams that an import keeps stay its own", () => {
      writeFileSync(join(directory, "lib/keeps.py"), "import sys\nOUT, BUFFER = sys.stdout, sys.stderr.buffer\n");
      const keeps = join(directory, "keeps");
      expect(createImage(keeps, ["--preload", "keeps", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
      const code = "import keeps, sys; print(keeps.OUT is sys.stdout); keeps.OUT.write('kept\\n'); print('last')";
      expect(spawnSync(keeps, ["-c", code], { encoding: "utf8", env: { ...env, PYCDS: "on" } })).toMatchObject({ status: 0, stdout: "True\nkept\nlast\n", stderr: "" });
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
