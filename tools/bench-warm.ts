/**
 * npm run bench:warm: restored starts against stock and against a C fork server,
 * interleaved, on the basket's venv of each interpreter. Writes bench/RESULTS-WARM.md.
 *
 *   npm run bench:warm -- --python python3.12 --python python3.13 --rounds 21 [--json FILE] [--only modules|commands]
 *
 * A figure is the median over the rounds of the ratio within a round. The first line
 * is the program's own: it writes CLOCK_MONOTONIC as its first statement behind the
 * imports. Figures depend on the machine.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { probePython } from "../src/bench/python.ts";
import { scratchFolder, scratchVenv } from "../src/bench/scratch.ts";
import { readArguments, wholeNumber } from "./arguments.ts";
import { measureCommands } from "./bench-warm-commands.ts";
import type { CommandResult } from "./bench-warm-commands.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values: options } = readArguments({
  options: {
    python: { type: "string", multiple: true, default: ["python3"] },
    rounds: { type: "string", default: "21" },
    modules: { type: "string", default: "json,requests,boto3,django.db.models,numpy,pandas" },
    json: { type: "string" },
    only: { type: "string" },
    output: { type: "string", default: join(root, "bench/RESULTS-WARM.md") },
  },
}, "npm run bench:warm -- --python EXE … --rounds N --modules json,requests --only modules|commands --json FILE --output FILE");
const rounds = wholeNumber(options.rounds, "--rounds");
const modules = options.modules.split(",");
const first = join(root, "build/native/pycds_first");
const scratch = realpathSync(mkdtempSync(join(tmpdir(), "pycds-bench-warm-")));
const env: Record<string, string> = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: process.env["HOME"] ?? "/", LANG: "C.UTF-8" };

interface Sample {
  readonly first: number;
  readonly total: number;
  readonly faults: number;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const geomean = (values: readonly number[]): number => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
const times = (value: number): string => `${value.toFixed(1)}x`;

function sample(argv: readonly string[], strict: boolean): Sample {
  const { stdout, stderr } = spawnSync(first, argv, { encoding: "utf8", env: strict ? { ...env, PYCDS: "on" } : env });
  const [firstNs = Number.NaN, totalNs = Number.NaN, faults = Number.NaN, status] = stdout.trim().split(" ").map(Number);
  if (status !== 0 || !(firstNs > 0)) throw new Error(`${argv.join(" ")} failed: ${stdout} ${stderr}`);
  return { first: firstNs / 1e6, total: totalNs / 1e6, faults };
}

/** The fork server for one interpreter and one module; undefined where it cannot be linked (a static interpreter). */
async function startServer(python: string, module: string): Promise<{ client: readonly string[]; process: ChildProcess } | undefined> {
  const library = execFileSync(python, ["-I", "-c", "print(next((line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line), ''))"], { encoding: "utf8", env }).trim();
  if (library === "") return undefined;
  const sources = join(root, "native/bench/forkserver");
  const compile = (name: string, ...flags: string[]): string => {
    const output = join(scratch, name);
    execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", join(sources, `${name}.c`), "-o", output, ...flags]);
    return output;
  };
  const client = compile("client", "-static");
  const server = compile("server", "-Wl,--no-as-needed", library, `-Wl,-rpath,${dirname(library)}`);
  const socket = join(scratch, `${Math.random().toString(36).slice(2)}.sock`);
  const child = spawn(server, [socket, python, module], { env, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the fork server ended with ${code ?? "a signal"}`)));
  });
  return { client: [client, socket], process: child };
}

/** PSS of ten concurrent processes that have imported and wait, in bytes. */
async function pssOfTen(argv: readonly string[], code: string, strict: boolean): Promise<number> {
  const children = Array.from({ length: 10 }, () => spawn(argv[0] ?? "", [...argv.slice(1), "-c", `${code}; import sys; sys.stdout.write('r'); sys.stdout.flush(); sys.stdin.read()`], { env: strict ? { ...env, PYCDS: "on" } : env, stdio: ["pipe", "pipe", "inherit"] }));
  try {
    await Promise.all(children.map((child) => new Promise((resolve) => child.stdout.once("data", resolve))));
    return children.reduce((sum, { pid }) => sum + 1024 * Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid ?? 0}/smaps_rollup`, "utf8"))?.[1] ?? Number.NaN), 0);
  } finally {
    for (const child of children) child.stdin.end();
  }
}

const arms = ["stock", "fast", "quick", "sealed", "forkserver"] as const;
type Arm = (typeof arms)[number];

