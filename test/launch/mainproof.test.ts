/** Which executables the launcher takes over: main.c of CPython however it was compiled, and nothing else. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { libpythonOf, linkFlags } from "../support/libpython.ts";
import { buildScratch, compile, compiler, interpreters, launchEnvironment, plainEnvironment, root, run, startsIn, utf8 } from "./support.ts";
import type { Scratch } from "./support.ts";

interface Library {
  readonly exe: string;
  readonly flags: readonly string[];
}

/** Link flags of an interpreter with a shared library. */
function sharedLibrary(): Library | undefined {
  for (const { exe } of interpreters().found.toReversed()) {
    const file = libpythonOf(exe);
    if (file !== undefined) return { exe, flags: linkFlags(file) };
  }
  return undefined;
}

const library = sharedLibrary();
const sourceFile = join(root, "test/launch/native/mains.c");

describe.skipIf(compiler === undefined || library === undefined || process.arch !== "x64")(
  "which main is replaced (needs a C compiler, x86-64 and a CPython with a shared library)",
  () => {
    let scratch: Scratch;
    let log: string;
    beforeAll(() => {
      scratch = buildScratch();
      log = join(scratch.directory, "starts.log");
    }, 60_000);
    afterAll(() => scratch.remove());

    let built = 0;
    async function launch(main: string, flags: readonly string[], name: string, extra: Record<string, string> = {}) {
      if (library === undefined) throw new Error("skipped");
      const directory = join(scratch.directory, String(built++));
      mkdirSync(directory);
      const exe = join(directory, name);
      compile(exe, [sourceFile], [`-D${main}`, "-Wno-unused-result", ...flags, ...library.flags, "-ldl"]);
      const before = startsIn(log).length;
      const environment = { ...plainEnvironment(log), PYTHONHOME: execFileSync(library.exe, ["-I", "-c", "import sys; print(sys.base_prefix)"], { encoding: "utf8" }).trim() };
      const argv = [exe, "-c", "import os; print('LD_PRELOAD' in os.environ)"];
      const result = await run({ argv, cwd: directory, environment: { ...launchEnvironment(scratch, environment), ...extra } });
      return { ...result, starts: startsIn(log).length - before };
    }

    it.each([
      ["-O0"],
      ["-O1", "-fno-optimize-sibling-calls"],
      ["-O2"],
      ["-O2", "-fno-omit-frame-pointer"],
      ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"],
      ["-O2", "-fcf-protection"],
      ["-O0", "-fcf-protection"],
      ["-O2", "-fno-plt"],
      ["-O0", "-fno-plt", "-no-pie"],
      ["-O2", "-no-pie"],
      ["-O2", "-Wl,-z,now"],
      ["-O2", "-Wl,-z,lazy"],
    ])("python.c built with %s %s %s", { timeout: 60_000 }, async (...flags) => {
      const result = await launch("MAIN_STOCK", flags, "any-name");
      expect(result).toEqual({ status: 0, signal: null, stdout: "False\n", stderr: "", starts: 1 });
    });

    it.each([["-O1"], ["-O2"]])("a Py_BytesMain inlined into main, %s", { timeout: 60_000 }, async (flag) => {
      const result = await launch("MAIN_INLINED", [flag, "-rdynamic"], "any-name");
      expect(result).toEqual({ status: 0, signal: null, stdout: "False\n", stderr: "", starts: 1 });
    });

    it.each([["-O0"], ["-O2"]])("a main with a status of its own keeps it, %s", { timeout: 60_000 }, async (level) => {
      expect(await launch("MAIN_OTHER_STATUS", [level], "python3")).toMatchObject({ status: 7, stdout: "False\n", stderr: "", starts: 0 });
    });

    const others = ["MAIN_OTHER_ARGUMENTS", "MAIN_BEFORE", "MAIN_AFTER"];
    const levels = ["-O0", "-O2"];
    it.each(others.flatMap((main) => levels.map((level) => [main, level] as const)))(
      "%s built with %s runs its own main",
      { timeout: 60_000 },
      async (main, level) => {
        // an embedding program: passed through with its environment, so that a Python it starts is launched
        const embedding = await launch(main, [level], "server");
        expect(embedding).toMatchObject({ status: 0, stderr: "", starts: 0 });
        expect(embedding.stdout).toContain("its own main");
        if (main !== "MAIN_OTHER_ARGUMENTS") expect(embedding.stdout).toContain("True");

        // an interpreter by its name: its own main, in a clean environment, and the log says why
        const named = await launch(main, [level], "python3.11", { PYCDS_LOG: "stderr" });
        expect(named).toMatchObject({ status: 0, stderr: "pycds: refused /an/archive: cannot stand in for this interpreter: its main is not the stock one\n", starts: 0 });
        expect(named.stdout).toContain("its own main");
        if (main !== "MAIN_OTHER_ARGUMENTS") expect(named.stdout).toContain("False");

        const on = await launch(main, [level], "python3", { PYCDS: "on" });
        expect(on).toMatchObject({ status: 2, stdout: "", starts: 0 });
        expect(utf8(on.stderr)).toMatch(/^pycds: error: cannot stand in for this interpreter \(.*\) — its main is not the stock one — .*\n$/);
      },
    );
  },
);
