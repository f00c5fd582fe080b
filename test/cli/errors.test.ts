/** Every bad input: one clear line, the exit status of style.md, nothing left behind (issue 3, "Bad input"). */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { knownAbis } from "../../src/abi/load.ts";
import { checkout } from "../support/built.ts";
import { pythons } from "../support/pythons.ts";
import { isServed } from "../support/served.ts";
import type { Context } from "../../src/cli/context.ts";
import { reportError } from "../../src/cli/report.ts";
import { makeWorld } from "./support.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const world = makeWorld("errors");
afterAll(() => world.remove());
const at = (name: string): string => join(world.work, name);

const supported = pythons().filter(({ version }) => knownAbis().some((id) => id.startsWith(`cpython-${version}-`)));
const [first] = supported;
const unserved = pythons().filter((each) => !isServed(each));

/** The command's complaint; the folder must be as it was. */
function complain(args: readonly string[], env: Record<string, string> = {}): { status: number | null; lines: string[]; stdout: string } {
  const before = readdirSync(world.work).toSorted();
  const done = world.pycds(args, env);
  expect(readdirSync(world.work).toSorted()).toEqual(before);
  expect(readdirSync(world.temporary)).toEqual([]);
  return { status: done.status, lines: done.stderr.trimEnd().split("\n"), stdout: done.stdout };
}

/** One line of the form of style.md, with status 2. */
function usage(args: readonly string[], line: string | RegExp): void {
  const { status, lines, stdout } = complain(args);
  expect(lines).toHaveLength(1);
  if (typeof line === "string") expect(lines[0]).toBe(`pycds: error: ${line}`);
  else expect(lines[0]).toMatch(line);
  expect(lines[0]).toMatch(/^pycds: error: .+ — .+ — .+$/);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
}

beforeAll(() => {
  mkdirSync(at("folder"));
  execFileSync("mkfifo", [at("fifo")]);
  writeFileSync(at("empty"), "");
  writeFileSync(at("text"), "hello\n");
});

describe("the command line", () => {
  it.each<[readonly string[], RegExp]>([
    [[], /no command given/],
    [["frobnicate"], /unknown command 'frobnicate'/],
    [["build", "-o", "x", "--frob"], /unknown option '--frob' — see: pycds build --help/],
    [["build", "--all"], /required option '-o, --output <file>' not specified/],
    [["build", "-o", "x", "--all", "--optimize", "3"], /it is not 0, 1 or 2/],
    [["build", "-o", "x"], /nothing to build: neither a trace nor --all is given — make a trace with: /],
    [["build", "-o", "x", "--all", "--venv", "a", "--python", "b"], /both --venv and --python are given/],
    [["build", "-o", "x", "--all", "--tree", "a=/b"], /--tree and --stamps are for another machine — give --target too/],
    [["build", "-o", "x", "--all", "--target", "cpython-3.11-linux-x86_64"], /--target needs --stamps FILE and --tree DIR=PATH/],
    [["bench", "--rounds", "none"], /it is not a positive number/],
    [["bench", "--vs", "java"], /choose from stock, code-data-share/],
    [["run"], /missing required argument 'command'/],
    [["trace", "--", "true"], /required option '-o, --output <file>' not specified/],
    [["inspect"], /missing required argument 'file'/],
    [["warm"], /^pycds: error: cannot read the command line — a command is missing — see: pycds warm --help$/],
    [["warm", "frob"], /unknown command 'frob' — see: pycds warm --help/],
    [["warm", "create", "-o", "x"], /missing required argument 'command' — see: pycds warm create --help/],
    [["warm", "create", "--", "python"], /required option '-o, --output <file>' not specified — see: pycds warm create --help/],
    [["warm", "create", "-o", "x", "--frob", "--", "python"], /unknown option '--frob' — see: pycds warm create --help/],
    [["warm", "create", "-o", "none/x", "--", "python"], /cannot write the image .*its folder does not exist — make it first: mkdir -p/],
    [["warm", "create", "-o", "x", "--", "./nopython"], /cannot run the program .*there is no such program — check its name and PATH/],
    [["warm", "run"], /missing required argument 'image' — see: pycds warm run --help/],
    [["warm", "run", "none"], /cannot start the image .*there is no such file/],
    [["warm", "run", "fifo"], /cannot start the image .*it is a FIFO, not a regular file/],
    [["warm", "inspect", "text"], /cannot read the warm image .*give a file that pycds warm create wrote/],
    [["warm", "verify", "empty"], /cannot read the warm image .*give a file that pycds warm create wrote/],
    [["warm", "install"], /missing required argument 'commands' — see: pycds warm install --help/],
    [["warm", "install", "--venv", "none", "pip"], /cannot find the environment .*give a virtual environment with --venv/],
    [["warm", "uninstall", "--venv", "folder", "pip"], /cannot find the environment .*give a virtual environment with --venv/],
    [["inspect", "--map", "--json", "x"], /--map is a text of its own/],
  ])("%j", (args, line) => {
    usage(args, line);
  });
});

