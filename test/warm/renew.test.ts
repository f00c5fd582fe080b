/** --rotate: a start after the image's age is the normal one, and builds the image again in the background. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { warmCodecs } from "../../src/warm/codec.ts";
import { plainEnvironment } from "../launch/support.ts";
import { cannotWarm, createImage, forgeImage, pycdsIn, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;

describe.skipIf(python === undefined)(`renewal and inspection${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  const env = Object.fromEntries(Object.entries(plainEnvironment("")).filter(([name]) => name !== "PYTHONHASHSEED"));
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-renew-")));
    mkdirSync(join(directory, "code"));
    writeFileSync(join(directory, "code/app.py"), "import json\nimport time\nprint('ran', hash('seed'))\n");
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const start = (file: string, more: Record<string, string> = {}) => spawnSync(file, { cwd: "/", encoding: "utf8", env: { ...env, PYCDS_LOG: "stderr", ...more } });
  const expire = (image: string): void => forgeImage(image, image, (tables) => new DataView(tables.buffer, tables.byteOffset).setBigInt64(warmCodecs.header.offsetOf("expires"), 1n, true));
  const inspect = (image: string): { expires?: string } => JSON.parse(pycdsIn(["warm", "inspect", "--json", image], { env, cwd: directory }).stdout) as { expires?: string };
  const renewed = async (image: string): Promise<void> => {
    const lock = join(directory, `${image.startsWith(directory) ? image.slice(directory.length + 1).replace(/([^/]+)$/, ".$1.renewing") : image}`);
    for (const until = Date.now() + 60_000; existsSync(lock) && Date.now() < until;) await new Promise((wake) => setTimeout(wake, 50));
    expect(existsSync(lock)).toBe(false);
  };

  it("starts the normal way, and is itself again afterwards, with another hash seed", { timeout: 120_000 }, async () => {
    const image = join(directory, "image");
    expect(createImage(image, ["--rotate", "7d", "--exit", "quick", "--", exe, "code/app.py"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    const before = start(image).stdout;
    expect(start(image).stdout).toBe(before);
    expire(image);
    // its output is at an end when the program is: the renewal holds none of its streams
    expect(start(image)).toMatchObject({ status: 0, stdout: expect.stringMatching(/^ran /) as string, stderr: `pycds: refused ${image}: it is older than it may become (--rotate)\n` });
    await renewed(image);
    expect(Date.parse(inspect(image).expires ?? "")).toBeGreaterThan(Date.now());
    const after = start(image);
    expect(after).toMatchObject({ status: 0, stderr: `pycds: restored ${image}\n` });
    expect(after.stdout).not.toBe(before);
    expect(start(image).stdout).toBe(after.stdout);
  });
  it("one start renews; a renewal that failed is tried again ten minutes later", { timeout: 120_000 }, async () => {
    const image = join(directory, "locked");
    const lock = join(directory, ".locked.renewing");
    expect(createImage(image, ["--rotate", "7d", "--", exe, "code/app.py"], { env, cwd: directory })).toMatchObject({ status: 0 });
    expire(image);
    writeFileSync(lock, "");
    const bytes = readFileSync(image);
    expect(start(image).status).toBe(0);
    expect(existsSync(lock)).toBe(true);
    expect(readFileSync(image).equals(bytes)).toBe(true);
    utimesSync(lock, 1, 1);
    expect(start(image).status).toBe(0);
    await renewed(image);
    expect(start(image).stderr).toBe(`pycds: restored ${image}\n`);
  });
  it("without --rotate, and by hand", () => {
    const image = join(directory, "by-hand");
    expect(createImage(image, ["--", exe, "code/app.py"], { env, cwd: directory })).toMatchObject({ status: 0 });
    const before = start(image).stdout;
    writeFileSync(join(directory, "code/app.py"), "import json\nprint('ran', hash('seed'), 'newer')\n");
    expect(start(image).stderr).toContain("refused");
    expect(pycdsIn(["warm", "renew", "by-hand"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(start(image)).toMatchObject({ stdout: expect.stringMatching(/newer\n$/) as string, stderr: `pycds: restored ${image}\n` });
    expect(start(image).stdout).not.toBe(before);
  });
  it("a command of an environment", { timeout: 120_000 }, async () => {
    execFileSync(exe, ["-m", "venv", "--without-pip", join(directory, "venv")], { env });
    const tool = join(directory, "venv/bin/tool");
    const script = `#!${join(directory, "venv/bin/python")}\nimport json\nprint('tool', __file__)\n`;
    writeFileSync(tool, script, { mode: 0o755 });
    expect(pycdsIn(["warm", "install", "--venv", "venv", "--rotate", "1d", "tool"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expire(tool);
    expect(start(tool).stderr).toContain("older than it may become");
    await renewed(tool);
    expect(start(tool)).toMatchObject({ stdout: `tool ${tool}\n`, stderr: `pycds: restored ${tool}\n` });
    expect(pycdsIn(["warm", "uninstall", "--venv", "venv"], { env, cwd: directory })).toMatchObject({ status: 0 });
    expect(readFileSync(tool, "utf8")).toBe(script);
  });

  it("inspect: sizes by module, and the pages of a running process", async () => {
    const image = join(directory, "inspected");
    mkdirSync(join(directory, "lib"));
    writeFileSync(join(directory, "lib/large.py"), "DATA = [bytes(1000) for _ in range(1000)]\n");
    writeFileSync(join(directory, "lib/small.py"), "import large\nDATA = [large.DATA]\n");
    const own = { ...env, PYTHONPATH: join(directory, "lib") };
    expect(createImage(image, ["--preload", "small", "--", exe], { env: own, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    const { sizes } = JSON.parse(pycdsIn(["warm", "inspect", "--json", image], { env: own, cwd: directory }).stdout) as { sizes: { module: string; bytes: number }[] };
    const sizeOf = (name: string): number => sizes.find(({ module }) => module === name)?.bytes ?? 0;
    // small was imported first: what both reach is counted there
    expect(sizeOf("large") + sizeOf("small")).toBeGreaterThan(1_000_000);
    expect(sizeOf("json") + sizeOf("os")).toBeLessThan(1_000_000);
    const child = spawn(image, ["-c", "print('runs', flush=True); input()"], { env: own, stdio: ["pipe", "pipe", "ignore"] });
    try {
      await new Promise((settle) => child.stdout.once("data", settle));
      const { mappings } = JSON.parse(pycdsIn(["warm", "inspect", "--json", "--pid", String(child.pid), image], { env: own, cwd: directory }).stdout) as { mappings: { name: string; private?: number; shared?: number }[] };
      expect(mappings.find(({ name }) => name === "[heap]")?.private).toBeGreaterThan(4096);
      expect(pycdsIn(["warm", "inspect", "--pid", String(child.pid), image], { env: own, cwd: directory }).stdout).toMatch(/shared +private {2}mapping\n[^]* objects {2}module[^]* KiB {2}(?:small|large)\n/);
      expect(pycdsIn(["warm", "inspect", "--pid", String(process.pid), image], { env: own, cwd: directory })).toMatchObject({ status: 2, stderr: expect.stringContaining("was not started from") as string });
    } finally {
      child.stdin.end();
    }
  });
});
