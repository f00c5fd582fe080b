/** Oracle 3 (style.md, "ABI as data"): the offsets that CPython 3.13+ publishes for debuggers. */
import { expect, test } from "vitest";
import { allData } from "../../src/abi/load.ts";
import type { StructName } from "../../src/abi/types.ts";
import { tell } from "../support/matrix.ts";
import { runScript, subjects } from "./support.ts";

const groups: Readonly<Record<string, StructName>> = {
  pyobject: "PyObject", code_object: "PyCodeObject", tuple_object: "PyTupleObject", float_object: "PyFloatObject",
  long_object: "PyLongObject", bytes_object: "PyBytesObject", unicode_object: "PyASCIIObject", set_object: "PySetObject",
};

const oracle = "Layouts against _Py_DebugOffsets";

for (const { label, python, abi, headers } of subjects) {
  test(`${label}: _Py_DebugOffsets agrees`, { timeout: 30_000 }, ({ task, skip }) => {
    const line = (text: string): void => tell(task, { oracle, minor: python.minor, text: `${label}: ${text}` });
    const table = JSON.parse(runScript(python, "debug_offsets.py", undefined, headers === undefined ? [] : [headers])) as Record<string, Record<string, number>> | null;
    if (table === null) {
      expect(abi.version.minor).toBeLessThan(13);
      line("none before 3.13");
      return skip("no _Py_DebugOffsets before 3.13");
    }
    let compared = 0;
    for (const [group, struct] of Object.entries(groups)) {
      const { size, fields } = abi.struct(struct);
      for (const [name, value] of Object.entries(table[group] ?? {})) {
        const field = fields.get(name) ?? fields.get(`co_${name}`);
        const expected =
          field?.offset ?? (group === "unicode_object" && name === "size" ? allData().get(abi.id)?.unicodeObjectSize : name === "size" || name === "asciiobject_size" ? size : undefined);
        if (expected === undefined) continue;
        expect(`${group}.${name} ${value}`).toBe(`${group}.${name} ${expected}`);
        compared++;
      }
    }
    line(`${compared} offsets and sizes, 0 mismatches`);
    expect(compared).toBeGreaterThanOrEqual(26);
  });
}
