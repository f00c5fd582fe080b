/**
 * `npm run bench`: the basket, stock against archive (and the peer), as a table or JSON.
 *
 *   npm run bench -- --python python3.11 --rounds 21 --vs stock,code-data-share --cases imports,pass
 *
 * A run of all the imports with 21 rounds or more is also written to bench/RESULTS.md.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PycdsError } from "../src/base/errors.ts";
import { benchBasket, checkout, optIns, peers, quotedRounds, renderMarkdown, renderText } from "../src/bench/index.ts";
import type { BenchRun, OptIn, Versus, Way } from "../src/bench/index.ts";
import { readArguments, runScript, wholeNumber } from "./arguments.ts";

const usage = `usage: npm run bench -- [--python EXE] [--rounds N] [--warmups N] [--vs stock,code-data-share]
                        [--cases NAME,… | imports | commands | overhead | all]
                        [--also fast-exit,fast-types,fast-both] [--cold] [--instructions]
                        [--way installed|environment] [--dir FOLDER] [--results FILE] [--json]
`;

function list(text: string | undefined): string[] | undefined {
  return text?.split(",").filter(Boolean);
}

function versus(names: readonly string[]): Versus[] {
  return names.map((name) => {
    const known = peers.find((peer) => peer === name);
    if (known === undefined) throw new PycdsError("BENCH_USAGE", "cannot compare", `"${name}" is not known to --vs`, { next: `choose from ${peers.join(", ")}` });
    return known;
  });
}

function alsoOf(names: readonly string[]): OptIn[] {
  return names.map((name) => {
    if (!Object.hasOwn(optIns, name)) throw new PycdsError("BENCH_USAGE", "cannot measure", `"${name}" is not known to --also`, { next: `choose from ${Object.keys(optIns).join(", ")}` });
    return name as OptIn;
  });
}

function wayOf(text: string | undefined): Way {
  if (text === undefined || text === "installed") return "installed";
  if (text === "environment") return text;
  throw new PycdsError("BENCH_USAGE", "cannot measure", `--way is "${text}"`, { next: "choose installed or environment" });
}

async function main(argv: readonly string[]): Promise<undefined> {
  const { values } = readArguments({
    args: [...argv],
    options: {
      python: { type: "string" },
      rounds: { type: "string", default: String(quotedRounds) },
      warmups: { type: "string", default: "2" },
      vs: { type: "string", default: "stock" },
      cases: { type: "string" },
      also: { type: "string" },
      cold: { type: "boolean", default: false },
      instructions: { type: "boolean", default: false },
      way: { type: "string" },
      dir: { type: "string" },
      results: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  }, "npm run bench -- --rounds N --python EXE --vs stock,code-data-share --cases json,pass");
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const cases = list(values.cases);
  const run = await benchBasket({
    pycds: [process.execPath, join(checkout, "bin", "pycds")],
    env: process.env,
    vs: versus(list(values.vs) ?? []),
    rounds: wholeNumber(values.rounds, "--rounds"),
    warmups: Number(values.warmups),
    way: wayOf(values.way),
    also: alsoOf(list(values.also) ?? []),
    cold: values.cold,
    instructions: values.instructions,
    ...(values.python === undefined ? {} : { python: values.python }),
    ...(cases === undefined ? {} : { cases }),
    ...(values.dir === undefined ? {} : { folder: values.dir }),
    progress: (text) => process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : ""),
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  process.stdout.write(values.json ? `${JSON.stringify(run.report, null, 2)}\n` : renderText(run));
  const results = values.results ?? (quotable(run) ? join(checkout, "bench", "RESULTS.md") : undefined);
  if (results !== undefined) await writeFile(results, await resultsFile(run, argv));
}

function quotable(run: BenchRun): boolean {
  return !run.cold && run.rounds >= quotedRounds && run.measured.filter((one) => one.counted).length >= 7;
}

/** The results as a file that anybody can compare with theirs: no path of this machine in it; behind them what was found by hand. */
async function resultsFile(run: BenchRun, argv: readonly string[]): Promise<string> {
  const shown = argv.flatMap((word, index) => {
    const before = argv[index - 1];
    if ([word, before].some((one) => one === "--results" || one === "--dir")) return [];
    return [before === "--python" ? `python${run.report.python.replace(/\.\d+$/, "")}` : word];
  });
  const profile = await readFile(join(checkout, "bench", "PROFILE.md"), "utf8");
  return `# Measured\n\n${renderMarkdown(run, ["npm run bench --", ...shown].join(" ")).trimEnd()}\n\n${profile}`;
}

await runScript(async () => main(process.argv.slice(2)));
