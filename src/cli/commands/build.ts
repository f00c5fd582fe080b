/** `pycds build`: an archive from traces, or of everything. */
import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { resolve } from "node:path";
import type { BuildReport } from "../../archive/build.ts";
import { recordedPureCompiler } from "../../archive/collect-pure.ts";
import type { ResultLine } from "../../archive/collect-pure.ts";
import { normalisedMtime } from "../../archive/collect-folders.ts";
import { parseTree, readStamps, recordingView, stampedView, writeStamps } from "../../archive/collect-stamps.ts";
import type { Collected } from "../../archive/collect.ts";
import { machineView } from "../../archive/collect-view.ts";
import { PycdsError } from "../../base/errors.ts";
import { versionText } from "../../inspect/summary.ts";
import { sizeText } from "../../inspect/text.ts";
import { describeInterpreter } from "../../trace/interpreter.ts";
import type { InterpreterInfo, Trace } from "../../trace/types.ts";
import { resolveInterpreter } from "../../venv/interpreter.ts";
import { append } from "../archives.ts";
import { buildFile, readTraces, scratchCompiler, scratchPureCompiler, tracedOptimize } from "../building.ts";
import type { ArchiveRequest } from "../building.ts";
import type { CommonOptions, Context } from "../context.ts";
import { placeOutput, readInput, writeOutput } from "../files.ts";
import { collectFaults, countText, printResult, warn } from "../report.ts";
import { abiOf, targetAbi } from "../target.ts";
import { commonOptions, usageError } from "../usage.ts";

interface BuildOptions extends CommonOptions {
  readonly output: string;
  readonly trace: readonly string[];
  readonly list: readonly string[];
  readonly base: readonly string[];
  readonly venv?: string;
  readonly python?: string;
  readonly all?: boolean;
  readonly sealed?: boolean;
  readonly digest?: boolean;
  readonly relocatable?: boolean;
  readonly optimize?: number;
  readonly target?: string;
  readonly tree: readonly string[];
  readonly stamps?: string;
  readonly writeStamps?: string;
}

function level(value: string): number {
  if (!/^[012]$/.test(value)) throw new InvalidArgumentError("it is not 0, 1 or 2.");
  return Number(value);
}

export function addBuild(program: Command, context: Context): void {
  const command = program
    .command("build")
    .description("build an archive from traces, or of every module (--all)")
    .requiredOption("-o, --output <file>", "the archive to write")
    .option("--trace <file>", "a trace, from pycds trace; may be given several times", append, [])
    .option("--list <file>", "what PYCDSLIST wrote, which is the same; may be given several times", append, [])
    .option("--venv <dir>", "build for the interpreter of this virtual environment")
    .option("--python <exe>", "build for this interpreter (default: the traced one)")
    .option("--all", "every module of the standard library and of site-packages, traced or not")
    .option("--base <file>", "an archive that is looked up before this one: leave out what it holds; may be given several times", append, [])
    .option("--sealed", "never look whether files changed; only for trees that never change")
    .option("--digest", "go by the contents of sources instead of their mtimes")
    .option("--relocatable", "serve after the venv, the interpreter, or the folder that the archive is in has moved, too")
    .option("-O, --optimize <level>", "-O level: 0, 1 or 2 (default: that of the traces, else 0)", level)
    .option("--target <id>", "build for another machine, e.g. cpython-3.13-linux-aarch64; needs --stamps and --tree")
    .option("--tree <dir=path>", "DIR here holds what is at PATH there; may be given several times", append, [])
    .option("--stamps <file>", "mtimes, sizes and interpreter facts of the other machine")
    .option("--write-stamps <file>", "write such a file for this build");
  commonOptions(command, { json: true }).action(async (options: BuildOptions) => build(context, options));
  command.addHelpText("after", `
Modules without a valid .pyc are compiled by the interpreter itself, into a
scratch folder. What can't be archived is listed, and left to stock.

A stamps file is JSON:
  {"pycds": "stamps", "version": 1,
   "interpreter": {"hexversion": …, "pycMagic": …, "cacheTag": …, "platform": …, "flavour": …, "suffixes":
     [{"suffix": ".py", "loader": "source"}, …], "prefix": …, "basePrefix": …, "stdlib": …, "dynload": …,
     "sitePackages": […], "sysPath": […]},
   "optimize": 0,
   "paths": {"/path/there": {"mtime_ns": "…", "size": …}, …},
   "failures": {"/path/there/bad.py": "why it can't be compiled"}}
The same trees and stamps give the same bytes as a build on the other machine,
where every module has a valid .pyc (python -m compileall).

Examples:
  pycds build --trace app.trace -o app.pycds
  pycds build --trace a.trace --trace b.trace --venv .venv -o both.pycds
  pycds build --all --python python3.12 -o everything.pycds
  pycds build --trace app.trace --base everything.pycds -o app.pycds
  pycds build --trace app.trace --write-stamps app.stamps -o app.pycds
  pycds build --trace app.trace --target cpython-3.13-linux-x86_64 --stamps app.stamps \\
      --tree rootfs/usr/lib=/usr/lib --tree rootfs/app=/app -o app.pycds`);
}

