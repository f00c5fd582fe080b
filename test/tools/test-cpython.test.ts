/**
 * What `npm run test:cpython` reads out of regrtest, with regrtest itself as the
 * oracle: a module of the suite's kind is run by the interpreters of this
 * machine, and every outcome must be found. And how two runs are judged.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compare, differing } from "../../tools/test-cpython/compare.ts";
import { explanations } from "../../tools/test-cpython/explained.ts";
import { lastStarted, outcomesOf } from "../../tools/test-cpython/outcomes.ts";
import type { Outcome, Outcomes } from "../../tools/test-cpython/outcomes.ts";
import { readRestored, runModule } from "../../tools/test-cpython/run.ts";
import type { ModuleRun } from "../../tools/test-cpython/run.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { execFileSync } from "node:child_process";

const tests = `
import os, signal, time, unittest
class Plain(unittest.TestCase):
    def test_ok(self):
        "A description, which regrtest prints on a line of its own & <escapes>."
    def test_fails(self): self.fail("FAIL: not (a.headline)")
    def test_raises(self): raise ValueError("]]> & <b>")
    @unittest.skip("a reason")
    def test_skipped(self): pass
    @unittest.expectedFailure
    def test_expected(self): self.fail()
    @unittest.expectedFailure
    def test_unexpected(self): pass
    def test_parts(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)
    def test_twice(self): pass
class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("no set-up")
    def test_never(self): pass
class Left(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("nothing for us")
    def test_never(self): pass
def load_tests(loader, standard, pattern):
    standard.addTest(Plain("test_twice"))
    return standard
`;

for (const version of ["3.11", "3.12", "3.13"]) {
  const exe = pythons().find((each) => each.version === version && hasTests(each.exe))?.exe;
  describe.skipIf(exe === undefined)(`CPython ${version}${exe === undefined ? " (none with its tests on this machine)" : ""}`, () => {
    let folder = "";
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "pycds-outcomes-"));
      mkdirSync(join(folder, "tests"));
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    const run = (module: string, text: string, limitSeconds = 100): Promise<ModuleRun> => {
      writeFileSync(join(folder, "tests", `${module}.py`), text);
      return runModule({ exe: exe ?? "", arm: "stock", module, scratch: folder, limitSeconds, more: ["--testdir", join(folder, "tests")] });
    };

    it("every kind of outcome is found, by name", async () => {
      const { outcomes, served, hits } = await run("test_kinds", tests);
      expect(Object.fromEntries(outcomes)).toEqual({
        "test_kinds.Plain.test_ok": "ok",
        "test_kinds.Plain.test_fails": "failed",
        "test_kinds.Plain.test_raises": "error",
        "test_kinds.Plain.test_skipped": "skipped",
        "test_kinds.Plain.test_expected": "expected failure",
        "test_kinds.Plain.test_unexpected": "unexpected success",
        "test_kinds.Plain.test_parts (i=1)": "failed",
        "test_kinds.Plain.test_twice": "ok",
        "test_kinds.Plain.test_twice #2": "ok",
        "setUpClass (test_kinds.Broken)": "error",
        "setUpClass (test_kinds.Left)": "skipped",
      });
      expect([served, hits]).toEqual([true, 0]);
    });

    it("a process that dies says where", async () => {
      const died = await run("test_dies", "import os, signal, unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n    def test_b(self): os.kill(os.getpid(), signal.SIGKILL)\n");
      expect([Object.fromEntries(died.outcomes), died.diedIn]).toEqual([{ "(process)": "ended: SIGKILL" }, "test_b (test_dies.A.test_b)"]);
    });

    it("a process that hangs is ended, with its children", async () => {
      const mark = join(folder, "survived");
      const child = `import time; time.sleep(3); open(${JSON.stringify(mark)}, "w")`;
      const hung = await run("test_hangs", `import subprocess, sys, time, unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        subprocess.Popen([sys.executable, "-c", ${JSON.stringify(child)}])\n        time.sleep(60)\n`, 1.5);
      expect(hung.outcomes.get("(process)")).toMatch(/^ended: /);
      await new Promise((resolve) => setTimeout(resolve, 3000));
      expect(existsSync(mark)).toBe(false);
    });
  });
}

function hasTests(exe: string): boolean {
  const program = "import importlib.util; print(importlib.util.find_spec('test.libregrtest') is not None)";
  try {
    return execFileSync(exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment(), stdio: ["ignore", "pipe", "ignore"] }).trim() === "True";
  } catch {
    return false;
  }
}

describe("two runs are compared", () => {
  const of = (entries: Readonly<Record<string, Outcome>>): Outcomes => new Map(Object.entries(entries));

  it("by name; a test that one run lacks differs", () => {
    expect(differing(of({ a: "ok", b: "ok", c: "failed" }), of({ a: "ok", c: "ok", d: "ok" }))).toEqual(["b", "c", "d"]);
  });

  it("a process that died is one difference, not one for each test", () => {
    expect(differing(of({ a: "ok", b: "ok" }), of({ "(process)": "ended: SIGSEGV" }))).toEqual(["(process)"]);
    expect(differing(of({ "(process)": "ended: SIGSEGV" }), of({ "(process)": "ended: SIGSEGV" }))).toEqual([]);
  });

  it("what is not steady in stock is flaky, what is steady there is a difference", () => {
    const stock = [of({ a: "ok", b: "ok", c: "ok" }), of({ a: "failed", b: "ok", c: "ok" })];
    const archived = [of({ a: "failed", b: "failed", c: "ok" }), of({ a: "ok", b: "ok", c: "ok" })];
    const { tests: count, same, different, flaky, explained } = compare("test_x", "3.11", stock, archived);
    expect({ count, same, different: different.map((one) => one.test), flaky: flaky.map((one) => one.test), explained }).toEqual({ count: 3, same: 1, different: ["b"], flaky: ["a"], explained: [] });
  });

  it("an explanation holds for its own pair of outcomes only", () => {
    const outcomes: readonly Outcome[] = ["ok", "failed", "error", "skipped"];
    expect(explanations.length).toBeGreaterThan(0);
    for (const { arm, module, test, versions = ["3.11", "3.14"], stock, ours } of explanations) {
      for (const version of ["3.11", "3.14"]) {
        const judge = (outcome: Outcome): number => compare(module, version, [of({ [test]: stock })], [of({ [test]: outcome })], arm).explained.length;
        expect(outcomes.filter((outcome) => judge(outcome) === 1), `${test} ${version}`).toEqual(versions.includes(version) ? [ours] : []);
      }
    }
  });

  it("every explanation is told in the documentation", () => {
    const text = readFileSync(new URL("../../docs/cpython-tests.md", import.meta.url), "utf8");
    for (const { test } of explanations) expect(text).toContain(test.slice(test.lastIndexOf(".") + 1));
  });
});

describe("a run counts as restored", () => {
  const log = "pycds: restored /i/image\npycds: refused /i/image: an interpreter option: -I\n";
  const printed = (pid: number): string => `== cwd: /t/test_python_worker_${pid}æ\n== encodings\nResult: SUCCESS\n`;
  const isServed = (...[text, told, witness]: readonly [string, string, string]): boolean => readRestored(told, "/i/image", text, witness).served;

  it("when the log says so, and the process that ran the tests ended as it was restored", () => {
    expect(isServed(printed(42), log, "7\n42\n")).toBe(true);
    expect(isServed(printed(42).replace("worker_", ""), log, "42\n")).toBe(true);
    // another process ran the tests, or it executed another program, or the image was refused
    expect(isServed(printed(42), log, "7\n")).toBe(false);
    expect(isServed(printed(42), log, "")).toBe(false);
    expect(isServed(printed(42), "pycds: refused /i/image: the processor differs\n", "42\n")).toBe(false);
    expect(readRestored(log, "/i/image", printed(42), "42\n")).toMatchObject({ hits: 1, notServed: { "refused an interpreter option: -I": 1 } });
  });

  it("died: the log alone must do", () => {
    expect(isServed("== cwd: /t/test_python_42\ntest_a (m.A.test_a)\n", log, "")).toBe(true);
    expect(isServed("", "", "")).toBe(false);
  });
});

describe("what dies without its results", () => {
  it("counts as ended, also with an ordinary status", () => {
    expect([...outcomesOf(undefined, "", { status: 0, signal: null, timedOut: false })]).toEqual([["(process)", "ended: status 0, no results written"]]);
    expect([...outcomesOf("<testsuites/>", "", { status: 139, signal: null, timedOut: false })]).toEqual([["(process)", "ended: status 139"]]);
    expect([...outcomesOf("<testsuites/>", "", { status: 2, signal: null, timedOut: false })]).toEqual([]);
    expect(lastStarted("test_a (m.A.test_a) ... ok\ntest_b (m.A.test_b)\nText ... ")).toBe("test_b (m.A.test_b)");
  });
});
