// CPython's marshal as oracle (facts/cpython.md §6): the same streams are read by marshal.loads and by us; values, sharing and refusals must agree.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { readMarshal } from "../../src/pyc/marshal.ts";
import { python, pythonEnvironment } from "../support/pythons.ts";
import { Merged, Walk } from "./oracle-walk.ts";

/** Bytes of the standard library's source that are compiled for each interpreter, of about 20 to 30 MB. */
const sample = 8_000_000;

interface Outcome {
  readonly counts: ReadonlyMap<string, number>;
  readonly faults: readonly string[];
}

function compare(streams: Uint8Array, tokens: readonly string[], minor: number): Outcome {
  const counts = new Map<string, number>();
  const faults: string[] = [];
  let at = 0;
  for (let index = 0; index < tokens.length; ) {
    const [, group = "", size = "", verdict = "", reason = ""] = (tokens[index] ?? "").split(" ");
    const stream = streams.subarray(at, at + Number(size));
    at += Number(size);
    index++;
    const first = index;
    while (index < tokens.length && !(tokens[index] ?? "").startsWith("= ")) index++;
    const fault = judge(stream, verdict === "read" ? new Walk(tokens, first) : undefined, index, minor);
    const key = `${group} ${verdict}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (fault !== undefined) faults.push(`${group} ${Buffer.from(stream.subarray(0, 40)).toString("hex")} (${verdict} ${reason}): ${fault}`);
  }
  if (at !== streams.length) faults.push(`${streams.length - at} bytes of streams are left`);
  return { counts, faults };
}

/** @param walk along CPython's value, or undefined if CPython refuses the stream */
function judge(stream: Uint8Array, walk: Walk | undefined, end: number, minor: number): string | undefined {
  let value;
  try {
    ({ value } = readMarshal(stream, { minor }));
  } catch (error) {
    if (!(error instanceof PycdsError)) throw error;
    // Stricter than CPython by intention: see marshal.ts on cycles and on NULL as a dict's value.
    const stricter = error.code === "PYC_CYCLE" || error.why.startsWith("NULL where an object of a dict");
    return walk === undefined || stricter ? undefined : `the reader refuses: ${error.line}`;
  }
  if (walk === undefined) return "the reader accepts";
  try {
    walk.value(value);
  } catch (error) {
    if (error instanceof Merged) return undefined;
    return String(error);
  }
  return walk.at === end ? undefined : `CPython's account has ${end - walk.at} tokens more`;
}

describe.each(["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])("CPython %s", (version) => {
  const found = python(version);
  test.skipIf(found === undefined)(`marshal.loads of ${version} and readMarshal agree`, { timeout: 120_000 }, () => {
    if (found === undefined) return;
    const folder = mkdtempSync(join(tmpdir(), "pycds-oracle-"));
    try {
      const out = join(folder, "oracle");
      // A fixed hash seed: sets are written, and so damaged, in the same order each time.
      const env = { ...pythonEnvironment(), PYTHONHASHSEED: "0" };
      execFileSync(found.exe, [join(import.meta.dirname, "oracle.py"), out, String(sample)], { env, stdio: ["ignore", "inherit", "inherit"] });
      const tokens = readFileSync(`${out}.tokens`, "utf8").slice(0, -1).split("\n");
      const { counts, faults } = compare(readFileSync(`${out}.streams`), tokens, found.minor);
      console.info(`CPython ${version}: ${[...counts].map(([key, count]) => `${count} ${key}`).join(", ")}`);
      expect(faults.slice(0, 10)).toEqual([]);
      expect(counts.get("library read")).toBeGreaterThan(300);
      expect(counts.get("hand-made read")).toBeGreaterThan(300);
      expect(counts.get("mutated read")).toBeGreaterThan(300);
      expect(counts.get("mutated refused")).toBeGreaterThan(300);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
