/**
 * Oracle 1 (style.md, "ABI as data"): offsetof against each interpreter's
 * headers, for its own machine and, with a cross compiler, for the other one;
 * and the driver's exit codes.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { allData, loadAbi } from "../../src/abi/load.ts";
import { fileJson } from "../../src/abi/json.ts";
import { compare } from "../../tools/probe-abi/compare.ts";
import { readObject } from "../../tools/probe-abi/elf.ts";
import { compilerFor, gather } from "../../tools/probe-abi/gather.ts";
import { readProbe } from "../../tools/probe-abi/probe.ts";
import { inScratch, missing, strangers, subjects } from "./support.ts";
import type { Subject } from "./support.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const dataFolder = join(root, "src/abi/data");

function dataOf(id: string) {
  const data = allData().get(id);
  if (data === undefined) throw new Error(id);
  return data;
}

for (const id of missing) test.skip(`${id}: no such interpreter here`);

function probe({ python, headers }: Subject, more: { cc?: string; platform?: string } = {}) {
  return gather(python.exe, { env: process.env, ...(headers === undefined ? {} : { include: headers }), ...more });
}

for (const { label, id } of strangers) {
  // facts §2: a debug build aborts on what others take.
  test(`${label}: refused with a reason`, () => {
    expect(() => loadAbi(id)).toThrow(expect.objectContaining({ code: id.endsWith("-debug") ? "ABI_DEBUG" : "ABI_UNKNOWN", exit: 2 }));
  });
}

for (const subject of subjects) {
  const { label, abi } = subject;
  // facts §1 (layouts), §2 (refcounts), §4 (cache units, initial counters, superinstructions)
  test(`${label}: headers and interpreter say what the data says`, { timeout: 60_000 }, () => {
    const probed = probe(subject);
    expect(compare(dataOf(abi.id), probed)).toEqual([]);
    if (probed.probed.release === dataOf(abi.id).probed.release) {
      expect(fileJson(probed)).toBe(readFileSync(join(dataFolder, `${abi.id}.json`), "utf8"));
    }
  });
}

// The same headers for another machine: with the pyconfig.h of this one, which differs in nothing that a layout hangs on.
/** Whether pyconfig.h says something about a platform: Debian's includes one of the machine that is compiled for. */
function hasPyconfig(headers: string | undefined, platform: string): boolean {
  if (headers === undefined) return false;
  const parts = [...readFileSync(join(headers, "pyconfig.h"), "latin1").matchAll(/include <(\S+\/pyconfig\.h)>/g)].map(([, part = ""]) => part);
  const machine = platform.slice(platform.indexOf("-") + 1);
  return parts.length === 0 || parts.some((part) => part.startsWith(`${machine}-linux-gnu/`) && existsSync(join(dirname(headers), part)));
}

