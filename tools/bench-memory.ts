/**
 * `npm run bench:memory`: how much memory several processes of one program take
 * together, stock against archive: proportional set size (a page that n
 * processes share counts 1/n for each) from /proc/PID/smaps_rollup (Linux).
 *
 *   npm run bench:memory -- --venv VENV [--venv VENV …] [--import boto3] [--processes 10] [--rounds 3] [--results FILE]
 *
 * Each VENV must be able to import the module; venvs of the same interpreter that
 * see its packages are made, and one gets the archive. Results are appended to --results as a table.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buildArchive, installInto, traceCommand } from "../src/bench/archive.ts";
import type { Toolchain } from "../src/bench/archive.ts";
import { checkout } from "../src/bench/pairs.ts";
import { cleanEnv, mustRun } from "../src/bench/process.ts";
import { venvPython } from "../src/bench/scratch.ts";
import { median } from "../src/bench/stats.ts";
import { needed, readArguments, wholeNumber } from "./arguments.ts";

/** KiB, summed over the processes. */
interface Memory {
  readonly pss: number;
  readonly rss: number;
  /** Pages that a process has to itself and has written. */
  readonly dirty: number;
}

const usage = "npm run bench:memory -- --venv VENV … --import NAME --processes N --rounds N --results FILE";
const { values } = readArguments({
  options: {
    venv: { type: "string", multiple: true, default: [] },
    import: { type: "string", default: "boto3" },
    processes: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
    results: { type: "string" },
  },
}, usage);
const processes = wholeNumber(values.processes, "--processes");
const rounds = wholeNumber(values.rounds, "--rounds");
const venvs = needed(values.venv, "--venv", usage);

/** Starts all, waits until each has imported, measures while all of them live. */
async function measure(python: string): Promise<Memory> {
  const code = `import ${values.import}, sys; print(flush=True); sys.stdin.read()`;
  const children = Array.from({ length: processes }, () => spawn(python, ["-c", code], { stdio: ["pipe", "pipe", "inherit"], env: cleanEnv(process.env) }));
  try {
    await Promise.all(children.map(async (child) => {
      for await (const _ of createInterface({ input: child.stdout })) return;
      throw new Error(`${python} cannot import ${values.import}`);
    }));
    const all = await Promise.all(children.map(async ({ pid }) => readFile(`/proc/${pid ?? 0}/smaps_rollup`, "utf8")));
    const sum = (field: string): number => all.reduce((total, text) => total + Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]), 0);
    return { pss: sum("Pss"), rss: sum("Rss"), dirty: sum("Private_Dirty") };
  } finally {
    await Promise.all(children.map(async (child) => {
      const ended = once(child, "close");
      child.stdin.end();
      await ended;
    }));
  }
}

/** A venv of the same interpreter that imports the packages of `venv` where they are; its python. */
async function bareVenv(venv: string, to: string): Promise<string> {
  await mustRun("make a venv", [venvPython(venv), "-m", "venv", "--without-pip", to], cleanEnv(process.env));
  const purelib = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
  const packages = async (of: string): Promise<string> => (await mustRun("ask for site-packages", [venvPython(of), "-c", purelib], cleanEnv(process.env))).stdout.trim();
  await writeFile(join(await packages(to), "packages.pth"), `${await packages(venv)}\n`);
  return venvPython(to);
}

async function compare(venv: string, scratch: string): Promise<string[]> {
  const tools: Toolchain = { pycds: [process.execPath, join(checkout, "bin/pycds")], env: process.env };
  const stock = await bareVenv(venv, join(scratch, "stock"));
  const copy = await bareVenv(venv, join(scratch, "archive"));
  const trace = join(scratch, "t.trace");
  const archive = join(scratch, "a.pycds");
  await traceCommand(tools, [copy, "-c", `import ${values.import}`], trace);
  await buildArchive(tools, [trace], join(scratch, "archive"), archive);
  await installInto(tools, join(scratch, "archive"), archive);
  const version = (await mustRun("ask its version", [venvPython(venv), "-c", "import sys; print(sys.version.split()[0])"], cleanEnv(process.env))).stdout.trim();
  const seen: { readonly stock: Memory; readonly archive: Memory }[] = [];
  for (let round = 0; round < rounds; round++) seen.push({ stock: await measure(stock), archive: await measure(venvPython(join(scratch, "archive"))) });
  const each = (arm: "stock" | "archive", field: keyof Memory): string => (median(seen.map((one) => one[arm][field])) / processes / 1024).toFixed(2);
  return (["stock", "archive"] as const).map((arm) => `| ${version} | ${arm} | ${each(arm, "pss")} | ${each(arm, "dirty")} | ${each(arm, "rss")} |`);
}

const scratch = await mkdtemp(join(tmpdir(), "pycds-memory-"));
try {
  const rows: string[] = [];
  for (const [number, venv] of venvs.entries()) rows.push(...await compare(venv, await mkdtemp(join(scratch, `${number}-`))));
  const table = [
    `\n\`import ${values.import}\`, ${processes} processes at a time, MiB a process, medians of ${rounds} rounds (\`npm run bench:memory\`):\n`,
    "| CPython | arm | PSS | private and written | RSS |", "| --- | --- | ---: | ---: | ---: |", ...rows, "",
  ].join("\n");
  process.stdout.write(table);
  if (values.results !== undefined) await appendFile(values.results, table);
} finally {
  await rm(scratch, { recursive: true, force: true });
}
