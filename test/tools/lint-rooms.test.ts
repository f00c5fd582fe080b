/** The house rules, on a small tree that breaks each of them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { lintFiles, rooms } from "../../tools/lint-rooms.ts";

const root = mkdtempSync(join(tmpdir(), "pycds-lint-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});

function lint(file: string, text: string): string[] {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
  return lintFiles(root, [file]).map((fault) => `${fault.rule}:${fault.line}${fault.remark === true ? ":remark" : ""}`);
}

// put together here, so that this file itself keeps the rule
const machinePath = ["", "root", "x"].join("/");
const registryHost = ["registry", "npmjs", "org"].join(".");

describe("rooms", () => {
  it.each([
    ["src/pyc/a.ts", 'import { x } from "../base/x.ts";\nimport type { Y } from "./y.ts";\nimport z from "zod";\n'],
    ["src/archive/a.ts", 'import {\n  x,\n} from "../layout/x.ts";\n'],
    ["src/cli/a.ts", 'import { x } from "../bench/x.ts";\n'],
    ["src/pyc/c.ts", 'export const a = new URL("../../bench", import.meta.url);\n'],
    ["native/runtime/a.c", '#include "../include/f.h"\n#include "../vendor/x.h"\n#include "b.h"\n#include <stdio.h>\n'],
    ["test/pyc/a.test.ts", 'import { x } from "../../src/cli/x.ts";\n'],
  ])("allows %s", (file, text) => {
    expect(lint(file, text)).toEqual([]);
  });

  it.each([
    ["src/pyc/a.ts", 'import { x } from "../base/x.ts";\nimport { y } from "../abi/y.ts";\n', ["rooms:2"]],
    ["src/pyc/b.ts", 'import type {\n  Y,\n} from "../graph/y.ts";\n', ["rooms:3"]],
    ["src/pyc/c.ts", 'export * from "../image/y.ts";\n', ["rooms:1"]],
    ["src/pyc/d.ts", 'import "../venv/y.ts";\n', ["rooms:1"]],
    ["src/pyc/e.ts", 'const y = await import("../venv/y.ts");\n', ["rooms:1"]],
    ["src/base/a.ts", 'import { x } from "../../test/support/x.ts";\n', ["rooms:1"]],
    ["src/attic/a.ts", "export {};\n", ["rooms:1"]],
    ["native/launch/a.c", '#include "launch.h"\n#include "../runtime/py.h"\n', ["rooms:2"]],
  ])("refuses %s", (file, text, faults) => {
    expect(lint(file, text)).toEqual(faults);
  });

  it("has the rows of the architecture document", () => {
    const text = readFileSync(new URL("../../docs/architecture.md", import.meta.url), "utf8");
    for (const room of Object.keys(rooms)) expect(text).toContain(`\`${room}\``);
  });
});

describe("process", () => {
  it.each(["process.env", "process.exit(1)", "process.exitCode = 1", "console.log(1)", "process.stderr.write('')"])("leaves %s to src/cli", (use) => {
    const text = `// ${use}\nexport const a = () => { ${use}; };\n`;
    expect(lint("src/venv/a.ts", text)).toEqual(["process:2"]);
    expect(lint("src/cli/a.ts", text)).toEqual([]);
    expect(lint("tools/a.ts", text)).toEqual([]);
  });

  it("sees the import of process", () => {
    expect(lint("src/venv/a.ts", 'import { env } from "node:process";\n')).toEqual(["process:1"]);
  });
});

describe("size", () => {
  const lines = (count: number): string => "int x;\n".repeat(count);

  it("names files over 400 lines and refuses those over 450", () => {
    expect(lint("native/runtime/a.c", lines(400))).toEqual([]);
    expect(lint("native/runtime/a.c", lines(401))).toEqual(["size:401:remark"]);
    expect(lint("native/runtime/a.c", lines(450))).toEqual(["size:450:remark"]);
    expect(lint("native/runtime/a.c", lines(451))).toEqual(["size:451"]);
  });

  it("exempts what is generated or vendored, and what is no code", () => {
    expect(lint("native/include/a.h", `/* Generated from x; do not edit. */\n${lines(500)}`)).toEqual([]);
    expect(lint("native/vendor/a.h", lines(500))).toEqual([]);
    expect(lint("docs/a.md", lines(500))).toEqual([]);
    expect(lint("native/runtime/a.c", `${lines(10)}/* generated */\n${lines(500)}`)).toEqual(["size:511"]);
  });
});

describe("machine", () => {
  it("refuses paths of one machine and registry names", () => {
    expect(lint("docs/a.md", `see ${machinePath}\nand https://${registryHost}/left-pad\n`)).toEqual(["machine:1", "machine:2"]);
    expect(lint("docs/b.md", "~/.pyenv, /usr/bin/python3, build/native, src/root/x, /workspace\n")).toEqual([]);
  });

  it("passes over binary files", () => {
    expect(lint("fixtures/a.bin", `\0${machinePath}`)).toEqual([]);
  });
});
