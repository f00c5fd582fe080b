/** What differs between two descriptions of one ABI, apart from the build that was probed. */
import type { AbiData } from "../../src/abi/schema.ts";

/**
 * One line a differing member: path, checked-in value, probed value. A build whose collector has no generations
 * (early releases of 3.14) differs from later ones of its minor in that alone; the runtime sees it and leaves its collector be. One whose generations
 * are packed differs in their place alone; the runtime knows both places.
 */
export function compare(checkedIn: AbiData, probed: AbiData): string[] {
  const differences: string[] = [];
  const isPacked = probed.collector !== undefined && probed.collector.generations === probed.collector.packedGenerations;
  const collector = isPacked ? { ...probed.collector, generations: checkedIn.collector?.generations } : probed.collector ?? checkedIn.collector;
  walk("", { ...checkedIn, probed: undefined }, { ...probed, probed: undefined, collector }, differences);
  return differences;
}

function walk(path: string, a: unknown, b: unknown, differences: string[]): void {
  if (isObject(a) && isObject(b)) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) walk(path === "" ? name : `${path}.${name}`, a[name], b[name], differences);
  } else if (a !== b) {
    differences.push(`${path} is ${show(a)} in the data, ${show(b)} in the interpreter`);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function show(value: unknown): string {
  return value === undefined ? "absent" : JSON.stringify(value);
}
