/**
 * Differences that cannot be otherwise, each with its reason; docs/cpython-tests.md
 * tells the same in more words. An entry covers one exact pair of outcomes, so
 * that the same test failing in another way is a difference again.
 */
import type { Difference } from "./compare.ts";
import type { Opposite } from "./prefix.ts";

export interface Explanation {
  readonly arm: Opposite;
  readonly module: string;
  readonly test: string;
  /** `3.11`, …; absent: all. */
  readonly versions?: readonly string[];
  readonly stock: string;
  readonly ours: string;
  readonly reason: string;
}

export const explanations: readonly Explanation[] = [
  {
    arm: "archived",
    module: "test_site",
    test: "test.test_site.StartupImportTests.test_startup_imports",
    stock: "ok",
    ours: "skipped",
    reason: "it skips itself where site-packages holds any .pth file, and the installed _pycds.pth is one",
  },
];

/** The reason of a difference that holds in every round, or undefined. */
export function explanationOf(arm: Opposite, module: string, version: string, { test, stock, ours }: Difference): string | undefined {
  return explanations.find(
    (one) =>
      one.arm === arm &&
      one.module === module &&
      one.test === test &&
      (one.versions === undefined || one.versions.includes(version)) &&
      stock.every((outcome) => outcome === one.stock) &&
      ours.every((outcome) => outcome === one.ours),
  )?.reason;
}
