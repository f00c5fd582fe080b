/**
 * Units and name blocks are read into memory of their own (native/runtime/read.c, pages.c): in steps, in huge pages
 * where they are worth it and there are any, and never at the price of a unit that cannot be had.
 */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { treeInput, writeTree } from "../archive/input.ts";
import { file, good, missing, plain, prepareSample, python, sanitized, scratch, written } from "./sample.ts";
import { harness } from "./support.ts";

prepareSample();

/** What the harness says of memory taken under a condition. */
function memory(how: string, env: Readonly<Record<string, string>> = {}): { readonly near: number; readonly joined: number; readonly asked: number; readonly huge: number; readonly rss: number } {
  const [, near = 0, joined = 0, asked = -1, huge = 0, rss = 0] = /^near=(\d) joined=(\d) asked=(\d+) huge=(\d+) rss=(\d+)\n$/.exec(harness(plain, ["memory", how], env).stdout)?.map(Number) ?? [];
  return { near, joined, asked, huge, rss };
}

const taken = 50 * 100;

/** KiB that are at most had beyond what was taken: the least that is asked for at once, and pages begun. */
const slack = 48;

function hugePagesAreOn(): boolean {
  try {
    return !readFileSync("/sys/kernel/mm/transparent_hugepage/enabled", "utf8").includes("[never]");
  } catch {
    return false;
  }
}

describe.skipIf(python === undefined)(`memory of units${missing}`, () => {
  it("is in huge pages from 256 KiB on, one chunk behind the other, near the base", (context) => {
    const { near, joined, asked, huge, rss } = memory("usual");
    expect([near, joined]).toEqual([1, 1]);
    if (huge === 0) {
      expect(rss).toBeGreaterThanOrEqual(taken);
      context.skip(hugePagesAreOn() ? "no huge page is free on this machine" : "transparent huge pages are switched off on this machine");
    }
    expect([asked, huge]).toEqual([3, 3 * 2048]);
    expect(rss).toBe(256 + huge);
  });

  it("is in small pages, no more than are taken, where the process may have no huge ones, or asks for none", () => {
    for (const small of [memory("prctl"), memory("usual", { PYCDS_PAGES: "small" }), memory("usual", { PYCDS_PAGES: "Small" })]) {
      expect(small).toMatchObject({ near: 1, joined: 1, huge: 0 });
      expect(small.rss).toBeGreaterThanOrEqual(taken);
    }
    // One that did not come is the last one that is asked for.
    expect([memory("prctl").asked, memory("usual", { PYCDS_PAGES: "small" }).asked, memory("little").asked]).toEqual([1, 0, 0]);
    expect(memory("usual", { PYCDS_PAGES: "small" }).rss).toBeLessThanOrEqual(taken + slack);
  });

  it("is in small pages when little more will be wanted", () => {
    const { huge, rss } = memory("little");
    expect(huge).toBe(0);
    expect(rss).toBeLessThanOrEqual(4 * 100 + slack);
  });

  it("is in small pages where hardly a huge one is free, for the kernel would have to make room for it", () => {
    expect(memory("few")).toMatchObject({ joined: 1, huge: 0 });
    const { huge } = memory("usual");
    expect([memory("enough").huge, memory("unreadable").huge]).toEqual([huge, huge]);
  });

  it("begins where a huge page can lie when more is wanted than it seemed", () => {
    expect(memory("late")).toMatchObject({ near: 1, joined: 0, huge: memory("usual").huge });
  });

  it("lies elsewhere where something else is mapped", () => {
    const usual = memory("usual");
    expect(memory("taken")).toMatchObject({ near: 0, huge: usual.huge });
    expect(memory("split")).toMatchObject({ near: 1, joined: 0 });
  });

  it("is read by any kernel and file system, and again after an error", () => {
    for (const exe of [plain, sanitized]) {
      const how = (name: string): string => harness(exe, ["reads", good, name]).stdout;
      expect(how("plain")).toBe("loaded=5 refused=0 nowait=1 pread=0 advised=0\n");
      expect(how("unknown")).toBe("loaded=5 refused=0 nowait=0 pread=1 advised=1\n");
      expect(how("short")).toBe("loaded=5 refused=0 nowait=0 pread=1 advised=1\n");
      expect(how("interrupted")).toMatch(/^loaded=5 refused=0 .* pread=1 advised=1\n$/);
      expect(how("failing")).toBe("the archive file cannot be read: Input/output error\nloaded=5 refused=0 nowait=1 pread=0 advised=1\n");
    }
  });

  it("comes from the file that was opened when its name stands for another one, or none", () => {
    for (const exe of [plain, sanitized]) {
      for (const how of ["renamed", "unlinked"]) expect(harness(exe, ["replaced", good, scratch, how]).stdout).toBe("loaded=6 refused=0 read=0\n");
    }
  });

  it("a unit for which there is none is stock's, and may be asked for again", () => {
    expect(harness(plain, ["limit", good]).stdout).toBe("no memory for archived code\n");
  });

  describe("in a large archive", () => {
    beforeAll(() => {
      if (python === undefined) return;
      const lines = Array.from({ length: 30 }, (_, n) => `def f${n}(a, b): return (a.x${n}, 'text ${n}', b)`).join("\n");
      writeTree(file("many"), Object.fromEntries(Array.from({ length: 120 }, (_, n) => [`m${String(n).padStart(3, "0")}.py`, `${lines}\nn = ${n}\n`])));
      written("many.pycds", buildArchive({ ...treeInput(python, file("many")), traced: 100 }).bytes);
    }, 60_000);

    it("units are read alone at first, in steps that grow while they are asked for in their order, elsewhere anew, behind the hot part alone", () => {
      const asked = (...units: readonly number[]): { readonly units: number; readonly bytes: number }[] =>
        harness(plain, ["steps", file("many.pycds"), ...units.map(String)]).stdout.trimEnd().split("\n").map((line) => {
          const [, , many = -1, bytes = -1] = /^(\d+): units=(\d+) bytes=(\d+)$/.exec(line)?.map(Number) ?? [];
          return { units: many, bytes };
        });
      const inOrder = asked(...Array.from({ length: 100 }, (_, n) => n));
      const steps = inOrder.filter(({ units }) => units > 0);
      expect(inOrder[0]?.units).toBe(1);
      expect(steps.length).toBeGreaterThan(6);
      expect(steps.length).toBeLessThan(10);
      steps.slice(1, 6).forEach(({ bytes }, n) => {
        const step = Math.min(32 << n, 512) << 10;
        expect(bytes).toBeLessThanOrEqual(step);
        expect(bytes).toBeGreaterThan(step - 32 * 1024);
      });
      // All of the hot part, but for what begins on its last page; nothing behind it.
      const read = steps.reduce((sum, { units }) => sum + units, 0);
      expect(read).toBe(100);
      expect(asked(0, 1, 50, 51, 52).map(({ units }) => units > 1)).toEqual([false, true, false, true, false]);
      // What was read already ends a step.
      expect(asked(5, 0, 1, 3).map(({ units }) => units)).toEqual([1, 1, 2, 2]);
      expect(asked(110, 111, 112).map(({ units }) => units)).toEqual([1, 1, 1]);
    });
  });
});
