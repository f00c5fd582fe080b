/** What is remembered of .pyc files and of sources from build to build. */
import { readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Compiler } from "../../src/archive/collect-compile.ts";
import { machineView } from "../../src/archive/collect-view.ts";
import { heldPyc } from "../../src/archive/pyc-file.ts";
import { rememberingView } from "../../src/archive/pyc-memo.ts";
import { scratch } from "./input.ts";

describe("the memory of .pyc files", () => {
  const folder = scratch();
  afterAll(() => folder.remove());
  const now = (): bigint => BigInt(Date.now() + 3_600_000) * 1_000_000n;
  const file = join(folder.path, "m.pyc");

  it("spares reading what has not changed, and nothing else", () => {
    writeFileSync(file, Buffer.alloc(50, 7));
    const first = rememberingView(machineView, undefined, now);
    expect(first.remembered?.(file)?.key()).toBe(heldPyc(readFileSync(file)).key());
    const memory = first.memory();
    let reads = 0;
    const counting = { ...machineView, read: (path: string) => { reads += 1; return machineView.read(path); } };
    const second = rememberingView(counting, memory, now);
    expect(second.remembered?.(file)?.key()).toBe(heldPyc(readFileSync(file)).key());
    expect(Buffer.from(second.remembered?.(file)?.head ?? []).equals(Buffer.alloc(16, 7))).toBe(true);
    expect(reads).toBe(0);
    expect(second.memory()).toBeUndefined();
    // the same size, and the mtime set back: the ctime tells
    const { atime, mtime } = statSync(file);
    writeFileSync(file, Buffer.alloc(50, 8));
    utimesSync(file, atime, mtime);
    expect(rememberingView(counting, memory, now).remembered?.(file)?.key()).toBe(heldPyc(Buffer.alloc(50, 8)).key());
    expect(reads).toBe(1);
  });

  it("spares compiling what could not be compiled, by the same interpreter, while it is unchanged", async () => {
    const source = join(folder.path, "bad.py");
    writeFileSync(source, "def\n");
    let asked: readonly string[] = [];
    const why = "it cannot be compiled: SyntaxError: invalid syntax (line 1)";
    const compiler = (reason: string): Compiler => async (paths) => {
      asked = paths;
      return Promise.resolve(new Map(paths.map((path) => [path, { kind: "failed" as const, why: reason }])));
    };
    const compile = async (memory: string | undefined, reason = why, interpreter = "30b07f0-release", optimize = 0): Promise<string | undefined> => {
      asked = [];
      const view = rememberingView(machineView, memory, now);
      const results = await view.compiler(compiler(reason), interpreter)([source], optimize);
      expect([...results]).toEqual([[source, { kind: "failed", why: asked.length === 0 ? why : reason }]]);
      return view.memory();
    };
    const memory = await compile(undefined);
    expect(asked).toEqual([source]);
    expect(await compile(memory)).toBeUndefined();
    expect(asked).toEqual([]);
    for (const [interpreter, optimize] of [["30d00f0-release", 0], ["30b07f0-release", 1]] as const) {
      await compile(memory, why, interpreter, optimize);
      expect(asked).toEqual([source]);
    }
    // what may go well another time is not kept
    expect(await compile(undefined, "it cannot be compiled: MemoryError: ")).toBeUndefined();
    writeFileSync(source, "deg\n");
    await compile(memory);
    expect(asked).toEqual([source]);
  });

  it("does not remember a file that was just written, and forgets all of a damaged memory", () => {
    writeFileSync(file, Buffer.alloc(60, 1));
    const racy = rememberingView(machineView, undefined, () => statSync(file, { bigint: true }).ctimeNs);
    expect(racy.remembered?.(file)).toBeDefined();
    expect(racy.memory()).toBeUndefined();
    const settled = rememberingView(machineView, undefined, now);
    settled.remembered?.(file);
    const memory = settled.memory() ?? "";
    for (const text of ["", "x", memory.slice(0, -1), memory.replace("m.pyc", "n.pyc"), `0\n{}`]) {
      const view = rememberingView(machineView, text, now);
      view.remembered?.(file);
      expect(view.memory()).toBeDefined();
    }
  });
});