const platforms = [...new Set([...allData().values()].map(({ platform }) => platform))];
for (const platform of platforms) {
  const cc = compilerFor(platform);
  const usable = spawnSync(cc, ["--version"]).status === 0;
  for (const subject of subjects.filter(({ abi }) => abi.platform !== platform)) {
    const id = subject.abi.id.replace(subject.abi.platform, platform);
    test.skipIf(!usable)(`${subject.label}: its headers compiled for ${platform} (${cc}) give ${id}`, { timeout: 60_000 }, ({ skip }) => {
      if (!hasPyconfig(subject.headers, platform)) skip(`its pyconfig.h is split by machine, and the part of ${platform} is not here`);
      const probed = probe(subject, { platform });
      expect(compare(dataOf(id), probed)).toEqual([]);
      expect(probed.probed.interpreter).toBe(subject.abi.platform);
    });
  }
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

/** A row as probe.c's struct fact has it. */
function fact(what: string, owner: string, name: string, value: number, size = 0, kind = 0): Buffer {
  const row = Buffer.alloc(80);
  row.write(what, 0);
  row.write(owner, 8);
  row.write(name, 32);
  row.writeBigInt64LE(BigInt(value), 64);
  row.writeInt32LE(size, 72);
  row.writeInt32LE(kind, 76);
  return row;
}

test("facts are read as probe.c lays them out; one that it does not know is refused", () => {
  const str = [fact("size", "PyASCIIObject", "", 40), fact("field", "PyASCIIObject", "state", 32, 4, 1)];
  const object = [fact("size", "PyObject", "", 16), fact("field", "PyObject", "ob_refcnt", 0, 8), fact("field", "PyObject", "ob_type", 8, 8, 2)];
  const state = Buffer.alloc(32 + 40);
  state.write("kind");
  state.writeUInt32LE(0x1c, 32 + 32);
  const sections = (...facts: Buffer[]) => new Map([["pycds_facts", Buffer.concat(facts)], ["pycds_state", state], ["pycds_header", Buffer.from("ffffffff000000000000000000000000", "hex")]]);
  const read = readProbe(sections(...str, ...object, fact("const", "", "CO_CELL_NOT_AN_ARG", -1)));
  expect(read.structs["PyObject"]).toEqual({ size: 16, fields: { ob_refcnt: { offset: 0, size: 8, kind: "signed" }, ob_type: { offset: 8, size: 8, kind: "pointer" } } });
  expect(read.state).toEqual({ kind: 0x1c });
  expect(read.constants.get("CO_CELL_NOT_AN_ARG")).toBe(-1);
  expect(read.header).toBe("ffffffff00000000");
  expect(() => readProbe(sections(...str, fact("feild", "PyASCIIObject", "hash", 24, 8)))).toThrow("feild");
  expect(() => readProbe(sections(...str, fact("field", "PyASCIIObject", "hash", 24, 8, 5)))).toThrow("hash");
  expect(() => readProbe(sections(...str, fact("field", "PyObject", "ob_type", 8, 8, 2)))).toThrow("ob_type");
  expect(() => readProbe(sections(...str, Buffer.alloc(7)))).toThrow("7 bytes");
});

const compiler = spawnSync("cc", ["--version"]).status === 0;
test.skipIf(!compiler)("of an object file, finished sections only; nothing else is taken for one", () => {
  inScratch((folder) => {
    const [source, file] = [join(folder, "a.c"), join(folder, "a.o")];
    writeFileSync(source, 'extern int x;\n__attribute__((section("done"))) const int seven = 7;\n__attribute__((section("open"))) int *open_ = &x;\n');
    expect(spawnSync("cc", ["-c", "-o", file, source]).status).toBe(0);
    const object = readFileSync(file);
    const { machine, sections } = readObject(object, file);
    expect(machine).toBe(process.arch === "arm64" ? "aarch64" : "x86_64");
    expect(Buffer.from(sections.get("done") ?? []).toString("hex")).toBe("07000000");
    expect(sections.has("open")).toBe(false); // the linker's to fill in
    const refused = (change: (bytes: Buffer) => void): unknown => {
      const bytes = Buffer.from(object);
      change(bytes);
      return () => readObject(bytes, file);
    };
    for (const change of [(bytes: Buffer) => bytes.writeUInt8(0, 0), (bytes: Buffer) => bytes.writeUInt8(1, 4), (bytes: Buffer) => bytes.writeUInt8(2, 5), (bytes: Buffer) => bytes.writeUInt16LE(8, 18)]) {
      expect(refused(change)).toThrow(expect.objectContaining({ code: "ELF_OBJECT", file }));
    }
    expect(() => readObject(object.subarray(0, 600), file)).toThrow(expect.objectContaining({ code: "TRUNCATED" }));
  });
});

const first = subjects[0];
test.skipIf(first === undefined)("a compiler for another machine, and headers of another flavour, are refused", { timeout: 60_000 }, () => {
  if (first === undefined) return;
  expect(() => probe(first, { platform: "linux-riscv64", cc: compilerFor(first.abi.platform) })).toThrow(expect.objectContaining({ code: "PROBE_MACHINE" }));
  inScratch((folder) => {
    const exe = join(folder, "python");
    writeFileSync(exe, `#!/bin/sh\n'${first.python.exe}' "$@" | sed 's/"flavour": "[a-z]*"/"flavour": "debug"/'\n`, { mode: 0o755 });
    expect(() => probe({ ...first, python: { ...first.python, exe } })).toThrow(expect.objectContaining({ code: "PROBE_HEADERS", why: "release, not debug" }));
  });
});

test.skipIf(first === undefined)("headers of another build than the interpreter are refused", { timeout: 60_000 }, () => {
  if (first === undefined) return;
  inScratch((folder) => {
    const exe = join(folder, "python");
    writeFileSync(exe, `#!/bin/sh\n'${first.python.exe}' "$@" | sed 's/"hexversion": [0-9]*/"hexversion": 50990576/'\n`, { mode: 0o755 });
    expect(() => probe({ ...first, python: { ...first.python, exe } })).toThrow(expect.objectContaining({ code: "PROBE_HEADERS" }));
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
    writeFileSync(file, text.replace(/"RETURN_VALUE": \{ "caches": 0, "initial": 0, "number": \d+/, '"RETURN_VALUE": { "caches": 0, "initial": 0, "number": 255'));
    const bad = run("--check", "--python", first.python.exe);
    expect(bad.stdout).toMatch(/opcodes\.RETURN_VALUE\.number is 255 in the data, \d+ in the interpreter/);
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