async function build(context: Context, options: BuildOptions): Promise<void> {
  const files = [...options.trace, ...options.list];
  if (files.length === 0 && options.all !== true) {
    throw usageError("build", "nothing to build: neither a trace nor --all is given", "make a trace with: pycds trace -o app.trace -- python …");
  }
  // before the work: the output must be possible
  placeOutput(options.output, "cannot write the archive");
  if (options.writeStamps !== undefined) placeOutput(options.writeStamps, "cannot write the stamps");
  await (options.target === undefined ? buildHere(context, options, files) : buildElsewhere(context, options, options.target, files));
}

async function buildHere(context: Context, options: BuildOptions, files: readonly string[]): Promise<void> {
  if (options.tree.length > 0 || options.stamps !== undefined) {
    throw usageError("build", "--tree and --stamps are for another machine", "give --target too");
  }
  if (options.venv !== undefined && options.python !== undefined) throw usageError("build", "both --venv and --python are given", "give one of them");
  const everything = files.length === 0 ? undefined : readTraces(files);
  const interpreter = await chooseInterpreter(context, options, everything);
  const trace = everything === undefined ? undefined : tracedBy(context, options, interpreter, files, everything);
  const recording = options.writeStamps === undefined ? undefined : recordingView();
  const optimize = options.optimize ?? (trace === undefined ? 0 : tracedOptimize(trace));
  const answers = new Map<string, ResultLine>();
  const built = await buildFile(context, options, {
    ...shared(options), interpreter, optimize, trace, view: recording ?? machineView, compiler: scratchCompiler(context, interpreter.executable),
    pureCompiler: scratchPureCompiler(context, interpreter.executable, (key, line) => answers.set(key, line)),
  });
  if (options.writeStamps !== undefined && recording !== undefined) {
    const stamps = writeStamps({ interpreter, optimize, paths: recording.seen, failures: built.collected.failures, pures: answers });
    await writeOutput(options.writeStamps, stamps, "cannot write the stamps");
    if (built.collected.compiled.length > 0) {
      warn(context, options, `${countText(built.collected.compiled.length, "module")} had no valid .pyc, so a build from copies will lack them — compile them first with: python -m compileall`);
    }
  }
  show(context, options, built.report, built.collected);
}

async function buildElsewhere(context: Context, options: BuildOptions, target: string, files: readonly string[]): Promise<void> {
  if (options.venv !== undefined || options.python !== undefined) throw usageError("build", "--target needs no interpreter", "leave out --venv and --python");
  if (options.stamps === undefined || options.tree.length === 0) throw usageError("build", "--target needs --stamps FILE and --tree DIR=PATH", "write stamps on the target with --write-stamps");
  if (options.writeStamps !== undefined) throw usageError("build", "--write-stamps is for builds on the machine itself", "leave it out");
  const abi = targetAbi(target);
  const trees = collectFaults(options.tree, parseTree);
  const stamps = readStamps(readInput(options.stamps, "cannot read stamps").toString("utf8"), options.stamps);
  const own = abiOf(stamps.interpreter);
  if (own.id !== abi.id) {
    throw new PycdsError("TARGET_DIFFERS", "cannot build for this target", `the stamps are those of ${own.id}, not of ${abi.id}`, { file: options.stamps, next: "write stamps on the target itself" });
  }
  const { hexversion } = stamps.interpreter;
  const trace = files.length === 0 ? undefined : readTraces(files, (header) => header.python.hexversion === hexversion);
  if (trace?.headers.length === 0) throw otherInterpreter(files, versionText(hexversion));
  const optimize = options.optimize ?? (trace === undefined ? stamps.optimize : tracedOptimize(trace));
  const view = stampedView(trees, stamps);
  const built = await buildFile(context, options, {
    ...shared(options), interpreter: stamps.interpreter, optimize, trace, view, compiler: undefined, knownFailures: stamps.failures,
    // code depends on -O: answers at another level are none
    ...(optimize === stamps.optimize ? { pureCompiler: recordedPureCompiler(stamps.pures) } : {}),
  });
  const [lacking] = view.lacking;
  if (lacking !== undefined) {
    warn(context, options, `${countText(view.lacking.size, "path")} with stamps ${view.lacking.size === 1 ? "has" : "have"} no copy (${lacking}…) — left to stock — name the copy with --tree DIR=PATH`);
  }
  show(context, options, built.report, built.collected);
}