const notArchives: readonly (readonly [string, string])[] = [
  ["none", "there is no such file"], ["folder", "it is a directory, not a regular file"], ["fifo", "it is a FIFO, not a regular file"], ["none/below", "there is no such file"],
];

describe.each([["inspect", "cannot inspect the archive"], ["verify", "cannot verify the archive"], ["why", "cannot read the archive"]])("pycds %s", (command, what) => {
  it.each(notArchives)("refuses %s", (name, why) => {
    usage([command, at(name), ...(command === "why" ? ["json"] : [])], `${what} (${at(name)}) — ${why} — check the path`);
  });
});

describe("pycds build", () => {
  it.each(notArchives)("refuses the trace %s", (name, why) => {
    usage(["build", "--trace", at(name), "-o", "x.pycds"], `cannot read trace (${at(name)}) — ${why} — check the path`);
  });

  it("refuses what is no trace, and reports every bad file", () => {
    usage(["build", "--list", "empty", "-o", "x.pycds"], /cannot read trace \(empty\) — it is empty: no Python wrote to it — /);
    usage(["build", "--trace", "text", "-o", "x.pycds"], /cannot read trace \(text, offset 0\) — line 1: it is not JSON; /);
    const { status, lines } = complain(["build", "--trace", "none", "--trace", "text", "--list", "fifo", "-o", "x.pycds"]);
    expect(status).toBe(2);
    expect(lines.map((line) => /\(([^,)]+)/.exec(line)?.[1])).toEqual(["none", "text", "fifo"]);
  });

  it("refuses outputs that can't be, before any work", () => {
    usage(["build", "--all", "-o", at("folder")], `cannot write the archive (${at("folder")}) — it is a directory — name a file`);
    usage(["build", "--all", "-o", at("fifo")], `cannot write the archive (${at("fifo")}) — it is a FIFO — name a file`);
    usage(["build", "--all", "-o", at("none/x.pycds")], `cannot write the archive (${at("none/x.pycds")}) — its folder does not exist — make it first: mkdir -p ${at("none")}`);
    usage(["build", "--all", "-o", "/dev/null"], "cannot write the archive (/dev/null) — it is a device — name a file");
  });

  it("refuses interpreters that can't be", () => {
    usage(["build", "--all", "--python", at("none"), "-o", "x"], /there is no such file/);
    usage(["build", "--all", "--python", at("text"), "-o", "x"], /it is not an executable file/);
    usage(["build", "--all", "--venv", at("folder"), "-o", "x"], /it has neither pyvenv.cfg nor bin\/python/);
    usage(["build", "--all", "--python", "/bin/cat", "-o", "x"], /cannot run interpreter \(\/bin\/cat\) — it ended with status 1: /);
  });

  it("knows which targets it can build for", () => {
    writeFileSync(at("stamps"), "{}");
    usage(["build", "--all", "--target", "cpython-9.9-vax-vms", "--stamps", "stamps", "--tree", "x=/x", "-o", "x"], /^pycds: error: cannot build for cpython-9.9-vax-vms — there is no layout data for it — choose one of cpython-3\./);
    usage(["build", "--all", "--target", knownAbis()[0] ?? "", "--stamps", "stamps", "--tree", "x=/x", "-o", "x"], /cannot read stamps \(stamps\) — pycds: /);
    usage(["build", "--all", "--target", knownAbis()[0] ?? "", "--stamps", "none", "--tree", "x=/x", "-o", "x"], /cannot read stamps \(none\) — there is no such file/);
    usage(["build", "--all", "--target", knownAbis()[0] ?? "", "--stamps", "stamps", "--tree", "x", "-o", "x"], /cannot use --tree — "x" is not DIR=RUNTIME_PATH/);
  });

  it.skipIf(unserved.length === 0)(`refuses a CPython that is not served (${unserved.map(({ version }) => version).join(", ") || "none here"})`, () => {
    for (const { version, exe: python } of unserved) {
      usage(["build", "--all", "--python", python, "-o", "x"], version.endsWith("d") ? /debug builds of CPython are not served \(cpython-3\.\d+-/ : /no layout data for cpython-3\.\d+-/);
    }
  });

  it("refuses a trace of another interpreter or of a gone one", () => {
    const header = { pycds: "trace", version: 1, sys_path: [], python: { executable: at("gone"), hexversion: 0x030a00f0, cache_tag: "cpython-310", optimize: 0, prefix: "/", base_prefix: "/" } };
    writeFileSync(at("other.trace"), `${JSON.stringify(header)}\n`);
    usage(["build", "--trace", "other.trace", "-o", "x"], /cannot run interpreter .* — there is no such file — /);
    usage(["build", "--trace", "other.trace", "--python", first?.exe ?? "", "-o", "x"], /cannot build from this trace \(other.trace\) — it was made by CPython 3\.10\.0, the archive is to be for CPython 3\./);
    writeFileSync(at("no-exe.trace"), `${JSON.stringify({ ...header, python: { ...header.python, executable: null } })}\n`);
    usage(["build", "--trace", "no-exe.trace", "-o", "x"], "cannot tell the interpreter — the trace names none — name it with --python EXE or --venv DIR");
  });
});

describe("pycds run and trace", () => {
  it("name a program that can't be started", () => {
    usage(["run", "--", "no-such-program"], /cannot run the program \(no-such-program\) — there is no such program — /);
    usage(["trace", "-o", "x.trace", "--", at("text")], /cannot run the program \(.*text\) — it is not an executable file — /);
    usage(["trace", "-o", at("folder"), "--", "true"], `cannot write the trace (${at("folder")}) — it is a directory — name a file`);
    usage(["trace", "-o", at("none/x"), "--", "true"], /its folder does not exist/);
  });
});

describe.skipIf(first === undefined)("damaged archives", () => {
  const archive = at("good.pycds");
  const damaged = (name: string, damage: (file: string) => void): string => {
    copyFileSync(archive, at(name));
    damage(at(name));
    return at(name);
  };
  const flip = (file: string, offset: number): void => {
    const bytes = readFileSync(file);
    bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
    writeFileSync(file, bytes);
  };

  beforeAll(() => {
    writeFileSync(at("m.py"), "x = 1\n");
    const header = { pycds: "trace", version: 1, sys_path: [world.work], python: { executable: first?.exe, hexversion: 0, cache_tag: "", optimize: 0, prefix: "/", base_prefix: "/" } };
    const hexversion = Number(execFileSync(first?.exe ?? "", ["-c", "import sys; print(sys.hexversion)"], { encoding: "utf8" }));
    header.python.hexversion = hexversion;
    writeFileSync(at("m.trace"), `${JSON.stringify(header)}\n${JSON.stringify({ module: "m", kind: "source", file: at("m.py"), path: null })}\n${JSON.stringify({ module: "vanished", kind: "source", file: at("vanished.py"), path: null })}\n`);
    const done = world.pycds(["build", "--trace", "m.trace", "-o", archive]);
    expect(done.stderr).toBe("");
    // a trace that names modules that are gone: they are reported, and that is all
    expect(done.status).toBe(0);
    expect(done.stdout).toContain("  vanished: its source is gone");
  });

  it.each<[string, (file: string) => void]>([
    ["empty", (file) => truncateSync(file, 0)],
    ["cut in the header", (file) => truncateSync(file, 100)],
    ["cut in the middle", (file) => truncateSync(file, 70_000)],
    ["text", (file) => writeFileSync(file, "hello\n")],
    ["magic", (file) => flip(file, 1)],
    ["byte order", (file) => flip(file, 8)],
    ["format version", (file) => flip(file, 12)],
    ["features", (file) => flip(file, 38)],
  ])("%s: inspect, install and diff say so with status 2, verify answers no", (name, damage) => {
    const file = damaged(`${name.replaceAll(" ", "-")}.pycds`, damage);
    for (const args of [["inspect", file], ["diff", archive, file], ["why", file, "m"]]) {
      const { status, lines, stdout } = complain(args);
      expect({ args, status, stdout }).toEqual({ args, status: 2, stdout: "" });
      for (const line of lines) expect(line).toMatch(/^pycds: error: .+ \(.+\) — .+ — .+$/);
    }
    const answer = complain(["verify", file]);
    expect(answer.status).toBe(1);
    for (const line of answer.lines) expect(line).toMatch(/^pycds: error: the archive is not sound \(.+\) — .+ — build it again$/);
    expect(answer.stdout).toBe("");
  });

  it("verify finds a flipped bit that inspect does not look at, also as JSON", () => {
    const file = damaged("flipped.pycds", (each) => flip(each, readFileSync(each).byteLength - 40));
    expect(complain(["verify", archive]).status).toBe(0);
    expect(complain(["verify", archive, file]).status).toBe(1);
    const { status, stdout } = complain(["verify", "--json", file]);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ file, ok: false });
  });

  it("diff: 0 equal, 1 different", () => {
    writeFileSync(at("m.py"), "x = 22\n");
    expect(world.pycds(["build", "--trace", "m.trace", "-o", at("second.pycds"), "--quiet"])).toMatchObject({ status: 0, stdout: "", stderr: "" });
    const same = complain(["diff", archive, archive]);
    expect([same.status, same.stdout]).toEqual([0, "the archives are equal\n"]);
    const other = complain(["diff", archive, at("second.pycds")]);
    expect(other.status).toBe(1);
    expect(other.stdout).toContain("~ m: code");
    expect(JSON.parse(complain(["diff", "--json", archive, at("second.pycds")]).stdout)).toMatchObject({ equal: false });
  });

  it("why tells that a file changed since", () => {
    writeFileSync(at("m.py"), "x = 333\n");
    const { status, stdout } = complain(["why", archive, "m", "vanished", "nowhere"]);
    expect(status).toBe(0);
    expect(stdout).toContain(`but ${at("m.py")} has changed since`);
    expect(stdout).toContain("vanished is left to stock: its source is gone");
    expect(stdout).toContain("nowhere is not in the archive");
    expect(JSON.parse(complain(["why", "--json", archive, "m"]).stdout)).toMatchObject({ module: "m", state: "archived", fresh: false });
  });

  it("an archive for another interpreter is not installed", () => {
    const other = supported.find(({ version }) => version !== first?.version);
    if (other === undefined) return expect(supported).toHaveLength(1);
    const venv = at("venv");
    execFileSync(other.exe, ["-m", "venv", "--without-pip", venv]);
    usage(["install", "--venv", venv, "-a", archive], /cannot install the archive \(.*\) — it is for CPython 3\.\S+, this is 3\.\S+ — /);
    usage(["install", "--venv", venv, "-a", at("fifo")], /it is a FIFO, not a regular file/);
    usage(["install", "--venv", venv, "-a", at("none")], /there is no such file/);
    rmSync(venv, { recursive: true });
    usage(["install", "--venv", venv], /there is no such folder/);
  });

  it("an output stays as it was when the build fails, and is replaced whole when it succeeds", () => {
    writeFileSync(at("kept.pycds"), "before");
    expect(complain(["build", "--trace", "text", "-o", at("kept.pycds")]).status).toBe(2);
    expect(readFileSync(at("kept.pycds"), "utf8")).toBe("before");
    expect(world.pycds(["build", "--trace", "m.trace", "-o", at("kept.pycds"), "-q"], {}).status).toBe(0);
    expect(readFileSync(at("kept.pycds")).byteLength).toBeGreaterThan(1000);
    // whoever may write an archive decides what is imported: no umask makes it writable for others
    expect(statSync(at("kept.pycds")).mode & 0o777).toBe(0o644);
    const open = spawnSync("sh", ["-c", 'umask 0; exec "$0" "$@"', process.execPath, join(checkout, "bin", "pycds"), "build", "--trace", "m.trace", "-o", at("open.pycds")], { cwd: world.work, env: world.env });
    expect(open.status).toBe(0);
    expect(statSync(at("open.pycds")).mode & 0o777).toBe(0o644);
  });
});

