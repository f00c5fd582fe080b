/** Oracle 1 (style.md, "ABI as data"): offsetof against each interpreter's headers, and the driver's exit codes. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { allData } from "../../src/abi/load.ts";
import { fileJson } from "../../src/abi/schema.ts";
import { compare } from "../../tools/probe-abi/compare.ts";
import { gather, parseProbe } from "../../tools/probe-abi/gather.ts";
import { inScratch, missing, subjects } from "./support.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const dataFolder = join(root, "src/abi/data");

function dataOf(id: string) {
  const data = allData().get(id);
  if (data === undefined) throw new Error(id);
  return data;
}

for (const id of missing) test.skip(`${id}: no such interpreter here`);

for (const { label, python, abi } of subjects) {
  // facts §1 (layouts), §2 (refcounts), §4 (cache units, initial counters, superinstructions)
  test(`${label}: headers and interpreter say what the data says`, { timeout: 60_000 }, () => {
    const probed = gather(python.exe, { env: process.env });
    expect(compare(dataOf(abi.id), probed)).toEqual([]);
    if (probed.probed.release === dataOf(abi.id).probed.release) {
      expect(fileJson(probed)).toBe(readFileSync(join(dataFolder, `${abi.id}.json`), "utf8"));
    }
  });
}

test("compare names each difference, and only those outside `probed`", () => {
  const data = dataOf("cpython-3.12-linux-x86_64-release");
  const other = structuredClone(data);
  other.probed.release = "3.12.9";
  expect(compare(data, other)).toEqual([]);
  const field = other.structs.PyCodeObject.fields["co_version"];
  if (field === undefined) throw new Error("no co_version");
  field.offset = 96;
  delete other.structs.PyCodeObject.fields["co_extra"];
  other.superinstructions.pop();
  expect(compare(data, other)).toEqual([
    'structs.PyCodeObject.fields.co_extra is {"offset":184,"size":8,"kind":"pointer"} in the data, absent in the interpreter',
    "structs.PyCodeObject.fields.co_version.offset is 92 in the data, 96 in the interpreter",
    'superinstructions.4 is {"first":"STORE_FAST","second":"STORE_FAST","number":158} in the data, absent in the interpreter',
  ]);
});

test("compare sees what only the interpreter has", () => {
  const data = dataOf("cpython-3.12-linux-x86_64-release");
  const older = structuredClone(data);
  delete older.opcodes["RETURN_CONST"];
  expect(compare(older, data)).toEqual(['opcodes.RETURN_CONST is absent in the data, {"number":121,"caches":0,"initial":0} in the interpreter']);
});

test("a line that the probe does not print is refused", () => {
  expect(() => parseProbe("size PyObject 16\nfeild PyObject ob_type 8 8 pointer\n")).toThrow("feild");
});

const first = subjects[0];
test.skipIf(first === undefined)("headers of another build than the interpreter are refused", { timeout: 60_000 }, () => {
  if (first === undefined) return;
  inScratch((folder) => {
    const exe = join(folder, "python");
    writeFileSync(exe, `#!/bin/sh\n'${first.python.exe}' "$@" | sed 's/"hexversion": [0-9]*/"hexversion": 50990576/'\n`, { mode: 0o755 });
    expect(() => gather(exe, { env: process.env })).toThrow(expect.objectContaining({ code: "PROBE_HEADERS" }));
  });
});

test.skipIf(first === undefined)("--check: exit 0 when the data agrees, 1 when not, 2 for no interpreter", { timeout: 120_000 }, () => {
  if (first === undefined) return;
  inScratch((folder) => {
    for (const name of readdirSync(dataFolder)) writeFileSync(join(folder, name), readFileSync(join(dataFolder, name)));
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ["--import", "tsx", join(root, "tools/probe-abi/main.ts"), "--data", folder, ...args], { cwd: root, encoding: "utf8" });
    const good = run("--check", "--python", first.python.exe);
    expect(good.stdout).toContain(`${first.abi.id}: agrees`);
    expect(good.status).toBe(0);

    const file = join(folder, `${first.abi.id}.json`);
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"RESUME": { "caches": 0, "initial": 0, "number": 1', '"RESUME": { "caches": 0, "initial": 0, "number": 2'));
    const bad = run("--check", "--python", first.python.exe);
    expect(bad.stdout).toMatch(/opcodes\.RESUME\.number is 2\d\d in the data, 1\d\d in the interpreter/);
    expect(bad.status).toBe(1);

    // Writing repairs it, and the index is the checked-in one.
    expect(run("--python", first.python.exe).status).toBe(0);
    expect(run("--check", "--python", first.python.exe).status).toBe(0);
    expect(readFileSync(join(folder, "index.ts"), "utf8")).toBe(readFileSync(join(dataFolder, "index.ts"), "utf8"));

    // A field without a role.
    writeFileSync(file, text.replace('"co_argcount"', '"co_argument_count"'));
    const unknown = run("--check", "--python", first.python.exe);
    expect(unknown.stderr).toContain("PyCodeObject.co_argument_count has no role");
    expect(unknown.status).toBe(1);

    const none = run("--check", "--python", join(folder, "no-python"));
    expect(none.stderr).toMatch(/^probe-abi: error: cannot ask the interpreter/);
    expect(none.status).toBe(2);
  });
});
