/**
 * The hazards of facts/cpython.md that concern objects, each in living
 * interpreters of every version that has it: with our layout stock's behaviour
 * is seen, and with the rule broken it is not (wrong results, or a crash), so
 * each check is known to be able to fail.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, cpSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { knownAbis, loadAbi } from "../../src/abi/load.ts";
import type { Abi } from "../../src/abi/types.ts";
import { allPythons, pythonEnvironment } from "../support/pythons.ts";
import { abiOf, layOutAll, runScript } from "./live.ts";

interface Hazard {
  /** The rule and where facts/cpython.md has it. */
  readonly rule: string;
  /** Of hazards.py. */
  readonly check: string;
  readonly applies: (abi: Abi) => boolean;
  /** How the rule is broken: by the ABI's data, or while the unit is loaded (hazards.py, "damage"). */
  readonly broken: { readonly abi: (abi: Abi) => Abi } | { readonly damage: string };
  /** What must come of it. */
  readonly symptom: "crash" | "complaint" | "either";
}

const always = (): boolean => true;
const minor = (from: number, to = Infinity) => (abi: Abi): boolean => abi.version.minor >= from && abi.version.minor <= to;
const gil = (abi: Abi): boolean => abi.flavour !== "freethreaded";
/** Free-threaded 3.13 does not specialise bytecode. */
const specialising = (from: number, to = Infinity) => (abi: Abi): boolean => minor(from, to)(abi) && gil(abi);

/** The ABI with one derived field of code objects replaced. */
const scalar = (field: string, value: (right: number) => number) => (abi: Abi): Abi => ({
  ...abi,
  codeScalars: (code) => new Map([...abi.codeScalars(code)].map(([name, right]) => [name, name === field ? value(right) : right])),
});
const header = (hex: string) => (abi: Abi): Abi => ({ ...abi, immortalHeader: Uint8Array.from(Buffer.from(hex, "hex")) });
const state = (change: (right: number) => number) => (abi: Abi): Abi => ({ ...abi, strState: (width, ascii) => change(abi.strState(width, ascii)) });

const hazards: readonly Hazard[] = [
  // Code objects.
  { rule: "co_version is unique in the process: CALL's guards trust it (§4)", check: "versions", applies: specialising(12), broken: { damage: "same-version" }, symptom: "crash" },
  { rule: "co_version is never 0: calls would not specialise (§4)", check: "specialised", applies: specialising(13), broken: { damage: "no-version" }, symptom: "complaint" },
  { rule: "co_warmup begins at -8: at 0 nothing ever specialises (§4)", check: "specialised", applies: specialising(11, 11), broken: { abi: scalar("co_warmup", () => 0) }, symptom: "complaint" },
  { rule: "co_framesize counts locals, stack and FRAME_SPECIALS_SIZE (§1)", check: "deep", applies: minor(12), broken: { abi: scalar("co_framesize", () => 1) }, symptom: "either" },
  { rule: "_co_firsttraceable is the first RESUME: before it a frame is incomplete (§1)", check: "frames", applies: minor(11), broken: { abi: scalar("_co_firsttraceable", () => 0x7fff) }, symptom: "either" },
  { rule: "co_cell2arg says which arguments are cells (§1)", check: "cells", applies: minor(9, 10), broken: { abi: (abi) => ({ ...abi, cell2arg: () => undefined }) }, symptom: "complaint" },
  { rule: "CO_NOFREE is set exactly where there are no cells (§1)", check: "flags", applies: minor(9, 10), broken: { abi: scalar("co_flags", (flags) => flags & ~0x40) }, symptom: "complaint" },
  { rule: "CO_NOFREE is not set where there are cells: the fast path makes none (§1)", check: "cells", applies: minor(9, 9), broken: { abi: scalar("co_flags", (flags) => flags | 0x40) }, symptom: "either" },
  { rule: "fields of the running process are empty (§1)", check: "weakrefs", applies: always, broken: { damage: "weak-references" }, symptom: "either" },
  // Reference counts (§2).
  { rule: "a count that is never freed: 1 << 40 (§2)", check: "headers", applies: minor(9, 11), broken: { abi: header("0000000000000000") }, symptom: "crash" },
  { rule: "a count that is not written: 0xFFFFFFFF, not 0xC0000000 (§2)", check: "headers", applies: (abi) => minor(12, 13)(abi) && gil(abi), broken: { abi: header("000000c000000000") }, symptom: "complaint" },
  { rule: "a count that is not written: 0xC0000000 with flags 5 (§2)", check: "headers", applies: (abi) => minor(14)(abi) && gil(abi), broken: { abi: header("0000004000000500") }, symptom: "complaint" },
  { rule: "a count that is not written: no owner, ob_ref_local 0xFFFFFFFF (§2)", check: "headers", applies: (abi) => !gil(abi), broken: { abi: header(`${"00".repeat(12)}00000040${"00".repeat(8)}`) }, symptom: "complaint" },
  { rule: "a GC header of zeros: not tracked (§1)", check: "tracked", applies: gil, broken: { abi: (abi) => ({ ...abi, gcHeaderSize: 0 }) }, symptom: "either" },
  // Strings, hashes, singletons (§3).
  { rule: "no string is marked interned offline: it is not the interned one (§3)", check: "interned", applies: always, broken: { damage: "names-interned" }, symptom: "complaint" },
  { rule: "3.12 must not see the static bit on a name (§2)", check: "interned", applies: minor(12, 12), broken: { damage: "names-static" }, symptom: "complaint" },
  { rule: "to 3.11 a str is ready (§1)", check: "text", applies: minor(9, 11), broken: { abi: state((right) => right & ~0x80) }, symptom: "either" },
  { rule: "hash words say \"not hashed yet\": str and bytes hash differently in each process (§3)", check: "hashes", applies: always, broken: { damage: "zero-str-hashes" }, symptom: "complaint" },
  { rule: "so does the hash word that tuples have from 3.14 on (§1)", check: "hashes", applies: minor(14), broken: { damage: "zero-tuple-hashes" }, symptom: "complaint" },
  { rule: "frozensets are made at load: another process's table does not find its members (§3)", check: "members", applies: always, broken: { damage: "frozenset-of-another-process" }, symptom: "complaint" },
  { rule: "small ints of the version's range are the interpreter's: to 1024 in 3.15 (§3)", check: "small_ints", applies: minor(15), broken: { abi: (abi) => ({ ...abi, smallInts: { min: -5, max: 256 } }) }, symptom: "complaint" },
  { rule: "small ints of the version's range are the interpreter's, and no others: to 256 before 3.15 (§3)", check: "small_ints", applies: minor(9, 14), broken: { abi: (abi) => ({ ...abi, smallInts: { min: -5, max: 250 } }) }, symptom: "complaint" },
  { rule: "no int of the image says that it is the interpreter's own (3.14+, §1)", check: "small_int_bit", applies: minor(14), broken: { abi: (abi) => ({ ...abi, intBody: (value) => {
    const { offset, bytes } = abi.intBody(value);
    return { offset, bytes: Uint8Array.from(bytes, (byte, index) => (index === 0 ? byte | 4 : byte)) };
  } }) }, symptom: "complaint" },
];

