/** log.c: what PYCDS_LOG and PYCDSVERBOSE let through, and where it goes (design.md, decision 10). */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileHarness, harness, scratchFolder } from "./support.ts";

const folder = scratchFolder();
let exe = "";
beforeAll(async () => {
  exe = await compileHarness(join(folder.path, "harness"));
}, 120_000);
afterAll(() => folder.remove());

const events = ["hit json", "miss x: not in the archive", "refused a.pycds: it is empty", "summary hit=1", "refusedly"];
const all = events.map((event) => `pycds: ${event}\n`).join("");
const notable = "pycds: refused a.pycds: it is empty\npycds: summary hit=1\n";
const log = (env: Readonly<Record<string, string>>, lines: readonly string[] = events): { readonly stdout: string; readonly stderr: string } => harness(exe, ["log", ...lines], env);

describe("the log", () => {
  it.each([
    [{}, "", 0],
    [{ PYCDSVERBOSE: "0" }, "", 0],
    [{ PYCDSVERBOSE: "nonsense" }, "", 0],
    [{ PYCDSVERBOSE: "1" }, notable, 1],
    [{ PYCDSVERBOSE: "2" }, all, 1],
    [{ PYCDS_LOG: "stderr" }, all, 1],
    [{ PYCDS_LOG: "stderr", PYCDSVERBOSE: "2" }, all, 1],
    [{ PYCDS_LOG: "" }, "", 0],
  ])("%j writes to stderr what it says", (env, expected, wanted) => {
    expect(log(env)).toEqual({ stdout: `wanted=${wanted}\n`, stderr: expected });
  });

  it("appends to a file, also when its path was relative and the program left its folder", () => {
    writeFileSync(join(folder.path, "rel.log"), "before\n");
    execFileSync(exe, ["log", ...events], { cwd: folder.path, env: { PYCDS_LOG: "rel.log" } });
    expect(readFileSync(join(folder.path, "rel.log"), "utf8")).toBe(`before\n${all}`);
  });

  it("writes a file and stderr at once", () => {
    expect(log({ PYCDS_LOG: join(folder.path, "both.log"), PYCDSVERBOSE: "1" }).stderr).toBe(notable);
    expect(readFileSync(join(folder.path, "both.log"), "utf8")).toBe(all);
  });

  it("keeps an event on one line, whatever a module is called", () => {
    expect(log({ PYCDS_LOG: "stderr" }, ["miss a\nb\u007f\u001b[31m: grün"]).stderr).toBe("pycds: miss a?b??[31m: grün\n");
    const long = log({ PYCDS_LOG: "stderr" }, [`miss ${"x".repeat(20_000)}`]).stderr;
    expect(long.endsWith("x\n")).toBe(true);
    expect(long.split("\n")).toHaveLength(2);
  });

  it("neither fails nor hangs where it cannot write", () => {
    const fifo = join(folder.path, "fifo");
    execFileSync("mkfifo", [fifo]);
    for (const target of [fifo, join(folder.path, "no/such/folder"), folder.path]) expect(log({ PYCDS_LOG: target }).stdout).toBe("wanted=1\n");
    expect(existsSync(join(folder.path, "no"))).toBe(false);
  });
});
