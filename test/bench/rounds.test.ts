import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseSummary } from "../../src/bench/archive.ts";
import { cleanEnv } from "../../src/bench/process.ts";
import { rotated, runBench } from "../../src/bench/rounds.ts";
import type { Arm } from "../../src/bench/types.ts";

const root = mkdtempSync(join(tmpdir(), "pycds-rounds-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const path = { PATH: process.env["PATH"] };
const shell = (name: Arm["name"], script: string): Arm => ({ name, argv: ["sh", "-c", script], env: path });

describe("rounds", () => {
  it("runs every arm once a round, in rotating order, and counts only what comes after the warm-up", async () => {
    const log = join(root, "order");
    const arm = (name: Arm["name"], sleep: string): Arm => shell(name, `printf '${name[0]} ' >> '${log}'; sleep ${sleep}`);
    const run = await runBench({
      python: "3.11.7",
      rounds: 3,
      warmups: 1,
      env: process.env,
      cases: [{ name: "x", counted: true, prepare: async () => ({ arms: [arm("stock", "0.06"), arm("archive", "0.01"), arm("peer", "0.03")] }) }],
    });
    expect(readFileSync(log, "utf8").trim()).toBe("s a p a p s p s a s a p");
    const [one] = run.report.cases;
    // a sleep may be longer than asked, never shorter: the helper's clock spans the whole process
    expect(one?.stock_ms).toBeGreaterThanOrEqual(60);
    expect(one?.archive_ms).toBeGreaterThanOrEqual(10);
    expect(one?.ratio).toBeGreaterThan(1.2);
    expect(one?.peer_ratio).toBeGreaterThan(1);
    expect(run.measured[0]?.samples.get("stock")).toHaveLength(3);
    expect(run.measured[0]?.samples.get("stock")?.every((sample) => sample.minorFaults > 0 && sample.maxRssKib > 0)).toBe(true);
  });

  it.each([
    ["exit 3", /status 3/],
    ["echo gone >&2; exit 1", /status 1: gone/],
    ["kill -9 $$", /signal 9/],
  ])("refuses a program that fails: %s", async (script, why) => {
    const bad = runBench({ python: "3", rounds: 1, warmups: 0, env: process.env, cases: [{ name: "x", counted: true, prepare: async () => ({ arms: [shell("stock", "true"), shell("archive", script)] }) }] });
    await expect(bad).rejects.toMatchObject({ code: "BENCH_RUN_FAILED", why: expect.stringMatching(why) as string });
  });

  it("refuses a program that does not exist, no rounds, no cases", async () => {
    const bench = (rounds: number, cases: number): Promise<unknown> =>
      runBench({ python: "3", rounds, env: process.env, cases: Array.from({ length: cases }, () => ({ name: "x", counted: true, prepare: async () => ({ arms: [{ name: "stock" as const, argv: [join(root, "none")], env: path }] }) })) });
    await expect(bench(1, 1)).rejects.toMatchObject({ code: "BENCH_COMMAND_FAILED" });
    await expect(bench(0, 1)).rejects.toMatchObject({ code: "BENCH_ROUNDS" });
    await expect(bench(1.5, 1)).rejects.toMatchObject({ code: "BENCH_ROUNDS" });
    await expect(bench(1, 0)).rejects.toMatchObject({ code: "BENCH_NO_CASES" });
  });

  it("puts files out of the page cache for a cold start", async () => {
    const file = join(root, "cold");
    const handle = openSync(file, "w");
    writeSync(handle, Buffer.alloc(1 << 20, 1));
    fsyncSync(handle); // only clean pages can be dropped
    closeSync(handle);
    const blocks = async (evict: readonly string[]): Promise<{ cold: boolean; blocks: number }> => {
      const arms = [shell("stock", `cat '${file}'`), shell("archive", "true")];
      const run = await runBench({ python: "3", rounds: 1, warmups: 1, env: process.env, cases: [{ name: "x", counted: true, prepare: async () => ({ arms, ...(evict.length === 0 ? {} : { evict }) }) }] });
      return { cold: run.cold, blocks: run.measured[0]?.samples.get("stock")?.[0]?.blocksRead ?? -1 };
    };
    const inMemory = statfsSync(root).type === 0x01021994; // tmpfs has no disk to read from
    const cold = await blocks([join(root, "there is none"), file]);
    expect(cold.cold).toBe(true);
    if (!inMemory) expect(cold.blocks).toBeGreaterThanOrEqual(2048);
    expect(await blocks([])).toMatchObject({ cold: false, blocks: 0 });
  });

  it("rotates", () => {
    expect([0, 1, 2, 3].map((by) => rotated(["a", "b", "c"], by).join(""))).toEqual(["abc", "bca", "cab", "abc"]);
  });
});

describe("what surrounds a run", () => {
  it("reads the first process's summary", () => {
    const log = "pycds: hit json\npycds: summary hit=12 miss=3 stale=1 archive=/a b.pycds\npycds: summary hit=1 miss=1 stale=1 archive=x\n";
    expect(parseSummary(log)).toEqual({ hit: 12, miss: 3, stale: 1 });
    expect(parseSummary("pycds: refused x: y\n")).toBeUndefined();
  });

  it("keeps Python's and our own variables out", () => {
    const env = cleanEnv({ PATH: "p", PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1", PYCDS: "off", PYCDSARCHIVE: "x", PYTHONHASHSEED: "0", GONE: undefined }, { PYCDSARCHIVE: "y" });
    expect(env).toEqual({ PATH: "p", PYTHONHASHSEED: "0", PYCDSARCHIVE: "y" });
  });
});
