/**
 * The conformance matrix: what each oracle found in each interpreter, and which
 * interpreters it could not ask. Tests say their line; as a reporter of vitest
 * this file prints them together at the end of a run.
 */
import type { TaskMeta } from "vitest";
import type { Reporter, TestModule } from "vitest/node";
import { describeWay, wanted } from "../../tools/pythons/plan.ts";

interface Line {
  readonly oracle: string;
  /** Minor version: the order of lines. */
  readonly minor: number;
  readonly text: string;
}

declare module "vitest" {
  interface TaskMeta {
    conformance?: Line;
  }
}

/** Adds a test's line; a later one of the same test takes its place. */
export function tell(task: { readonly meta: TaskMeta }, line: Line): void {
  task.meta.conformance = line;
}

/** How an interpreter that is not here can be had; `version` as tools/pythons names it, e.g. `3.13t`. */
export function howToGet(version: string): string {
  const ways = wanted.find((each) => each.version === version)?.ways ?? [];
  return ways.length === 0 ? "no way is known to have it" : `\`npx tsx tools/pythons/main.ts ${version}\` brings it (${ways.map(describeWay).join(", or ")})`;
}

/** What tools/pythons knows that is not among these versions. */
export function lacking(found: readonly { readonly version: string }[]): readonly { readonly version: string; readonly minor: number; readonly how: string }[] {
  return wanted
    .filter(({ version }) => !found.some((each) => each.version === version))
    .map(({ version }) => ({ version, minor: Number(/^3\.(\d+)/.exec(version)?.[1]), how: howToGet(version) }));
}

export default class MatrixReporter implements Reporter {
  onTestRunEnd(files: readonly TestModule[]): void {
    const lines: (Line & { readonly failed: boolean })[] = [];
    for (const file of files)
      for (const test of file.children.allTests()) {
        const line = test.meta().conformance;
        if (line !== undefined) lines.push({ ...line, failed: test.result().state === "failed" });
      }
    for (const oracle of new Set(lines.map((line) => line.oracle))) {
      console.log(`\n${oracle}:`);
      for (const { text, failed } of lines.filter((line) => line.oracle === oracle).sort((a, b) => a.minor - b.minor)) console.log(`  ${text}${failed ? " FAILED" : ""}`);
    }
  }
}
