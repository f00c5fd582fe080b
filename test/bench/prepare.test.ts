/** What is prepared before anything is measured: interpreters, scratch venvs, archives (through a stand-in for pycds). */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { chooseCases, readBasket } from "../../src/bench/basket.ts";
import { benchCommand, resolveCommand } from "../../src/bench/command.ts";
import { checkPeer } from "../../src/bench/peer.ts";
import { findPython, probePython } from "../../src/bench/python.ts";
import { compileAll, copyVenv, scratchFolder, scratchVenv } from "../../src/bench/scratch.ts";
import { pythons } from "../support/pythons.ts";

const root = mkdtempSync(join(tmpdir(), "pycds-prepare-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const fake = fileURLToPath(new URL("fake/pycds.mjs", import.meta.url));
const supported = pythons().filter(({ minor }) => minor >= 11 && minor <= 13);
const exe = supported[0]?.exe ?? "";
const slow = 180_000;

describe("the basket", () => {
  it("chooses by name and by group, in its own order", async () => {
    const { basket } = await readBasket();
    const names = (chosen?: readonly string[]): string[] => chooseCases(basket, chosen).map((one) => one.name);
    expect(names()).toEqual(["json", "requests", "boto3", "django.db.models", "fastapi", "sqlalchemy", "pandas"]);
    expect(names(["pass", "json"])).toEqual(["json", "pass"]);
    expect(names(["all"])).toHaveLength(basket.cases.length);
    expect(() => names(["jsn"])).toThrow(expect.objectContaining({ code: "BENCH_NO_CASE" }) as Error);
  });

  it("pins every package exactly, the demo's as its own", async () => {
    const { requirements } = await readBasket();
    const pins = (text: string): string[] => text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    const all = pins(requirements);
    const demo = pins(readFileSync(new URL("../../bench/demo-requirements.txt", import.meta.url), "utf8"));
    for (const pin of all) expect(pin).toMatch(/^[a-z0-9-]+==[0-9][0-9a-z.]*$/);
    expect(all).toEqual(expect.arrayContaining(demo));
  });

  it("refuses the peer where it does not exist", () => {
    expect(() => checkPeer("3.13")).toThrow(expect.objectContaining({ code: "BENCH_PEER_VERSION" }) as Error);
    expect(() => checkPeer("3.12")).not.toThrow();
  });
});

describe.skipIf(supported.length === 0)("interpreters (CPython 3.11, 3.12 or 3.13)", () => {
  it("takes the newest on PATH that runs, past broken shims", async () => {
    const bin = join(root, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "python3.13"), "#!/bin/sh\necho 'version not selected' >&2\nexit 127\n");
    chmodSync(join(bin, "python3.13"), 0o755);
    symlinkSync(exe, join(bin, "python3"));
    const env = { PATH: bin };
    expect((await findPython(undefined, env)).minor).toBe(supported[0]?.version);
    await expect(findPython(join(bin, "python3.13"), env)).rejects.toMatchObject({ code: "BENCH_COMMAND_FAILED" });
    await expect(findPython(undefined, { PATH: root })).rejects.toMatchObject({ code: "BENCH_NO_PYTHON", next: expect.stringContaining("apt-get install") as string });
  });

  it("splits a command into python and arguments", async () => {
    const script = join(root, "tool");
    writeFileSync(script, `#!${exe} -I\nprint(1)\n`);
    chmodSync(script, 0o755);
    expect(await resolveCommand([script, "x"], {})).toEqual({ exe, args: ["-I", script, "x"] });
    expect(await resolveCommand([exe, "-c", "pass"], {})).toEqual({ exe, args: ["-c", "pass"] });
    writeFileSync(script, "#!/bin/sh\n");
    await expect(resolveCommand([script], {})).rejects.toMatchObject({ code: "BENCH_NOT_PYTHON" });
    await expect(resolveCommand([join(root, "none")], {})).rejects.toMatchObject({ code: "BENCH_COMMAND_NOT_FOUND" });
    await expect(resolveCommand([], {})).rejects.toMatchObject({ code: "BENCH_NO_COMMAND" });
  });
});

describe.skipIf(supported.length === 0)("scratch venvs (CPython 3.11, 3.12 or 3.13)", () => {
  it("are made once, remade when half finished, and copied with .pyc files of their own", { timeout: slow }, async () => {
    const python = await probePython(exe, process.env);
    const options = { python, requirements: "# none\n", folder: scratchFolder({ XDG_CACHE_HOME: root }), env: process.env };
    const [venv, same] = await Promise.all([scratchVenv(options), scratchVenv(options)]);
    expect(same).toBe(venv);
    expect(venv.startsWith(join(root, "pycds-bench"))).toBe(true);
    const made = statSync(join(venv, "pyvenv.cfg")).ino;
    await scratchVenv(options);
    expect(statSync(join(venv, "pyvenv.cfg")).ino).toBe(made);

    const site = join("lib", `python${python.minor}`, "site-packages");
    writeFileSync(join(venv, site, "one.py"), "def f(): pass\n");
    await compileAll(venv, process.env);
    const copy = await copyVenv(venv, join(root, "copy"), process.env);
    const cached = readdirSync(join(copy, site, "__pycache__")).find((name) => name.startsWith("one."));
    expect(readFileSync(join(copy, site, "__pycache__", cached ?? "")).includes(join(copy, site, "one.py"))).toBe(true);

    rmSync(join(venv, "pycds-scratch.json"));
    await scratchVenv(options);
    expect(existsSync(join(venv, site, "one.py"))).toBe(false);
  });
});

describe.skipIf(supported.length === 0)("a command (CPython 3.11, 3.12 or 3.13)", () => {
  const log = join(root, "log");
  const options = {
    pycds: [process.execPath, fake],
    env: { ...process.env, FAKE_LOG: log },
    rounds: 1,
    warmups: 0,
    cwd: root,
    folder: root,
    command: [exe, "-c", "import json"],
    name: "python -c 'import json' > /dev/null",
  };
  const calls = (): string[][] => readFileSync(log, "utf8").trim().split("\n").map((line) => JSON.parse(line) as string[]);
  beforeEach(() => {
    rmSync(log, { force: true });
  });

  it("is traced, built, installed, measured and uninstalled, in copies", { timeout: slow }, async () => {
    const run = await benchCommand(options);
    expect(calls().map(([command]) => command)).toEqual(["trace", "build", "install", "uninstall"]);
    expect(calls()[2]).toContain("-a");
    expect(run.measured[0]?.served).toEqual({ hit: 3, miss: 2, stale: 0 });
    expect(run.report).toMatchObject({ cases: [{ name: options.name }] });
    expect(calls()[1]?.at(-1)).toMatch(/\/work\/[\w.-]+\/program\.pycds$/);
    expect(readdirSync(root).filter((name) => name.startsWith("pycds-command-"))).toEqual([]);
  });

  it("can use an archive that the environment names", { timeout: slow }, async () => {
    await benchCommand({ ...options, way: "environment" });
    expect(calls()[2]).not.toContain("-a");
  });

  it("is not measured when its archive serves nothing", { timeout: slow }, async () => {
    await expect(benchCommand({ ...options, env: { ...options.env, FAKE_HITS: "0" } })).rejects.toMatchObject({ code: "BENCH_NOT_SERVED" });
    expect(calls().at(-1)?.[0]).toBe("uninstall");
  });
});
