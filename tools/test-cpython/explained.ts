/**
 * Differences that cannot be otherwise, each with its reason; docs/cpython-tests.md
 * tells the same in more words. An entry covers one exact pair of outcomes, so
 * that the same test failing in another way is a difference again.
 */
import type { Difference } from "./compare.ts";
import type { Outcome } from "./outcomes.ts";
import type { Opposite } from "./prefix.ts";

export interface Explanation {
  readonly arm: Opposite;
  readonly module: string;
  readonly test: string;
  /** `3.11`, …; absent: all. */
  readonly versions?: readonly string[];
  readonly stock: Outcome;
  readonly ours: Outcome;
  readonly reason: string;
}

/** Both classes of test_dis run this test. */
const immortal = (test: string): Explanation => ({
  arm: "archived",
  module: "test_dis",
  test,
  versions: ["3.14"],
  stock: "ok",
  ours: "failed",
  reason: "it shows LOAD_CONST_MORTAL, specialised for a constant tuple; archived constants are immortal, so the opcode is LOAD_CONST_IMMORTAL (docs/differences.md)",
});

export const explanations: readonly Explanation[] = [
  immortal("test.test_dis.DisTests.test_loop_quicken"),
  immortal("test.test_dis.DisWithFileTests.test_loop_quicken"),
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
