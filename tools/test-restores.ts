/**
 * `npm run test:restores`: many starts of warm images, none of which may fail.
 *
 *   npm run test:restores -- [--count 10000] [--python EXE …] [--preload json,ssl] [--sealed] [--jobs 2]
 *
 * For each interpreter (without --python, those of 3.11 to 3.14 that are found) an image
 * is built and started --count times; the programs alternate. Each start must be a
 * restored one (PYCDS=on), end with status 0 and print what stock prints. Exit status:
 * 0 all did, 1 some did not, each of which is printed.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createImage, warmPythons } from "../test/warm/support.ts";
import { pythonEnvironment } from "../test/support/pythons.ts";
import { readArguments, runScript, wholeNumber } from "./arguments.ts";

const usage = "npm run test:restores -- --count N --python EXE … --preload NAMES --sealed --jobs N";
const { values } = readArguments({
  options: {
    count: { type: "string", default: "10000" },
    python: { type: "string", multiple: true, default: [] },
    preload: { type: "string", default: "json,ssl,threading,subprocess,asyncio" },
    sealed: { type: "boolean", default: false },
    jobs: { type: "string", default: "1" },
  },
}, usage);
const count = wholeNumber(values.count, "--count");
const jobs = wholeNumber(values.jobs, "--jobs");

/** One after the other, over and over. */
const programs: readonly string[] = [
  "print('short')",
  "import json, threading; t = threading.Thread(target=lambda: print(json.dumps([1]))); t.start(); t.join()",
  "import os; print(os.waitstatus_to_exitcode(os.waitpid(os.fork() or os._exit(3), 0)[1]))",
  "x = [list(range(1000)) for _ in range(300)]; del x[::2]; print(len(x), len(bytes(30_000_000)))",
  "import ssl, hashlib; print(len(ssl.RAND_bytes(16)), hashlib.sha256(b'x').hexdigest())",
  "import asyncio; print(asyncio.run(asyncio.sleep(0, 'slept')))",
  "def f(n): return n and f(n - 1)\nprint(f(500))",
];

const env = pythonEnvironment();

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function start(program: string, code: string): Promise<Ended> {
  const child = spawn(program, ["-c", code], { env: { ...env, PYCDS: "on" }, stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (part: Buffer) => (text.stdout += part.toString()));
  child.stderr.on("data", (part: Buffer) => (text.stderr += part.toString()));
  return new Promise((settle, fail) => {
    child.once("error", fail);
    child.once("close", (status, signal) => settle({ status, signal, ...text }));
  });
}

/** Starts that did not end as they should. */
async function examine(exe: string, directory: string): Promise<number> {
  const image = join(directory, "image");
  const built = createImage(image, ["--preload", values.preload, ...(values.sealed ? ["--sealed"] : []), "--", exe], { env, cwd: directory });
  if (built.status !== 0) {
    process.stderr.write(built.stderr);
    return 1;
  }
  const expected = programs.map((code) => spawnSync(exe, ["-c", code], { encoding: "utf8", env }).stdout);
  let next = 0;
  let failures = 0;
  const work = async (): Promise<void> => {
    while (next < count) {
      const round = next++;
      const which = round % programs.length;
      const ended = await start(image, programs[which] ?? "");
      if (ended.status === 0 && ended.stderr === "" && ended.stdout === expected[which] && ended.stdout !== "") continue;
      failures++;
      process.stdout.write(`${JSON.stringify({ exe, round, code: programs[which], ...ended })}\n`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  process.stdout.write(`${exe}: ${count} restores, ${failures} failed\n`);
  return failures;
}

await runScript(async () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-restores-")));
  const leave = (status: number) => () => {
    rmSync(directory, { recursive: true, force: true });
    process.exit(status);
  };
  process.once("SIGINT", leave(130)).once("SIGTERM", leave(143));
  try {
    let failures = 0;
    for (const exe of values.python.length > 0 ? values.python : warmPythons().map((one) => one.exe)) failures += await examine(exe, directory);
    return failures === 0 ? 0 : 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
