/** Finds the data of an ABI, checks it, and has make.ts put the accessors of {@link Abi} on top of it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PycdsError, exitCode } from "../base/errors.ts";
import { layoutFaults } from "./check.ts";
import { dataFiles } from "./data/index.ts";
import { makeAbi } from "./make.ts";
import { checkPolicy, checkRoles } from "./policy.ts";
import { abiDataSchema } from "./schema.ts";
import type { AbiData } from "./schema.ts";
import type { Abi } from "./types.ts";

/** What names an ABI; always CPython 3. */
export interface AbiName {
  readonly minor: number;
  /** `linux-x86_64` */
  readonly platform: string;
  readonly flavour: Abi["flavour"];
}

/** `cpython-3.11-linux-x86_64-release` */
export function abiId({ minor, platform, flavour }: AbiName): string {
  return `cpython-3.${minor}-${platform}-${flavour}`;
}

/** Ids that {@link loadAbi} knows, by version. */
export function knownAbis(): string[] {
  return [...dataFiles].sort(new Intl.Collator("en", { numeric: true }).compare);
}

const loaded = new Map<string, Abi>();

/**
 * The ABI of that id; its data is checked once, then kept. The other files are not read: {@link allData} checks
 * them, and the policy against all.
 * @throws PycdsError ABI_UNKNOWN when there is no data for it, ABI_DEBUG for a debug build, ABI_DATA or ABI_POLICY (our bugs) when the data is not sound
 */
export function loadAbi(id: string): Abi {
  const known = loaded.get(id);
  if (known !== undefined) return known;
  if (!dataFiles.includes(id)) {
    if (id.endsWith("-debug")) {
      // Objects/unicodeobject.c: _PyUnicode_CheckConsistency, 3.13+. Strings with the static bit would pass, if
      // the runtime took interned names from the heap; nobody starts a debug build for its speed.
      throw new PycdsError("ABI_DEBUG", `debug builds of CPython are not served (${id})`, "they check at every step what only objects of their own making have, and abort", {
        next: "use a release build",
      });
    }
    throw new PycdsError("ABI_UNKNOWN", `no layout data for ${id}`, `known: ${knownAbis().join(", ")}`, {
      next: "use a CPython of that list, or add this one with tools/probe-abi",
    });
  }
  const abi = makeAbi(abiData(id));
  loaded.set(id, abi);
  return abi;
}

/** The checked data of a known id, as makeAbi takes it. */
export function abiData(id: string): AbiData {
  const data = cached?.get(id) ?? readData(id);
  checkRoles(data);
  return data;
}

function readData(id: string): AbiData {
  const url = new URL(`./data/${id}.json`, import.meta.url);
  const data = parseAbiData(readFileSync(url, "utf8"), fileURLToPath(url));
  if (data.id !== id) throw dataError(`the id is ${data.id}`, fileURLToPath(url));
  return data;
}

let cached: ReadonlyMap<string, AbiData> | undefined;

/** All data files by id; each checked alone, and the policy against all of them. */
export function allData(): ReadonlyMap<string, AbiData> {
  if (cached !== undefined) return cached;
  const datas = dataFiles.map(readData);
  checkPolicy(datas);
  cached = new Map(datas.map((data) => [data.id, data]));
  return cached;
}

/** @throws PycdsError ABI_DATA naming every fault */
export function parseAbiData(text: string, file: string): AbiData {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw dataError(cause instanceof Error ? cause.message : String(cause), file);
  }
  const parsed = abiDataSchema.safeParse(json);
  if (!parsed.success) {
    throw dataError(parsed.error.issues.map((issue) => `${issue.path.map(String).join(".")}: ${issue.message}`).join("; "), file);
  }
  const data = parsed.data;
  const faults = layoutFaults(data);
  if (data.id !== abiId({ minor: data.version.minor, platform: data.platform, flavour: data.flavour })) faults.push(`id ${data.id} contradicts its contents`);
  if (faults.length > 0) throw dataError(faults.join("; "), file);
  return data;
}

function dataError(why: string, file: string): PycdsError {
  return new PycdsError("ABI_DATA", "unsound ABI data", why, { file, next: "write it anew with tools/probe-abi", exit: exitCode.bug });
}
