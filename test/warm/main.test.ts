/** What the interpreter itself knows of its main code is as in a stock start. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons().find(({ minor }) => minor === 14) : undefined;

describe.skipIf(python === undefined)(`CPython 3.14${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let image: string;
  const env = { ...pythonEnvironment(), PYCDS: "on" };
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-main-")));
    image = join(directory, "image");
    expect(createImage(image, ["--preload", "json", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const run = (which: string, words: readonly string[]) => {
    const { status, signal, stdout, stderr } = spawnSync(which, words, { cwd: directory, encoding: "utf8", env });
    return { status, signal, stdout, stderr };
  };

  it("sys.remote_exec finds the main thread", () => {
    writeFileSync(join(directory, "told.py"), "print('told', __import__('sys').argv[1:])\n");
    writeFileSync(join(directory, "asks.py"), `import os, sys
sys.remote_exec(os.getpid(), "told.py")
for number in range(100): pass
print("end")
`);
    const stock = run(exe, ["asks.py", "word"]);
    expect(stock).toEqual({ status: 0, signal: null, stdout: "told ['word']\nend\n", stderr: "" });
    expect(run(image, ["asks.py", "word"])).toEqual(stock);
  });

  it("recursion of C code goes as deep as the stack of the start allows, not that of the building", { timeout: 60_000 }, () => {
    writeFileSync(join(directory, "deep.py"), `import json, sys
sys.setrecursionlimit(10 ** 9)
def fits(depth):
    try:
        json.loads("[" * depth + "]" * depth)
    except RecursionError:
        return False
    return True
low, high = 1, 1 << 22
while high - low > 16:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
print(low)
`);
    const depth = (which: string, kilobytes: number): number => {
      const { status, stdout } = run("sh", ["-c", 'ulimit -s "$1"; exec "$0" deep.py', which, `${kilobytes}`]);
      expect(status).toBe(0);
      return Number(stdout);
    };
    for (const kilobytes of [512, 1024, 8192, 32_768]) {
      const stock = depth(exe, kilobytes);
      const ratio = depth(image, kilobytes) / stock;
      // the kernel's strings lie on stock's stack, and its begin is random
      expect([kilobytes, ratio > 0.93 && ratio < 1.07 ? 1 : ratio]).toEqual([kilobytes, 1]);
    }
  });
});
