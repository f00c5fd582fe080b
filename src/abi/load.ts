/** Finds the data of an ABI and puts the accessors of {@link Abi} on top of it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { sha256 } from "../base/digest.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import { layoutFaults } from "./check.ts";
import { cell2argRule, codeScalarRule } from "./code.ts";
import { dataFiles } from "./data/index.ts";
import { internRule, intBodyRule, strStateRule } from "./objects.ts";
import { checkPolicy, policy } from "./policy.ts";
import { quickener } from "./quicken.ts";
import { abiDataSchema, canonicalJson } from "./schema.ts";
import type { AbiData } from "./schema.ts";
import { selfCheckRows } from "./selfchecks.ts";
import type { Abi, FieldLayout, StructLayout, StructName } from "./types.ts";

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
  return [...allData().keys()].sort(new Intl.Collator("en", { numeric: true }).compare);
}

const loaded = new Map<string, Abi>();

/**
 * The ABI of that id; checked once, then kept.
 * @throws PycdsError ABI_UNKNOWN when there is no data for it, ABI_DEBUG for a debug build, ABI_DATA or ABI_POLICY (our bugs) when the data is not sound
 */
export function loadAbi(id: string): Abi {
  const known = loaded.get(id);
  if (known !== undefined) return known;
  const data = allData().get(id);
  if (data === undefined) {
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
  const abi = makeAbi(data);
  loaded.set(id, abi);
  return abi;
}

let cached: ReadonlyMap<string, AbiData> | undefined;

/** All data files by id; each checked alone, and the policy against all of them. */
export function allData(): ReadonlyMap<string, AbiData> {
  if (cached !== undefined) return cached;
  const datas = dataFiles.map((name) => {
    const url = new URL(`./data/${name}.json`, import.meta.url);
    const data = parseAbiData(readFileSync(url, "utf8"), fileURLToPath(url));
    if (data.id !== name) throw dataError(`the id is ${data.id}`, fileURLToPath(url));
    return data;
  });
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

/** The accessors over checked data. */
export function makeAbi(data: AbiData): Abi {
  const structs = new Map(
    (Object.entries(data.structs) as [StructName, AbiData["structs"][StructName]][]).map(([name, struct]) => [name, structLayout(name, struct)]),
  );
  const struct = (name: StructName): StructLayout => {
    const layout = structs.get(name);
    if (layout === undefined) throw new Error(`${data.id} without struct ${name}`);
    return layout;
  };
  const gcTypes = new Set<string>(data.gcTypes);
  return {
    id: data.id,
    digest: sha256(new TextEncoder().encode(canonicalJson(data))),
    version: data.version,
    pycMagic: data.pycMagic,
    platform: data.platform,
    flavour: data.flavour,
    pointerSize: data.pointerSize,
    struct,
    field: (name, field): FieldLayout => {
      const layout = struct(name).fields.get(field);
      if (layout === undefined) throw new Error(`${data.id} without field ${name}.${field}`);
      return layout;
    },
    hasField: (name, field) => struct(name).fields.has(field),
    immortalHeader: Uint8Array.from(Buffer.from(data.immortalHeader, "hex")),
    gcHeaderSize: data.gcHeaderSize,
    ...(data.collector === undefined ? {} : { collector: data.collector }),
    cfunctionDef: data.cfunctionDef,
    gcKinds: new Set(gcKindTypes.filter(([, type]) => gcTypes.has(type)).map(([kind]) => kind)),
    smallInts: data.smallInts,
    hasSliceConstants: data.sliceConstants,
    hasCodeVersion: struct("PyCodeObject").fields.has("co_version"),
    strState: strStateRule(data),
    intBody: intBodyRule(data),
    hasLegacyCode: data.code.legacy !== undefined,
    quicken: quickener(data),
    codeScalars: codeScalarRule(data),
    cell2arg: cell2argRule(data),
    internsConstant: internRule(data),
    selfChecks: selfCheckRows(data),
  };
}

const gcKindTypes = [
  ["tuple", "PyTuple_Type"],
  ["frozenset", "PyFrozenSet_Type"],
  ["slice", "PySlice_Type"],
  ["code", "PyCode_Type"],
] as const;

function structLayout(name: StructName, struct: AbiData["structs"][StructName]): StructLayout {
  const fields = new Map<string, FieldLayout>();
  for (const [field, layout] of Object.entries(struct.fields).sort(([, a], [, b]) => a.offset - b.offset)) {
    const role = policy[name][field];
    if (role === undefined) throw new Error(`${name}.${field} without role`); // checkPolicy has seen to it
    fields.set(field, { name: field, ...layout, role });
  }
  return { name, size: struct.size, fields };
}