describe.skipIf(first === undefined)("an interrupt", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s in the middle of a build leaves nothing behind", async (signal) => {
    const hexversion = Number(execFileSync(first?.exe ?? "", ["-c", "import sys; print(sys.hexversion)"], { encoding: "utf8" }));
    const header = { pycds: "trace", version: 1, sys_path: [], python: { executable: first?.exe, hexversion, cache_tag: "", optimize: 0, prefix: "/", base_prefix: "/" } };
    // takes seconds to compile
    writeFileSync(at("slow.py"), "def f(a, b): return [a, b, (a + b) * 2]\n".repeat(100_000));
    writeFileSync(at("slow.trace"), `${JSON.stringify(header)}\n${JSON.stringify({ module: "slow", kind: "source", file: at("slow.py"), path: null })}\n`);
    const before = readdirSync(world.work).toSorted();
    const child = world.start(["build", "--trace", "slow.trace", "-o", "slow.pycds"]);
    const ended = new Promise((resolve) => child.once("exit", (status, by) => resolve(by ?? status)));
    while (readdirSync(world.temporary).length === 0 && child.exitCode === null) await sleep(20);
    expect(readdirSync(world.temporary)).toHaveLength(1);
    child.kill(signal);
    expect(await ended).toBe(signal);
    expect(readdirSync(world.work).toSorted()).toEqual(before);
    expect(readdirSync(world.temporary)).toEqual([]);
  });
});

