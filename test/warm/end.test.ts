/** The ends `fast` and `quick` leave out the teardown of imported modules, and nothing else that can be seen. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;

/** Files of every make that a module opens when the program asks, and keeps. */
const keeper = `import bz2, gzip, io
FILES = []
class Loud(io.TextIOWrapper):
    def __del__(self):
        self.write("last words")
        super().__del__()
        raise ValueError("loud")
def keep(folder):
    for kind, file in (("text", open(folder + "/text", "w")), ("binary", open(folder + "/binary", "wb")), ("bz2", bz2.open(folder + "/bz2", "wt")), ("gzip", gzip.open(folder + "/gzip", "wt"))):
        file.write(kind if kind != "binary" else b"binary")
        FILES.append(file)
    FILES.append(Loud(open(folder + "/loud", "wb")))
def read(folder):
    return [open(folder + "/" + name, "rb").read() for name in ("text", "binary", "loud")] + [bz2.open(folder + "/bz2").read(), gzip.open(folder + "/gzip").read()]
`;

const daemon = `import sys, threading, time
VALUE = 1
def loop():
    while True:
        VALUE + 1
        time.sleep(0.001)
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)
SLOW = Slow()
threading.Thread(target=loop, daemon=True).start()
time.sleep(0.05)
`;

describe.skipIf(python === undefined)(`the end of a restored process${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let env: Record<string, string>;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-end-")));
    env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib") };
    mkdirSync(join(directory, "lib"));
    writeFileSync(join(directory, "lib/keeper.py"), keeper);
    writeFileSync(join(directory, "daemon.py"), daemon);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  describe.each(["fast", "quick"])("--exit %s", (mode) => {
    let image: string;
    beforeAll(() => {
      image = join(directory, mode);
      expect(createImage(image, ["--preload", "keeper,threading", "--exit", mode, "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    });
    const start = (program: string, args: readonly string[]) => {
      const { status, stdout, stderr } = spawnSync(program, args, { cwd: directory, encoding: "utf8", env: program === image ? { ...env, PYCDS: "on" } : env });
      return { status, stdout, stderr: stderr.replaceAll(/0x[0-9a-f]+/g, "0x…") };
    };

    it("files that an imported module holds open are flushed", () => {
      const files = (program: string) => {
        const folder = mkdtempSync(join(directory, "files-"));
        const { status, stdout, stderr } = start(program, ["-c", `import keeper; keeper.keep(${JSON.stringify(folder)})`]);
        expect(stderr).toMatch(/^Exception ignored [^]*ValueError: loud\n$/);
        expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
        return start(exe, ["-c", `import keeper; print(keeper.read(${JSON.stringify(folder)}))`]).stdout;
      };
      expect(files(image)).toBe("[b'text', b'binary', b'last words', b'bz2', b'gzip']\n");
    });
    it("daemon threads do not see what is cleared", () => {
      expect(start(image, ["daemon.py"])).toEqual(start(exe, ["daemon.py"]));
      expect(start(image, ["daemon.py"])).toEqual({ status: 0, stdout: "", stderr: "" });
    });
  });
});
