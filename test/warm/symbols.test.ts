/** native/warm/python.h declares CPython's functions by hand: every one that the library needs is exported by each version. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { libpythonOf } from "../support/libpython.ts";
import { warmPythons } from "./support.ts";

const library = fileURLToPath(new URL("../../build/native/pycds_warm.so", import.meta.url));
/** Dynamic symbols; the last word of each line. */
const symbols = (file: string, which: string): ReadonlySet<string> =>
  new Set(execFileSync("nm", ["-D", which, file], { encoding: "utf8", maxBuffer: 1 << 26 }).split("\n").map((line) => (line.trim().split(/\s+/).at(-1) ?? "").replace(/@.*/, "")));

describe.skipIf(process.platform !== "linux" || process.arch !== "x64")("symbols", () => {
  it.each(warmPythons())("$exe has all that is used", ({ exe }) => {
    const needed = [...symbols(library, "--undefined-only")].filter((name) => /^_?Py/.test(name));
    expect(needed.length).toBeGreaterThan(40);
    const exported = symbols(libpythonOf(exe) ?? exe, "--defined-only");
    expect(needed.filter((name) => !exported.has(name))).toEqual([]);
  });
});
