/** runtime.h says of every variable of the runtime what keeps threads apart at it: one that is new must get its line. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "./support.ts";

/** The C library's and the linker's own. */
const foreign = /^(__.*|completed)$/;

/** Names of what a library can write to, those inside of functions too. */
function variables(library: string): string[] {
  const lines = execFileSync("nm", ["-f", "sysv", join(root, "build/native", library)], { encoding: "utf8" }).split("\n");
  const rows = lines.map((line) => line.split("|").map((cell) => cell.trim())).filter((cells) => /^\.t?(data|bss)$/.test(cells[6] ?? ""));
  return [...new Set(rows.map(([name = ""]) => name.replace(/\.\d+$/, "")))].filter((name) => !foreign.test(name));
}

it.each(["_pycds.so", "_pycds_t.so"])("every variable of %s is under Threads in runtime.h", (library) => {
  const text = readFileSync(join(root, "native/runtime/runtime.h"), "utf8");
  const threads = text.slice(text.indexOf("\n * Threads. "), text.indexOf("\n * An image's objects are immortal"));
  const listed = new Set(threads.match(/\w+/g));
  const found = variables(library);
  expect(found.length).toBeGreaterThan(40);
  expect(found.filter((name) => !listed.has(name) && !name.endsWith("_def"))).toEqual([]);
});
