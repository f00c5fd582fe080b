/** `pycds bench`: stock against archive (and the peer), in interleaved pairs. */
import { join, resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { benchBasket, benchCommand, peers, quotedRounds, renderText } from "../../bench/index.ts";
import type { BenchRun, CommonOptions as BenchCommon, Versus } from "../../bench/index.ts";
import { findVenvPython } from "../../venv/interpreter.ts";
import { packageFolder } from "../context.ts";
import type { Context } from "../context.ts";
import { Progress, printResult } from "../report.ts";
import { commonOptions, interpreterOptions, usageError } from "../usage.ts";
import type { VenvOptions } from "../venv.ts";

interface BenchOptions extends VenvOptions {
  readonly vs: readonly Versus[];
  readonly rounds: number;
  readonly cases?: readonly string[];
}

function versus(value: string): readonly Versus[] {
  return value.split(",").map((name) => {
    const known = peers.find((peer) => peer === name);
    if (known === undefined) throw new InvalidArgumentError(`choose from ${peers.join(", ")}.`);
    return known;
  });
}

function positive(value: string): number {
  if (!/^[1-9]\d{0,5}$/.test(value)) throw new InvalidArgumentError("it is not a positive number.");
  return Number(value);
}

export function addBench(program: Command, context: Context): void {
  const command = program
    .command("bench")
    .description("measure stock against archived starts, in interleaved pairs")
    .argument("[command...]", "the program to measure, after -- (default: the imports of bench/basket.json)")
    .option("--vs <names>", `what to compare with: ${peers.join(",")}`, versus, ["stock"])
    .option("--rounds <n>", "rounds; a figure that is quoted needs 21 or more", positive, quotedRounds)
    .option("--cases <names>", "cases or groups of the basket: imports, commands, overhead, all", (value: string) => value.split(","))
    .passThroughOptions();
  commonOptions(interpreterOptions(command), { json: true }).action(async (words: string[], options: BenchOptions) => bench(context, options, words));
  command.addHelpText("after", `
Scratch copies of the environment are measured, never the environment itself.
Ratios are stock's time divided by the archive's, the median over the rounds,
with their 10th and 90th percentile.

Examples:
  pycds bench -- python -c "import boto3"
  pycds bench --vs stock,code-data-share --rounds 31 --python python3.11 --json
  pycds bench --cases requests,boto3`);
}

async function bench(context: Context, options: BenchOptions, words: readonly string[]): Promise<void> {
  if (options.venv !== undefined && options.python !== undefined) throw usageError("bench", "both --venv and --python are given", "give one of them");
  if (words.length > 0 && options.cases !== undefined) throw usageError("bench", "--cases is for the basket, and a program is given", "leave one of them out");
  const exe = options.venv === undefined ? options.python : findVenvPython(resolve(context.cwd, options.venv));
  const progress = new Progress(context, options);
  const common: BenchCommon = {
    pycds: [process.execPath, join(packageFolder, "bin", "pycds")],
    env: context.env,
    vs: options.vs,
    rounds: options.rounds,
    progress: (text) => progress.show(text),
  };
  let run: BenchRun;
  try {
    run = words.length > 0
      ? await benchCommand({ ...common, command: withInterpreter(words, exe), cwd: context.cwd, name: words.join(" ") })
      : await benchBasket({ ...common, ...(exe === undefined ? {} : { python: exe }), ...(options.cases === undefined ? {} : { cases: options.cases }) });
  } finally {
    progress.done();
  }
  printResult(context, options, run.report, () => renderText(run).trimEnd());
}

/** `--python` and `--venv` say which python the command's `python` is. */
function withInterpreter(words: readonly string[], exe: string | undefined): readonly string[] {
  const [first = "", ...rest] = words;
  if (exe === undefined) return words;
  if (/^python[\d.]*$/.test(first)) return [exe, ...rest];
  throw usageError("bench", `--venv or --python is given, but the program is ${first}, not python`, "give it as python …, or leave out the option");
}