async function measure(exe: string, lines: string[]): Promise<void> {
  const venv = await scratchVenv({ python: await probePython(exe, process.env), requirements: readFileSync(join(root, "bench/requirements.txt"), "utf8"), folder: scratchFolder(process.env), env: process.env });
  const python = join(venv, "bin/python");
  const version = execFileSync(python, ["-c", "import platform; print(platform.python_version())"], { encoding: "utf8", env }).trim();
  lines.push(`## CPython ${version}`, "");
  if (options.only !== "commands") lines.push("| | stock ms | fast | quick | sealed | fork server | sealed / fork server | whole: stock ms | fast | quick | faults | PSS of 10, stock / warm MB | image / dirty | created s |", `|${" --- |".repeat(14)}`);
  const ratios: Record<string, number[]> = {};
  const note = (name: string, value: number): number => {
    (ratios[name] ??= []).push(value);
    return value;
  };
  const json: Record<string, unknown>[] = [];
  for (const module of options.only === "commands" ? [] : modules) {
    const code = `import time, ${module}; print(time.monotonic_ns())`;
    const image = (name: string, ...more: string[]): { file: string; seconds: number; dirty: number } => {
      const file = join(scratch, name);
      const begin = process.hrtime.bigint();
      const made = spawnSync(process.execPath, [join(root, "bin/pycds"), "warm", "create", "--json", "-o", file, "--preload", module, ...more, "--", python], { encoding: "utf8", env });
      if (made.status !== 0) throw new Error(made.stderr);
      return { file, seconds: Number(process.hrtime.bigint() - begin) / 1e9, dirty: (JSON.parse(made.stdout) as { dirty: number }).dirty };
    };
    const fast = image("fast");
    const programs: Partial<Record<Arm, readonly string[]>> = { stock: [python], fast: [fast.file], quick: [image("quick", "--exit", "quick").file], sealed: [image("sealed", "--exit", "quick", "--sealed").file] };
    const server = await startServer(python, module);
    if (server !== undefined) programs.forkserver = server.client;
    const samples: Record<Arm, Sample[]> = { stock: [], fast: [], quick: [], sealed: [], forkserver: [] };
    for (let round = -1; round < rounds; round++) {
      for (let index = 0; index < arms.length; index++) {
        const arm = arms[(index + round + arms.length) % arms.length] ?? "stock";
        const program = programs[arm];
        if (program === undefined) continue;
        const one = sample([...program, "-c", code], arm !== "stock" && arm !== "forkserver");
        if (round >= 0) samples[arm].push(one);
      }
    }
    server?.process.kill();
    const ratio = (over: Arm, under: Arm, what: "first" | "total"): number => median(samples[over].map((one, index) => one[what] / (samples[under][index]?.[what] ?? Number.NaN)));
    const column = (name: string, arm: Arm, what: "first" | "total"): string => (samples[arm].length === 0 ? "–" : times(note(name, ratio("stock", arm, what))));
    const pss = [await pssOfTen([python], `import ${module}`, false), await pssOfTen([fast.file], `import ${module}`, true)] as const;
    note("pss", pss[0] / pss[1]);
    const size = statSync(fast.file).size;
    json.push({ module, samples, pss: { stock: pss[0], warm: pss[1] }, size, dirty: fast.dirty, seconds: fast.seconds });
    lines.push(`| ${[
      module, median(samples.stock.map((one) => one.first)).toFixed(1), column("first fast", "fast", "first"), column("first quick", "quick", "first"), column("first sealed", "sealed", "first"), column("first forkserver", "forkserver", "first"),
      samples.forkserver.length === 0 ? "–" : times(ratio("sealed", "forkserver", "first")), median(samples.stock.map((one) => one.total)).toFixed(1), column("total fast", "fast", "total"), column("total quick", "quick", "total"),
      `${median(samples.stock.map((one) => one.faults))} → ${median(samples.quick.map((one) => one.faults))}`, `${(pss[0] / 1e6).toFixed(0)} / ${(pss[1] / 1e6).toFixed(0)}`, (size / fast.dirty).toFixed(2), fast.seconds.toFixed(1),
    ].join(" | ")} |`);
    console.log(lines.at(-1));
  }
  const commands = options.only === "modules" ? [] : measureCommands(python, scratch, env, rounds);
  results.push({ version, modules: json, commands });
  const mean = (name: string): string => (ratios[name] === undefined ? "–" : `**${times(geomean(ratios[name]))}**`);
  if (options.only !== "commands") lines.push(`| geometric mean | | ${mean("first fast")} | ${mean("first quick")} | ${mean("first sealed")} | ${mean("first forkserver")} | | | ${mean("total fast")} | ${mean("total quick")} | | ${mean("pss")} | | |`, "");
  if (options.only !== "commands") console.log(lines.at(-2));
  if (commands.length === 0) return;
  lines.push("Whole commands, each with the same output as stock:", "", "| | stock ms | fast | quick | faults |", "| --- | --- | --- | --- | --- |");
  for (const { name, stockMs, fast, quick, stockFaults, quickFaults } of commands) lines.push(`| ${name} | ${stockMs.toFixed(1)} | ${times(fast)} | ${times(quick)} | ${stockFaults} → ${quickFaults} |`);
  lines.push("");
}

const results: { version: string; modules: readonly unknown[]; commands: readonly CommandResult[] }[] = [];
const lines = [
  "# Warm images, measured", "",
  `Written by \`npm run bench:warm\`, ${rounds} rounds, interleaved; ratios are medians of the ratios within a round. First line: from just before posix_spawn to the program's first statement behind its imports. Columns fast, quick, sealed (quick, and no module file is checked) and fork server: how many times faster than stock.`, "",
];
try {
  for (const exe of options.python) await measure(exe, lines);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ rounds, results }, null, 1)}\n`);
  writeFileSync(options.output, `${lines.join("\n").trimEnd()}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