function shared(options: BuildOptions): Pick<ArchiveRequest, "output" | "bases" | "all" | "sealed" | "digest" | "relocatable"> {
  return { output: options.output, bases: options.base, all: options.all === true, sealed: options.sealed === true, digest: options.digest === true, relocatable: options.relocatable === true };
}

/** The named interpreter, else the traced one, else what the shell would start. */
async function chooseInterpreter(context: Context, options: BuildOptions, trace: Trace | undefined): Promise<InterpreterInfo> {
  const named = options.venv !== undefined || options.python !== undefined;
  const traced = trace?.headers.find(({ python }) => python.executable !== null && python.executable !== "")?.python.executable;
  if (!named && trace !== undefined) {
    if (traced === undefined || traced === null) {
      throw new PycdsError("TRACE_NO_EXECUTABLE", "cannot tell the interpreter", "the trace names none", { next: "name it with --python EXE or --venv DIR" });
    }
    return describeInterpreter(traced, context.env);
  }
  const { executable } = resolveInterpreter({
    ...(options.venv === undefined ? {} : { venv: resolve(context.cwd, options.venv) }),
    ...(options.python === undefined ? {} : { python: options.python }),
    ...(context.env["VIRTUAL_ENV"] === undefined ? {} : { virtualEnv: context.env["VIRTUAL_ENV"] }),
    ...(context.env["PATH"] === undefined ? {} : { path: context.env["PATH"] }),
  });
  return describeInterpreter(executable, context.env);
}

/** The processes of the traces that ran under this interpreter. */
function tracedBy(context: Context, options: BuildOptions, { hexversion, version }: InterpreterInfo, files: readonly string[], everything: Trace): Trace {
  const others = everything.headers.filter(({ python }) => python.hexversion !== hexversion);
  if (others.length === everything.headers.length) throw otherInterpreter(files, version, everything.headers[0]?.python.hexversion);
  if (others.length === 0) return everything;
  const versions = [...new Set(others.map(({ python }) => versionText(python.hexversion)))].join(", ");
  warn(context, options, `processes of other interpreters (${versions}) in the traces are left out — this archive is for CPython ${version}`);
  return readTraces(files, ({ python }) => python.hexversion === hexversion);
}

function otherInterpreter(files: readonly string[], version: string, traced?: number): PycdsError {
  const by = traced === undefined ? "another interpreter" : `CPython ${versionText(traced)}`;
  return new PycdsError("TRACE_OTHER_INTERPRETER", "cannot build from this trace", `it was made by ${by}, the archive is to be for CPython ${version}`, {
    ...(files[0] === undefined ? {} : { file: files[0] }),
    next: "trace the program again, or name the traced interpreter with --python EXE",
  });
}

function show(context: Context, options: BuildOptions, report: BuildReport, collected: Collected): void {
  const { target, folders, sealed, digest } = collected.input;
  const normalised = sealed || digest ? undefined : normalisedMtime(folders, context.env["SOURCE_DATE_EPOCH"]);
  if (normalised !== undefined) {
    const when = new Date(Number(normalised / 1_000_000n)).toISOString();
    warn(context, options, `folders have normalised mtimes (${when}), so a module that a later tree adds under the same mtime is not noticed — build with --digest`);
  }
  const rest = { target: { version: versionText(target.hexversion), platform: target.platform, flavour: target.flavour, optimize: target.optimize }, compiled: collected.compiled };
  printResult(context, options, { output: options.output, ...report, ...rest }, () => {
    const lines = [
      `${options.output}: ${countText(report.modules, "module")} (${report.traced} traced), ${countText(report.folders, "folder")}, ${sizeText(report.size)}, for CPython ${rest.target.version} ${target.platform}`,
    ];
    if (report.held > 0) lines.push(`${countText(report.held, "module")} left to ${options.base.join(", ")}`);
    if (collected.compiled.length > 0) lines.push(`${countText(collected.compiled.length, "module")} compiled for it, without a valid .pyc`);
    if (report.excluded.length > 0) lines.push(`${countText(report.excluded.length, "module")} left to stock:`, ...report.excluded.map(({ name, reason }) => `  ${name}: ${reason}`));
    return lines.join("\n");
  });
}
