/** What the tests of the harness share: a small archive, the harness plain and sanitized, a scratch folder. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { buildArchive } from "../../src/archive/build.ts";
import { none } from "../../src/image/schema.ts";
import { sampleTree, treeInput, writeTree } from "../archive/input.ts";
import { pythons } from "../support/pythons.ts";
import { Damage } from "./damage.ts";
import { compileHarness, harness, sanitizers, scratchFolder } from "./support.ts";

/**
 * Any release build whose ABI is known: the harness, which is compiled as the release flavour's runtime, does not care
 * which. The newest has co_version.
 */
export const python = pythons().findLast(({ minor, flavour }) => flavour === "release" && minor >= 11 && minor <= 13);
/** For a describe's name. */
export const missing = python === undefined ? " (no CPython 3.11 to 3.13 on this machine)" : "";

const folder = scratchFolder();

/** A path in the test file's own scratch folder. */
export const file = (name: string): string => join(folder.path, name);
/** The sample tree, archived. */
export const good = file("good.pycds");
/** Where the harness puts what it damages. */
export const scratch = file("scratch");
export const plain = file("harness");
/** Built with ASan and UBSan. */
export const sanitized = file("harness-asan");

let bytes: Uint8Array | undefined;

/** Bytes of `good`, once beforeAll has run. */
export function goodBytes(): Uint8Array {
  if (bytes === undefined) throw new Error("no archive yet");
  return bytes;
}

/** A copy of `good`, to be changed. */
export const damaged = (): Damage => new Damage(goodBytes());

export function written(name: string, content: Uint8Array): string {
  writeFileSync(file(name), content, { mode: 0o644 });
  return file(name);
}

/** What archive_open() says of each file, and of what it refuses at its use. */
export const opened = (...files: string[]): string[] => harness(sanitized, ["open", ...files]).stdout.trimEnd().split("\n");

/** Of the first entry that has code. */
export const coded = (damage: Damage): number => damage.rows("entries").findIndex((entry) => entry.unit !== none);

/** To be called at the top of a test file. */
export function prepareSample(): void {
  beforeAll(async () => {
    if (python === undefined) return;
    writeTree(file("tree"), sampleTree);
    bytes = buildArchive(treeInput(python, file("tree"))).bytes;
    written("good.pycds", bytes);
    await Promise.all([compileHarness(plain), compileHarness(sanitized, sanitizers)]);
  }, 240_000);
  afterAll(() => folder.remove());
}
