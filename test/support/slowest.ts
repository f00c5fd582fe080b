/** A vitest reporter: after a run of many files, the slowest ones, with their hooks and imports. */
import { relative } from "node:path";
import type { Reporter, TestModule } from "vitest/node";

const shown = 12;

function seconds(file: TestModule): number {
  const { duration, collectDuration, setupDuration, prepareDuration } = file.diagnostic();
  return (duration + collectDuration + setupDuration + prepareDuration) / 1000;
}

export default class SlowestFiles implements Reporter {
  onTestRunEnd(files: readonly TestModule[]): void {
    if (files.length <= shown) return;
    const slowest = files.map((file) => ({ name: relative(process.cwd(), file.moduleId), took: seconds(file) })).sort((a, b) => b.took - a.took);
    const total = slowest.reduce((sum, { took }) => sum + took, 0);
    console.log(`\nslowest of ${files.length} test files (${total.toFixed(0)} s in all):`);
    for (const { name, took } of slowest.slice(0, shown)) console.log(`${took.toFixed(1).padStart(8)} s  ${name}`);
  }
}
