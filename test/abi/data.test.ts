/** The data files: canonical, whole, each field with a role; and how they are found. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { layoutFaults } from "../../src/abi/check.ts";
import { externalTypes } from "../../src/abi/externals.ts";
import { abiId, allData, knownAbis, loadAbi, parseAbiData } from "../../src/abi/load.ts";
import { checkPolicy, policy, policyFaults } from "../../src/abi/policy.ts";
import { canonicalJson, fileJson } from "../../src/abi/json.ts";
import type { AbiData } from "../../src/abi/schema.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { sha256 } from "../../src/base/digest.ts";

const folder = fileURLToPath(new URL("../../src/abi/data/", import.meta.url));
/** In the order of their versions; one minor's free-threaded build before the release one. */
const ids = ["3.9", "3.10", "3.11", "3.12", "3.13t", "3.13", "3.14", "3.15"].flatMap((version) =>
  ["aarch64", "x86_64"].map((machine) => `cpython-${version.replace("t", "")}-linux-${machine}-${version.endsWith("t") ? "freethreaded" : "release"}`),
);
const magics: Readonly<Record<number, number>> = { 9: 3425, 10: 3439, 11: 3495, 12: 3531, 13: 3571, 14: 3627, 15: 3666 };

function copy(id = "cpython-3.12-linux-x86_64-release"): AbiData {
  const data = allData().get(id);
  if (data === undefined) throw new Error(id);
  return structuredClone(data);
}

