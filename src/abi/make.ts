/** Puts the accessors of {@link Abi} on top of checked data. Without the checks, which a worker thread need not repeat (load.ts has them). */
import { sha256 } from "../base/sha256.ts";
import { cell2argRule, codeScalarRule } from "./code.ts";
import { canonicalJson } from "./json.ts";
import { internRule, intBodyRule, strStateRule } from "./objects.ts";
import { policy } from "./policy.ts";
import { quickener } from "./quicken.ts";
import type { AbiData } from "./schema.ts";
import { selfCheckRows } from "./selfchecks.ts";
import type { Abi, FieldLayout, StructLayout, StructName } from "./types.ts";

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
    ...(data.classes === undefined ? {} : { classes: data.classes }),
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
    if (role === undefined) throw new Error(`${name}.${field} without role`); // loading has seen to it
    fields.set(field, { name: field, ...layout, role });
  }
  return { name, size: struct.size, fields };
}