describe("faults that nobody foresaw", () => {
  const shown: string[] = [];
  const context: Context = { env: {}, cwd: "/", terminal: false, temporary: "/", print: () => undefined, say: (text) => void shown.push(text), sayRaw: () => undefined };
  it("are our own: 70, and --debug shows where", () => {
    expect(reportError(context, new TypeError("boom\nbang"), false)).toBe(70);
    expect(shown.splice(0)).toEqual(["pycds: error: TypeError: boom bang — this is a fault of pycds itself — run it again with --debug and report what it prints"]);
    expect(reportError(context, new TypeError("boom"), true)).toBe(70);
    expect(shown.splice(0)[1]).toContain("errors.test.ts");
  });
  it.skipIf(first === undefined)("are the system's: 2", () => {
    writeFileSync(at("n.py"), "");
    const hexversion = Number(execFileSync(first?.exe ?? "", ["-c", "import sys; print(sys.hexversion)"], { encoding: "utf8" }));
    const header = { pycds: "trace", version: 1, sys_path: [], python: { executable: first?.exe, hexversion, cache_tag: "", optimize: 0, prefix: "/", base_prefix: "/" } };
    writeFileSync(at("n.trace"), `${JSON.stringify(header)}\n${JSON.stringify({ module: "n", kind: "source", file: at("n.py"), path: null })}\n`);
    const { status, lines } = complain(["build", "--trace", "n.trace", "-o", "n.pycds"], { TMPDIR: at("text") });
    expect(status).toBe(2);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^pycds: error: cannot mkdir \(.*\) — ENOTDIR.* — check that path/);
  });
});
