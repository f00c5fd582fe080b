/**
 * Differences that cannot be otherwise, each with its reason; docs/cpython-tests.md
 * tells the same in more words. An entry covers one exact pair of outcomes, so
 * that the same test failing in another way is a difference again.
 */
export interface Explanation {
  readonly module: string;
  readonly test: string;
  /** `3.11`, …; absent: all. */
  readonly versions?: readonly string[];
  readonly stock: string;
  readonly archived: string;
  readonly reason: string;
}

export const explanations: readonly Explanation[] = [
  {
    module: "test_site",
    test: "test.test_site.StartupImportTests.test_startup_imports",
    stock: "ok",
    archived: "skipped",
    reason: "it skips itself where site-packages holds any .pth file, and the installed pycds.pth is one",
  },
];

/** The reason of a difference that holds in every round, or undefined. */
export function explanationOf(module: string, version: string, test: string, stock: readonly string[], archived: readonly string[]): string | undefined {
  return explanations.find(
    (one) =>
      one.module === module &&
      one.test === test &&
      (one.versions === undefined || one.versions.includes(version)) &&
      stock.every((outcome) => outcome === one.stock) &&
      archived.every((outcome) => outcome === one.archived),
  )?.reason;
}
