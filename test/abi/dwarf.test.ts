/**
 * Oracle 2 (style.md, "ABI as data"): the debug information of the interpreter
 * itself. Unlike the probe it lists members by itself, so it also shows that no
 * member of a struct was left out.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { policy } from "../../src/abi/policy.ts";
import type { StructName } from "../../src/abi/types.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import { tell } from "../support/matrix.ts";
import { subjects } from "./support.ts";

type Members = Record<string, { size: number; fields: Record<string, { offset: number; size: number }> }>;

const names = Object.keys(policy) as StructName[];
const gdb = spawnSync("gdb", ["-nx", "-q", "-batch", "-ex", "python print('usable')"], { encoding: "utf8" });
const usable = gdb.status === 0 && gdb.stdout.includes("usable");

/** The file that holds the interpreter's code: libpython, or the executable. */
function binary(exe: string): string {
  const program = "import sys; paths = {l.split(None, 5)[5].strip() for l in open('/proc/self/maps') if len(l.split(None, 5)) == 6}; print(next((p for p in sorted(paths) if '/libpython3.' in p), sys.executable))";
  return execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() }).trim();
}

const oracle = "Layouts against the interpreter's debug information (DWARF, by gdb)";

for (const { label, python, abi } of subjects) {
  test(`${label}: debug information agrees, as gdb with Python reads it`, { timeout: 60_000 }, ({ task, skip }) => {
    const line = (text: string): void => tell(task, { oracle, minor: python.minor, text: `${label}: ${text}` });
    const without = (why: string): void => {
      line(`skipped, ${why}`);
      skip(why);
    };
    if (!usable) return without("no gdb with Python here (Debian: apt-get install gdb)");
    const file = binary(python.exe);
    const script = fileURLToPath(new URL("dwarf.py", import.meta.url));
    const { debugInfo } = python.entry ?? {};
    const folder = debugInfo === undefined ? [] : ["-iex", `set debug-file-directory ${debugInfo}`];
    const output = execFileSync("gdb", ["-nx", "-q", "-batch", ...folder, "-x", script, file], { encoding: "utf8", env: { ...process.env, PYCDS_STRUCTS: names.join(" ") }, stdio: ["ignore", "pipe", "ignore"] });
    const answer = output.split("\n").find((each) => each.startsWith("PYCDS "));
    const told = JSON.parse((answer ?? "PYCDS null").slice("PYCDS ".length)) as Members | null;
    if (told === null) return without("no debug information in this build");
    let compared = 0;
    for (const name of names) {
      const { size, fields } = abi.struct(name);
      const ours: Members[string] = { size, fields: {} };
      for (const field of fields.values()) {
        // Our own name for what follows a str's struct.
        if (field.name === "data") expect(field.offset, name).toBe(size);
        else ours.fields[field.name] = { offset: field.offset, size: field.size };
      }
      expect(told[name], name).toEqual(ours);
      compared += Object.keys(ours.fields).length;
    }
    line(`${compared} members of ${names.length} structs, 0 mismatches`);
    expect(compared).toBeGreaterThanOrEqual(80);
  });
}
