import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { geomean, median, pairRatios, quantile, reportOf, summarise } from "../../src/bench/stats.ts";
import { alignRows, renderMarkdown, renderText } from "../../src/bench/table.ts";
import type { ArmName, BenchRun, Measured, Sample } from "../../src/bench/types.ts";

const sample = (wallMs: number, minorFaults = 100): Sample => ({ wallMs, minorFaults, userMs: 0, sysMs: 0, majorFaults: 0, maxRssKib: 0, blocksRead: 0 });

function measured(name: string, walls: Partial<Record<ArmName, readonly number[]>>, counted = true): Measured {
  const samples = new Map<ArmName, Sample[]>();
  for (const arm of ["stock", "archive", "peer", "fast-exit"] as const) {
    const times = walls[arm];
    if (times !== undefined) samples.set(arm, times.map((time) => sample(time)));
  }
  return { name, counted, samples, served: { hit: 5, miss: 2, stale: 1 } };
}

describe("statistics", () => {
  it("interpolates quantiles", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([0, 10], 0.1)).toBe(1);
    expect(quantile([7], 0.9)).toBe(7);
    expect(() => quantile([], 0.5)).toThrow(RangeError);
  });

  it("stays between the smallest and the largest value", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
        for (const got of [quantile(values, q), geomean(values)]) {
          expect(got).toBeGreaterThanOrEqual(Math.min(...values) * (1 - 1e-9));
          expect(got).toBeLessThanOrEqual(Math.max(...values) * (1 + 1e-9));
        }
      }),
    );
  });

  it("takes ratios within a round, not of medians", () => {
    // medians are equal (20 and 20), yet in each round but one the archive is twice as fast
    const one = measured("x", { stock: [20, 40, 10], archive: [10, 20, 30] });
    expect(pairRatios(one, "stock", "archive")).toEqual([2, 2, 10 / 30]);
    expect(summarise(one)).toEqual({ name: "x", stock_ms: 20, archive_ms: 20, ratio: 2, ratio_spread: [0.6667, 2] });
  });
});

describe("the report", () => {
  const cases = [
    measured("a", { stock: [20, 20], archive: [10, 10], peer: [16, 16] }),
    measured("b", { stock: [80, 80], archive: [10, 10], peer: [20, 20] }),
    measured("pass", { stock: [10, 10], archive: [10.5, 10.5] }, false),
  ];

  it("has the agreed shape, the mean over what counts", () => {
    expect(reportOf("3.11.7", cases)).toEqual({
      python: "3.11.7",
      cases: [
        { name: "a", stock_ms: 20, archive_ms: 10, ratio: 2, ratio_spread: [2, 2], peer_ms: 16, peer_ratio: 1.25 },
        { name: "b", stock_ms: 80, archive_ms: 10, ratio: 8, ratio_spread: [8, 8], peer_ms: 20, peer_ratio: 4 },
        { name: "pass", stock_ms: 10, archive_ms: 10.5, ratio: 0.9524, ratio_spread: [0.9524, 0.9524] },
      ],
      geomean: 4,
      peer_geomean: 2.2361,
    });
  });

  it("has no peer where none was measured", () => {
    expect(reportOf("3.13.0", [measured("a", { stock: [20], archive: [10] })])).toEqual({
      python: "3.13.0",
      cases: [{ name: "a", stock_ms: 20, archive_ms: 10, ratio: 2, ratio_spread: [2, 2] }],
      geomean: 2,
    });
  });

  it("prints a table that says how it was measured", () => {
    const broken: Measured = { ...measured("c", { stock: [1], archive: [1] }, false), peerFault: "it fell over" };
    const run: BenchRun = { report: reportOf("3.11.7", cases), measured: [...cases, broken], rounds: 2, warmups: 1, cold: false, machine: { cpu: "C", cores: 2, kernel: "6", loadBefore: 0.5 } };
    const text = renderText(run);
    expect(text).toMatch(/^a +20\.0 +10\.0 +2\.00x +2\.00–2\.00 +16\.0 +1\.25x +1\.60x +100 \/ 100 \/ 100 +5 \/ 2 \/ 1$/m);
    expect(text).toMatch(/^geometric mean +4\.00x +2\.24x$/m);
    expect(text).toContain("2 interleaved rounds after 1 that are not counted");
    expect(text).toContain("adds 0.50 ms");
    expect(text).toContain("c: no peer: it fell over");
    const markdown = renderMarkdown(run, "npm run bench");
    expect(markdown).toContain("| a | 20.0 | 10.0 | 2.00x | 2.00–2.00 | 16.0 | 1.25x | 1.60x | 100 / 100 / 100 | 5 / 2 / 1 |");
    expect(new Set(markdown.split("\n").filter((line) => line.startsWith("|")).map((line) => line.split("|").length)).size).toBe(1);
  });

  it("aligns columns", () => {
    expect(alignRows([["a", "bb"], ["ccc", "d"]])).toBe("a    bb\nccc   d");
  });

  it("has a column for each arm that was asked for, and one for instructions", () => {
    const counts = (archive: number): Map<ArmName, number> => new Map([["stock", 300e6], ["archive", archive]]);
    const also = [
      { ...measured("a", { stock: [20, 20], archive: [10, 10], "fast-exit": [5, 5] }), instructions: counts(100e6) },
      { ...measured("b", { stock: [90, 90], archive: [10, 10], "fast-exit": [10, 10] }), instructions: counts(25e6) },
    ];
    const report = reportOf("3.11.7", also);
    expect(report.cases[0]).toMatchObject({ also: { "fast-exit": 4 }, instructions: { stock_millions: 300, ratios: { archive: 3 } } });
    expect(report).toMatchObject({ also_geomean: { "fast-exit": 6 }, instructions_geomean: { archive: 6 } });
    const run: BenchRun = { report, measured: also, rounds: 2, warmups: 1, cold: true, machine: { cpu: "C", cores: 2, kernel: "6", loadBefore: 0.5 } };
    const [header, row] = renderText(run).split("\n");
    expect(header?.trim().split(/ {2,}/)).toEqual(["case", "stock ms", "archive ms", "ratio", "p10–p90", "fast-exit", "stock M instr.", "archive instr.", "read MiB", "minor faults", "hit / missed / stale"]);
    expect(row).toContain("4.00x");
    expect(renderText(run)).toContain("put out of the page cache");
  });
});
