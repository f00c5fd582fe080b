/** The launcher's own behaviour: its environment protocol, its modes, and what it does when something is missing. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildScratch, compile, compiler, interpreters, launchEnvironment, launchSources, plainEnvironment, root, run, startLine, startsIn, utf8 } from "./support.ts";
import type { Scratch } from "./support.ts";

const { found } = interpreters();
const exe = found.findLast(({ flavour }) => flavour === "release")?.exe ?? "";
const freeThreaded = found.find(({ flavour }) => flavour === "freethreaded");
const dump = "import os; print(list(os.environb.items()))";
const started = startLine("release");

describe.skipIf(compiler === undefined || exe === "")("launcher (needs a C compiler and a CPython)", { timeout: 60_000 }, () => {
  let scratch: Scratch;
  let logs = 0;
  beforeAll(() => {
    scratch = buildScratch();
    compile(join(scratch.directory, "other.so"), ["-x", "c", "/dev/null"], ["-fPIC", "-shared"]);
  }, 60_000);
  afterAll(() => scratch.remove());

  const newLog = (): string => join(scratch.directory, `starts${logs++}.log`);

  async function launch(argv: readonly string[], extra: Readonly<Record<string, string>> = {}, base: Readonly<Record<string, string>> = {}) {
    const log = newLog();
    const environment = { ...plainEnvironment(log), ...base };
    const result = await run({ argv, cwd: scratch.directory, environment: { ...launchEnvironment(scratch, environment), ...extra } });
    return { ...result, starts: startsIn(log), environment };
  }
  const stock = (environment: Readonly<Record<string, string>>, argv: readonly string[] = [exe, "-c", dump]) => run({ argv, cwd: scratch.directory, environment });

  it("hands archive and trace to the runtime", async () => {
    const result = await launch([exe, "-c", "pass"], { PYCDS_LAUNCH_ARCHIVE: "", PYCDS_LAUNCH_TRACE: "/a/trace" });
    expect(result.starts).toEqual(["start size=24 archive=- trace=/a/trace active=1 initialized=1 state=1"]);
  });

  it("puts LD_PRELOAD back at its place with its former value", async () => {
    const other = join(scratch.directory, "other.so");
    const result = await launch([exe, "-c", dump], {}, { LD_PRELOAD: other, AFTER: "1" });
    expect(result).toMatchObject({ status: 0, starts: [started] });
    expect(result.stdout).toContain(other);
    expect(result.stdout).toBe((await stock(result.environment)).stdout);
  });

  it.each([
    ["before", "OTHER:$LD_PRELOAD", "OTHER"],
    ["after", "$LD_PRELOAD:OTHER", "OTHER"],
    ["around", "OTHER:$LD_PRELOAD:OTHER", "OTHER:OTHER"],
    ["with spaces", "OTHER $LD_PRELOAD", "OTHER"],
  ])("keeps what a wrapper adds to LD_PRELOAD %s", async (_where, value, expected) => {
    const other = join(scratch.directory, "other.so");
    const script = `export LD_PRELOAD="${value.replaceAll("OTHER", other)}"; exec "$1" -c 'import os; print(os.environ["LD_PRELOAD"])'`;
    const result = await launch(["bash", "-c", script, "bash", exe]);
    expect(result).toMatchObject({ status: 0, stderr: "", stdout: `${expected.replaceAll("OTHER", other)}\n`, starts: [started] });
  });

  it("gives the program the limit of open files that it is told, once: a wrapper may raise it again", async () => {
    const show = "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], sorted(name for name in os.environ if 'FILES' in name))";
    expect(await launch([exe, "-c", show], { PYCDS_LAUNCH_FILES: "123" })).toMatchObject({ status: 0, stdout: "123 []\n", starts: [started] });
    expect(await launch(["sh", "-c", 'ulimit -S -n; ulimit -S -n 150; exec "$@"', "sh", exe, "-c", show], { PYCDS_LAUNCH_FILES: "123" })).toMatchObject({ status: 0, stdout: "123\n150 []\n", starts: [started] });
    for (const value of ["", "x", "0", "99999999999"]) expect((await launch([exe, "-c", show], { PYCDS_LAUNCH_FILES: value })).stdout).toBe((await stock(plainEnvironment(newLog()), [exe, "-c", show])).stdout);
  });

  it("does not touch a longer variable name or value that begins alike", async () => {
    const base = { LD_PRELOAD_X: "1", PYCDS_LAUNCHER: "2", XPYCDS_LAUNCH_A: "3" };
    const result = await launch([exe, "-c", dump], {}, base);
    expect(result.stdout).toContain("PYCDS_LAUNCHER");
    expect(result.stdout).toBe((await stock(result.environment)).stdout);
  });

  it("children are started stock, or launched too under PYCDS_LAUNCH_CHILDREN=1", async () => {
    const program = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import sys; sys.exit(3)']))";
    expect(await launch([exe, "-c", program])).toMatchObject({ status: 3, starts: [started] });
    expect(await launch([exe, "-c", program], { PYCDS_LAUNCH_CHILDREN: "1" })).toMatchObject({ status: 3, starts: [started, started] });
  });

  it("PYCDS=off: the stock main in a clean environment", async () => {
    const result = await launch([exe, "-c", dump], {}, { PYCDS: "off" });
    expect(result).toMatchObject({ status: 0, stderr: "", starts: [] });
    expect(result.stdout).toBe((await stock(result.environment)).stdout);
  });

  const broken = {
    "not there": () => join(scratch.directory, "none.so"),
    "not a library": () => {
      const file = join(scratch.directory, "text.so");
      writeFileSync(file, "no library\n");
      return file;
    },
    "without pycds_start": () => join(scratch.directory, "other.so"),
    "empty": () => "",
  };
  it.each(Object.entries(broken))("a runtime that is %s: a stock start, or under PYCDS=on an error before user code", async (_name, make) => {
    const runtime = { PYCDS_LAUNCH_RUNTIME: make() };
    const auto = await launch([exe, "-c", dump], runtime);
    expect(auto).toMatchObject({ status: 0, stderr: "", starts: [] });
    expect(auto.stdout).toBe((await stock(auto.environment)).stdout);

    const log = join(scratch.directory, `log${logs}`);
    expect(await launch([exe, "-c", "pass"], runtime, { PYCDS_LOG: log })).toMatchObject({ status: 0, stderr: "", stdout: "" });
    expect(readFileSync(log, "utf8")).toMatch(/^pycds: refused \/an\/archive: cannot (load|start) the runtime: .+\n$/);

    const on = await launch([exe, "-c", "print(1)"], runtime, { PYCDS: "on" });
    expect(on).toMatchObject({ status: 2, stdout: "", starts: [] });
    expect(utf8(on.stderr)).toMatch(/^pycds: error: cannot (load|start) the runtime \(.*\) — .+ — .+\n$/);
  });

  describe.skipIf(freeThreaded === undefined)(`a free-threaded Python${freeThreaded === undefined ? " (not on this machine)" : ""}`, () => {
    const python = freeThreaded?.exe ?? "";

    it("gets the library for free-threaded Pythons, also behind a wrapper; the other stays for the others", async () => {
      expect(await launch([python, "-c", "import sys; sys.exit(4)"])).toMatchObject({ status: 4, starts: [startLine("freethreaded")] });
      expect(await launch(["sh", "-c", 'exec "$0" -c pass', python])).toMatchObject({ status: 0, starts: [startLine("freethreaded")] });
      const program = `import subprocess; subprocess.check_call([${JSON.stringify(exe)}, '-c', 'pass'])`;
      expect(await launch([python, "-c", program], { PYCDS_LAUNCH_CHILDREN: "1" })).toMatchObject({ status: 0, starts: [startLine("freethreaded"), started] });
    });

    it("without that library: a stock start, or under PYCDS=on an error before user code", async () => {
      expect(await launch([python, "-c", "print(1)"], { PYCDS_LAUNCH_RUNTIME_T: "" })).toMatchObject({ status: 0, stdout: "1\n", stderr: "", starts: [] });
      const on = await launch([python, "-c", "print(1)"], { PYCDS_LAUNCH_RUNTIME_T: "" }, { PYCDS: "on" });
      expect(on).toMatchObject({ status: 2, stdout: "", starts: [] });
      expect(utf8(on.stderr)).toMatch(/^pycds: error: cannot start the runtime \(no runtime\) — .*PYCDS_LAUNCH_RUNTIME_T.* — .+\n$/);
    });
  });

  it("a log that is a FIFO nobody reads does not stop the program", async () => {
    const fifo = join(scratch.directory, "fifo");
    execFileSync("mkfifo", [fifo]);
    const result = await launch([exe, "-c", "print(1)"], { PYCDS_LAUNCH_RUNTIME: "/none.so" }, { PYCDS_LOG: fifo });
    expect(result).toMatchObject({ status: 0, stdout: "1\n", stderr: "" });
  });

  it("programs that are no Python keep the environment", async () => {
    const result = await launch(["sh", "-c", "echo $PYCDS_LAUNCH_RUNTIME; echo $LD_PRELOAD"]);
    expect(result).toMatchObject({ status: 0, stdout: `${scratch.runtime}\n${scratch.launcher}\n`, starts: [] });
  });

  it("preloaded without a wish, it changes nothing", async () => {
    const log = newLog();
    const environment = { ...plainEnvironment(log), LD_PRELOAD: scratch.launcher };
    const result = await run({ argv: [exe, "-c", dump], cwd: scratch.directory, environment });
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain(scratch.launcher);
    expect(startsIn(log)).toEqual([]);
  });

  it("shows the program two symbols and no more", () => {
    const names = execFileSync("nm", ["-D", "--defined-only", scratch.launcher], { encoding: "utf8" });
    expect(names.trim().split("\n").map((line) => line.split(" ").at(-1) ?? "").sort((a, b) => a.localeCompare(b))).toEqual(["__libc_start_main", "pycds_launch_active"]);
  });

  it("its request is the runtime's Request, field by field", () => {
    const fields = (file: string, name: string): string[] => {
      const text = readFileSync(file, "utf8");
      const end = text.indexOf(`} ${name};`);
      expect(end).toBeGreaterThan(0);
      const body = text.slice(text.lastIndexOf("{", end) + 1, end);
      return body.split("\n").map((line) => line.replace(/\/\*.*/, "").trim().replace(/\s+/g, " ")).filter((line) => line !== "");
    };
    const ours = fields(join(launchSources, "cpython.h"), "LaunchRequest");
    expect(ours).toEqual(fields(join(root, "native/runtime/runtime.h"), "Request"));
    expect(ours).toHaveLength(3);
  });
});
