/**
 * `npm run bench:build`: what the toolchain costs. `pycds build` of an import's
 * closure and of a whole venv, each from an empty cache and again, and of the
 * venv after one package changed; sizes of the archives against their .pyc files.
 *
 *   npm run bench:build -- --venv VENV [--venv VENV …] [--import boto3] [--rounds 3] [--results FILE] [--json]
 *
 * Each VENV must be able to import the module. It is copied; the copy's package changes.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { PycdsError } from "../src/base/errors.ts";
import { checkout } from "../src/bench/index.ts";
import { alignRows, markdownRows } from "../src/bench/table.ts";
import { benchToolchain } from "../src/bench/toolchain.ts";
import type { ToolchainReport } from "../src/bench/toolchain.ts";
import { needed, readArguments, wholeNumber } from "./arguments.ts";

const usage = "npm run bench:build -- --venv VENV … --import NAME --rounds N --results FILE --json";
const { values } = readArguments({
  options: {
    venv: { type: "string", multiple: true, default: [] },
    import: { type: "string", default: "boto3" },
    rounds: { type: "string", default: "3" },
    results: { type: "string" },
    json: { type: "boolean", default: false },
  },
}, usage);
const rounds = wholeNumber(values.rounds, "--rounds");
const venvs = needed(values.venv, "--venv", usage);

/** What the issue asks for, where it names a figure. */
const wanted: ReadonlyMap<string, string> = new Map([["import boto3, empty cache", "1 s"], ["whole venv, empty cache", "15 s, 1 GiB"], ["whole venv, boto3 changed", "2 s"]]);

function buildRows(reports: readonly ToolchainReport[]): string[][] {
  const rows = reports.flatMap(({ python, builds }) =>
    builds.map(({ name, wall_s, cpu_s, max_rss_mib }) => [python, name, wall_s.toFixed(2), cpu_s.toFixed(2), max_rss_mib.toFixed(0), wanted.get(name) ?? ""]));
  return [["CPython", "build", "wall s", "CPU s", "peak MiB", "wanted"], ...rows];
}

function sizeRows(reports: readonly ToolchainReport[]): string[][] {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(2);
  const rows = reports.flatMap(({ python, sizes }) =>
    sizes.map(({ name, modules, archive_bytes, pyc_bytes, ratio }) => [python, name, String(modules), mb(archive_bytes), mb(pyc_bytes), ratio.toFixed(2)]));
  return [["CPython", "archive", "modules", "MB", "MB of .pyc", "ratio"], ...rows];
}

async function versions(): Promise<string> {
  const own = JSON.parse(await readFile(join(checkout, "package.json"), "utf8")) as { readonly version: string };
  const date = new Date().toISOString().slice(0, 10);
  return `pycds ${own.version}, Node ${process.versions.node}, Linux ${release()}, ${cpus()[0]?.model ?? "?"}, ${availableParallelism()} cores, load ${(loadavg()[0] ?? 0).toFixed(2)} at the start, ${date}.`;
}

const scratch = await mkdtemp(join(tmpdir(), "pycds-bench-build-"));
const begin = await versions();
try {
  const reports: ToolchainReport[] = [];
  for (const [number, venv] of venvs.entries()) {
    const own = await mkdtemp(join(scratch, `${number}-`));
    reports.push(await benchToolchain({
      venv, module: values.import, rounds, scratch: own, env: process.env, pycds: [process.execPath, join(checkout, "bin", "pycds")],
      progress: (text) => void (process.stderr.isTTY && process.stderr.write(`\r\u001b[K${text}`)),
    }));
    await rm(own, { recursive: true, force: true });
  }
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  process.stdout.write(values.json ? `${JSON.stringify(reports, null, 2)}\n` : `${alignRows(buildRows(reports))}\n\n${alignRows(sizeRows(reports))}\n`);
  if (values.results !== undefined) {
    await writeFile(values.results, `# What the toolchain costs

Made by \`npm run bench:build -- --venv VENV … --import ${values.import} --rounds ${rounds}\`. ${begin}

\`pycds build\` as a whole process with all that it starts; medians of ${rounds} rounds. "Empty cache": nothing kept of earlier builds.
"Changed": another text in every source of the package, compiled as an upgrade does it.

${markdownRows(buildRows(reports))}

${markdownRows(sizeRows(reports))}
`);
  }
} catch (error) {
  if (!(error instanceof PycdsError)) throw error;
  process.stderr.write(`pycds: error: ${error.line}\n`);
  process.exitCode = error.exit;
} finally {
  await rm(scratch, { recursive: true, force: true });
}