const complaints = z.record(z.string(), z.array(z.string()));
const script = fileURLToPath(new URL("hazards.py", import.meta.url));

/** One interpreter of each version; what is absent or refused is named by live.test.ts. */
const chosen = allPythons().flatMap((python, index, all) => {
  const abi = abiOf(python);
  return abi === undefined || all.findIndex(({ version }) => version === python.version) !== index ? [] : [{ python, abi, name: `${python.version} (${python.release})` }];
});

it("there are interpreters to test with", () => expect(chosen).not.toEqual([]));
for (const { rule } of hazards.filter(({ applies }) => !chosen.some(({ abi }) => applies(abi)))) it.skip(`${rule}: no interpreter that has it here`, () => undefined);

it("builds that share a .pyc magic number are told apart by the ABI's digest: 3.13t has 3.13's (§6)", () => {
  const digests = new Map<string, string>();
  const shared: string[] = [];
  for (const abi of knownAbis().map(loadAbi)) {
    const digest = Buffer.from(abi.digest).toString("hex");
    expect(digests.get(digest)).toBeUndefined();
    digests.set(digest, abi.id);
    if (abi.flavour === "freethreaded" && knownAbis().map(loadAbi).some((other) => other.flavour === "release" && other.platform === abi.platform && other.pycMagic === abi.pycMagic)) shared.push(abi.id);
  }
  expect(shared).toContain("cpython-3.13-linux-x86_64-freethreaded");
});

describe.each(chosen)("$name", ({ python, abi }) => {
  const folder = mkdtempSync(join(tmpdir(), "pycds-hazards-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const mine = hazards.filter(({ applies }) => applies(abi));
  let kept: string | undefined;
  /** The manifest with all rules kept. */
  const manifest = (): string => {
    if (kept === undefined) {
      runScript(python.exe, "hazards.py", ["compile", folder]);
      kept = layOutAll(abi, ["hazards"], folder);
    }
    return kept;
  };

  it("with every rule kept, all is as stock has it", () => {
    const checks = [...new Set([...mine.map(({ check }) => check), "threads"])];
    const result = complaints.parse(runScript(python.exe, "hazards.py", ["check", manifest(), "none", ...checks]));
    expect(result).toEqual(Object.fromEntries(checks.map((check) => [check, []])));
  });

  it.each(mine)("$rule", ({ check, broken, symptom }) => {
    manifest();
    const own = mkdtempSync(join(tmpdir(), "pycds-hazard-"));
    try {
      cpSync(folder, own, { recursive: true });
      const path = "abi" in broken ? layOutAll(broken.abi(abi), ["hazards"], own) : join(own, "manifest.json");
      const args = ["-EsSB", script, "check", path, "damage" in broken ? broken.damage : "none", check];
      const { status, signal, stdout, stderr } = spawnSync(python.exe, args, { encoding: "utf8", env: pythonEnvironment(), timeout: 30_000 });
      const crashed = signal !== null || (status ?? 0) >= 128;
      if (symptom === "crash") expect({ crashed, stdout, stderr }).toMatchObject({ crashed: true });
      if (symptom === "complaint") expect({ status, signal, stderr }).toMatchObject({ status: 0 });
      if (!crashed) expect(complaints.parse(JSON.parse(stdout))[check]).not.toEqual([]);
    } finally {
      rmSync(own, { recursive: true });
    }
  });
});