function thrown(act: () => unknown): PycdsError {
  try {
    act();
  } catch (error) {
    if (error instanceof PycdsError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("files", () => {
  test("each file in the folder is known, and each known one is a file", () => {
    const files = readdirSync(folder).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));
    expect(new Set(knownAbis())).toEqual(new Set(files));
    expect([...knownAbis()].sort()).toEqual([...ids].sort());
  });
  test("texts are canonical and name no machine", () => {
    for (const id of knownAbis()) {
      const text = readFileSync(`${folder}${id}.json`, "utf8");
      expect(fileJson(parseAbiData(text, id))).toBe(text);
      expect(text).not.toMatch(/\/(home|root|usr|work|tmp)\b/);
    }
  });
  test("the canonical text does not depend on the order of members", () => {
    const data = copy();
    const reversed = Object.fromEntries(Object.entries(data).toReversed()) as AbiData;
    expect(JSON.stringify(reversed)).not.toBe(JSON.stringify(data));
    expect(canonicalJson(reversed)).toBe(canonicalJson(data));
    expect(fileJson(reversed)).toBe(fileJson(data));
    expect(JSON.parse(fileJson(data))).toEqual(JSON.parse(canonicalJson(data)));
  });
});

describe("loadAbi", () => {
  test("by id, once", () => {
    for (const id of ids) {
      const abi = loadAbi(id);
      expect(loadAbi(id)).toBe(abi);
      expect(abiId({ minor: abi.version.minor, platform: abi.platform, flavour: abi.flavour })).toBe(id);
      expect(abi.digest).toEqual(sha256(Buffer.from(canonicalJson(copy(id)))));
    }
    expect(ids.map((id) => loadAbi(id).pycMagic)).toEqual(ids.map((id) => magics[loadAbi(id).version.minor])); // facts §6
    expect(new Set(ids.map((id) => Buffer.from(loadAbi(id).digest).toString("hex"))).size).toBe(ids.length);
  });
  test("an unknown one is named, with what is known and what to do", () => {
    const error = thrown(() => loadAbi("cpython-3.99-linux-x86_64-release"));
    expect(error).toMatchObject({ code: "ABI_UNKNOWN", exit: 2 });
    expect(error.why).toContain(ids[0]);
    expect(error.next).toMatch(/probe-abi/);
    expect(() => loadAbi("../../../etc/passwd")).toThrow(expect.objectContaining({ code: "ABI_UNKNOWN" }));
  });
  test("a debug build is refused with its reason, whether or not its layout is known (facts §2)", () => {
    const error = thrown(() => loadAbi("cpython-3.14-linux-x86_64-debug"));
    expect(error).toMatchObject({ code: "ABI_DEBUG", exit: 2, next: "use a release build" });
    expect(error.line).toContain("cpython-3.14-linux-x86_64-debug");
    expect(knownAbis().filter((id) => id.endsWith("-debug"))).toEqual([]);
  });
  test("aarch64 is laid out as x86_64 is: both are shown, by a compiler for each", () => {
    for (const id of ids.filter((each) => each.includes("x86_64"))) {
      const [here, there] = [copy(id), copy(id.replace("x86_64", "aarch64"))];
      expect(there).toEqual({ ...here, id: there.id, platform: "linux-aarch64", probed: there.probed });
    }
  });
  test("fields by name; one that is absent is our bug", () => {
    const abi = loadAbi("cpython-3.13-linux-x86_64-release");
    expect(abi.field("PyCodeObject", "co_version")).toEqual({ name: "co_version", offset: 92, size: 4, kind: "unsigned", role: "computed" });
    expect(abi.hasField("PyCodeObject", "co_warmup")).toBe(false);
    expect(abi.hasField("PyCodeObject", "constructor")).toBe(false);
    expect(() => abi.field("PyCodeObject", "co_warmup")).toThrow("PyCodeObject.co_warmup");
    const offsets = [...abi.struct("PyCodeObject").fields.values()].map(({ offset }) => offset);
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
  });
});

describe("code objects as facts §1 has them", () => {
  /** Offsets of 3.9/3.10, 3.11, 3.12, 3.13, 3.14/3.15, 3.13t; what a version lacks is absent from its row. */
  const columns = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.13t"] as const;
  const no = undefined;
  const table: Readonly<Record<string, readonly (number | undefined)[]>> = {
    ob_type: [8, 8, 8, 8, 8, 8, 8, 24],
    ob_size: [no, no, 16, 16, 16, 16, 16, 32],
    co_consts: [56, 56, 24, 24, 24, 24, 24, 40],
    co_names: [64, 64, 32, 32, 32, 32, 32, 48],
    co_exceptiontable: [no, no, 40, 40, 40, 40, 40, 56],
    co_flags: [36, 36, 48, 48, 48, 48, 48, 64],
    co_argcount: [16, 16, 56, 52, 52, 52, 52, 68],
    co_nlocals: [28, 28, 80, 80, 80, 80, 80, 96],
    co_stacksize: [32, 32, 68, 64, 64, 64, 64, 80],
    co_firstlineno: [40, 40, 72, 68, 68, 68, 68, 84],
    co_nlocalsplus: [no, no, 76, 72, 72, 72, 72, 88],
    co_framesize: [no, no, no, 76, 76, 76, 76, 92],
    co_version: [no, no, no, 92, 92, 92, 92, 108],
    co_code: [48, 48, no, no, no, no, no, no],
    co_varnames: [72, 72, no, no, no, no, no, no],
    co_freevars: [80, 80, no, no, no, no, no, no],
    co_cellvars: [88, 88, no, no, no, no, no, no],
    co_cell2arg: [96, 96, no, no, no, no, no, no],
    co_filename: [104, 104, 112, 112, 112, 112, 112, 128],
    co_name: [112, 112, 120, 120, 120, 120, 120, 136],
    co_qualname: [no, no, 128, 128, 128, 128, 128, 144],
    co_lnotab: [120, no, no, no, no, no, no, no],
    co_linetable: [no, 120, 136, 136, 136, 136, 136, 152],
    co_weakreflist: [136, 136, 144, 144, 144, 144, 144, 160],
    co_extra: [144, 144, 176, 184, 192, 200, 200, 208],
    _co_firsttraceable: [no, no, 168, 176, 184, 192, 192, 200],
    _co_unique_id: [no, no, no, no, no, 184, 184, no],
    co_code_adaptive: [no, no, 184, 192, 200, 208, 208, 216],
  };
  for (const [column, version] of columns.entries()) {
    test(version, () => {
      const abi = loadAbi(`cpython-${version.replace("t", "")}-linux-x86_64-${version.endsWith("t") ? "freethreaded" : "release"}`);
      const found = Object.fromEntries(Object.keys(table).map((name) => [name, abi.hasField("PyCodeObject", name) ? abi.field("PyCodeObject", name).offset : undefined]));
      expect(found).toEqual(Object.fromEntries(Object.entries(table).map(([name, row]) => [name, row[column]])));
      expect(abi.struct("PyCodeObject").size).toBe([176, 176, 192, 200, 208, 216, 216, 224][column]);
    });
  }
});

describe("policy", () => {
  const names = (): Record<string, Record<string, never>> => structuredClone(policy) as unknown as Record<string, Record<string, never>>;
  const datas = [...allData().values()];

  test("fits the data", () => {
    expect(policyFaults(datas)).toEqual([]);
  });
  test("a field without a role is a fault", () => {
    const roles = names();
    delete roles["PyCodeObject"]?.["co_version"];
    const having = datas.filter(({ structs }) => Object.hasOwn(structs.PyCodeObject.fields, "co_version"));
    expect(having.length).toBeGreaterThan(1);
    expect(policyFaults(datas, roles as never)).toEqual(having.map(({ id }) => `${id}: PyCodeObject.co_version has no role`));
    const data = copy();
    data.structs.PyTupleObject.fields["toString"] = { offset: 24, size: 8, kind: "signed" };
    expect(policyFaults([...datas, data])).toEqual([`${data.id}: PyTupleObject.toString has no role`]);
    expect(thrown(() => checkPolicy([...datas, data]))).toMatchObject({ code: "ABI_POLICY", exit: 70 });
  });
  test("a role for a field of no version is a fault", () => {
    const roles = { ...policy, PyTupleObject: { ...policy.PyTupleObject, ob_color: "zero" as const } };
    expect(policyFaults(datas, roles)).toEqual(["policy: PyTupleObject.ob_color has a role but exists in no version"]);
  });
  test("a role for a field of one version alone is none", () => {
    expect(policyFaults(datas.filter(({ version }) => version.minor !== 11))).toContain("policy: PyCodeObject.co_warmup has a role but exists in no version");
  });
  test("pointers are never copied, and numbers never internal", () => {
    for (const id of ids) {
      for (const struct of Object.keys(policy) as (keyof typeof policy)[]) {
        for (const { name, kind, role } of loadAbi(id).struct(struct).fields.values()) {
          if (kind === "pointer") expect(role, name).not.toBe("copy");
          if (role === "internal" || role === "external") expect(kind === "pointer" || kind === "inline", name).toBe(true);
        }
      }
    }
  });
});

describe("soundness", () => {
  const faultsOf = (change: (data: AbiData) => void): string[] => {
    const data = copy();
    change(data);
    return layoutFaults(data);
  };
  const codeField = (data: AbiData, name: string) => {
    const field = data.structs.PyCodeObject.fields[name];
    if (field === undefined) throw new Error(name);
    return field;
  };
  test("a member that nobody listed leaves a hole", () => {
    expect(faultsOf(() => undefined)).toEqual([]);
    expect(faultsOf((data) => delete data.structs.PyCodeObject.fields["co_filename"])).toEqual(["PyCodeObject: 8 bytes before co_name that no field explains"]);
    expect(faultsOf((data) => delete data.structs.PyCodeObject.fields["co_argcount"])).toEqual(["PyCodeObject: 4 bytes before co_posonlyargcount that no field explains"]);
    expect(faultsOf((data) => delete data.structs.PySliceObject.fields["step"])).toEqual(["PySliceObject: 8 bytes at the end that no field explains"]);
    expect(faultsOf((data) => delete data.structs.PyASCIIObject.fields["hash"])).toEqual(["PyASCIIObject: 8 bytes before state that no field explains"]);
    expect(faultsOf((data) => (data.structs.PyCodeObject.size += 8))).toEqual(["PyCodeObject: 16 bytes at the end that no field explains"]);
  });
  test("fields do not overlap or stick out", () => {
    expect(faultsOf((data) => (codeField(data, "co_argcount").offset -= 2))).toContain("PyCodeObject.co_argcount at 50 overlaps what ends at 52");
    expect(faultsOf((data) => (data.structs.PyFloatObject.size = 16))).toEqual(["PyFloatObject: 24 bytes of fields in a struct of 16"]);
  });
  test("every fault of a file is reported", () => {
    const broken = { ...copy(), pycMagic: -1, pointerSize: 4, surprise: true };
    const error = thrown(() => parseAbiData(JSON.stringify(broken), "x.json"));
    expect(error).toMatchObject({ code: "ABI_DATA", file: "x.json", exit: 70 });
    for (const part of ["pycMagic", "pointerSize", "surprise"]) expect(error.why).toContain(part);
    expect(thrown(() => parseAbiData("{", "x.json")).code).toBe("ABI_DATA");
    expect(thrown(() => parseAbiData(JSON.stringify({ ...copy(), flavour: "debug" }), "x.json")).why).toContain("contradicts");
    const { PyTupleObject: _, ...structs } = copy().structs;
    expect(thrown(() => parseAbiData(JSON.stringify({ ...copy(), structs }), "x.json")).why).toContain("PyTupleObject");
  });
  test("basic sizes follow from the structs (facts §8)", () => {
    for (const id of ids) {
      const abi = loadAbi(id);
      const inline = (struct: "PyCodeObject" | "PyTupleObject" | "PyLongObject", field: string): number => abi.field(struct, field).offset;
      const expected = new Map([
        ["PyCode_Type", abi.hasLegacyCode ? abi.struct("PyCodeObject").size : inline("PyCodeObject", "co_code_adaptive")],
        ["PyUnicode_Type", copy(id).unicodeObjectSize],
        ["PyBytes_Type", abi.field("PyBytesObject", "ob_sval").offset + 1],
        ["PyTuple_Type", inline("PyTupleObject", "ob_item")],
        ["PyLong_Type", inline("PyLongObject", "ob_digit")],
        ["PyFloat_Type", abi.struct("PyFloatObject").size],
        ["PyComplex_Type", abi.struct("PyComplexObject").size],
        ["PyFrozenSet_Type", abi.struct("PySetObject").size],
        ["PySlice_Type", abi.struct("PySliceObject").size],
      ]);
      const rows = abi.selfChecks.filter(({ what }) => what === "basicsize");
      expect(new Map(rows.map(({ name, offset }) => [name, offset]))).toEqual(expected);
      for (const row of rows) expect(externalTypes).toContain(row.name);
    }
  });
  test("self-checks of a code object sit on the fields they name", () => {
    for (const id of ids) {
      const abi = loadAbi(id);
      const rows = abi.selfChecks.filter(({ subject }) => subject === "code");
      const legacy = ["co_code", "co_varnames", "co_freevars", "co_cellvars"];
      const table = { 9: [...legacy, "co_lnotab"], 10: ["co_linetable", ...legacy] }[abi.version.minor] ?? ["co_qualname", "co_linetable", "co_exceptiontable"];
      expect(rows.map(({ name }) => name)).toEqual([
        "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_stacksize", "co_flags", "co_firstlineno", "co_nlocals",
        "co_consts", "co_names", "co_filename", "co_name", ...table,
      ]);
      for (const { name, what, offset } of rows) {
        const field = abi.field("PyCodeObject", name);
        expect([offset, field.kind]).toEqual([field.offset, what === "i32" ? "signed" : "pointer"]);
      }
    }
  });
});
