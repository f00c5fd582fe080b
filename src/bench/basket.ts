/** The basket of bench/: pinned imports and commands, each with an archive made from that very program. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { buildArchive, checkServed, installInto, traceCommand, uninstallFrom } from "./archive.ts";
import type { Toolchain } from "./archive.ts";
import { checkout } from "./pairs.ts";
import { checkPeer, peerArm, peerPin } from "./peer.ts";
import { cleanEnv } from "./process.ts";
import type { Env, Progress } from "./process.ts";
import { findPython } from "./python.ts";
import type { Python } from "./python.ts";
import { runBench } from "./rounds.ts";
import type { Case, Ready } from "./rounds.ts";
import { filesOfStarts } from "./cold.ts";
import { copyVenv, scratchFolder, scratchHome, scratchVenv, venvPython } from "./scratch.ts";
import { optIns } from "./types.ts";
import type { Arm, BenchRun, OptIn } from "./types.ts";

const basketSchema = z.object({
  requirements: z.string(),
  cases: z.array(
    z.object({
      name: z.string(),
      group: z.enum(["imports", "commands", "overhead"]),
      /** `self`: traced from this program; `imports`: one archive of all the imports. */
      archive: z.enum(["self", "imports"]),
      argv: z.array(z.string()),
    }),
  ),
});
export type Basket = z.infer<typeof basketSchema>;
export type BasketCase = Basket["cases"][number];

/** How the archive is activated: an installed one with plain `python`, or named by PYCDSARCHIVE. */
export type Way = "installed" | "environment";
export const peers = ["stock", "code-data-share"] as const;
export type Versus = (typeof peers)[number];

export interface CommonOptions {
  /** Command and first arguments of pycds, e.g. `["node", "bin/pycds"]`. */
  readonly pycds: readonly string[];
  readonly env: Env;
  /** What to compare with; stock always takes part. */
  readonly vs?: readonly Versus[];
  readonly rounds?: number;
  readonly warmups?: number;
  readonly way?: Way;
  /** Folder that scratch venvs are kept in. */
  readonly folder?: string;
  readonly progress?: Progress;
  /** More arms: the archive with what must be asked for. */
  readonly also?: readonly OptIn[];
  /** Cold starts: everything that a start reads is put out of the page cache first. */
  readonly cold?: boolean;
  /** Count instructions too. */
  readonly instructions?: boolean;
}

export interface BasketOptions extends CommonOptions {
  /** Interpreter; the newest on PATH when not given. */
  readonly python?: string;
  /** Names of cases or of groups (`imports`, `commands`, `overhead`, `all`); the imports when not given. */
  readonly cases?: readonly string[];
}

/** Fewest rounds for a figure that is quoted. */
export const quotedRounds = 21;

export async function readBasket(): Promise<{ readonly basket: Basket; readonly requirements: string }> {
  const folder = join(checkout, "bench");
  const basket = basketSchema.parse(JSON.parse(await readFile(join(folder, "basket.json"), "utf8")));
  return { basket, requirements: await readFile(join(folder, basket.requirements), "utf8") };
}

/** The cases that names and group names stand for, in the basket's order. */
export function chooseCases(basket: Basket, names: readonly string[] = ["imports"]): BasketCase[] {
  for (const name of names) {
    if (name !== "all" && !basket.cases.some((one) => one.name === name || one.group === name)) {
      throw new PycdsError("BENCH_NO_CASE", "cannot measure", `the basket has no case "${name}"`, { next: `choose from ${basket.cases.map((one) => one.name).join(", ")}, imports, commands, all` });
    }
  }
  return basket.cases.filter((one) => names.includes(one.name) || names.includes(one.group) || names.includes("all"));
}

/** The venvs that the arms run in: equal but for what the arm installs. */
export interface ArmVenvs {
  readonly stock: string;
  readonly archive: string;
  readonly peer?: string;
}

/** A program as arguments of whichever python runs it. */
export interface Program {
  readonly name: string;
  readonly counted: boolean;
  readonly args: readonly string[];
  /** Programs whose traces make its archive. */
  readonly tracedFrom: readonly (readonly string[])[];
}

/** Cases that build and install their archive just before they are measured. */
export function casesFor(programs: readonly Program[], venvs: ArmVenvs, tools: Toolchain, work: string, options: CommonOptions): Case[] {
  return programs.map((program) => ({
    name: program.name,
    counted: program.counted,
    prepare: async () => prepare(program, venvs, tools, join(work, fileName(program.name)), options),
  }));
}

/** A case's name (which may be a whole command) as the name of a folder. */
function fileName(name: string): string {
  return name.replace(/[^\w.-]+/g, "-").slice(0, 80);
}

async function prepare(program: Program, venvs: ArmVenvs, tools: Toolchain, work: string, options: CommonOptions): Promise<Ready> {
  const way = options.way ?? "installed";
  await mkdir(work, { recursive: true });
  const command = (venv: string): string[] => [venvPython(venv), ...program.args];
  await uninstallFrom(tools, venvs.archive);
  const archive = join(work, "program.pycds");
  const traces: string[] = [];
  for (const [index, args] of program.tracedFrom.entries()) {
    const trace = join(work, `${index}.trace`);
    await traceCommand(tools, [venvPython(venvs.archive), ...args], trace);
    traces.push(trace);
  }
  await buildArchive(tools, traces, venvs.archive, archive);
  await installInto(tools, venvs.archive, way === "installed" ? archive : undefined);
  const env = way === "installed" ? {} : { PYCDSARCHIVE: archive };
  // `pass` imports nothing that an archive holds: no hit to insist on, nothing for the peer to do
  const own = program.tracedFrom.includes(program.args);
  const served = own ? { served: await checkServed(tools, command(venvs.archive), env) } : {};
  const arms: Arm[] = [
    { name: "stock", argv: command(venvs.stock), env: cleanEnv(tools.env) },
    { name: "archive", argv: command(venvs.archive), env: cleanEnv(tools.env, env) },
    ...(options.also ?? []).map((name) => ({ name, argv: command(venvs.archive), env: cleanEnv(tools.env, { ...env, ...optIns[name] }) })),
  ];
  const evict = options.cold === true ? { evict: await filesOfStarts(Object.values(venvs), [archive], tools.env) } : {};
  if (venvs.peer === undefined || !own) return { arms, ...served, ...evict };
  try {
    return { arms: [...arms, await peerArm(venvs.peer, program.args, work, tools.env, tools.cwd)], ...served, ...evict };
  } catch (error) {
    // its finder has no get_code, so `python -m` fails under it; an import that counts must not go missing
    if (program.counted || !(error instanceof PycdsError)) throw error;
    return { arms, ...served, ...evict, peerFault: error.why.split(" | ").at(-1) ?? error.why };
  }
}

/** The scratch venvs of the basket for an interpreter. */
export async function basketVenvs(python: Python, requirements: string, options: CommonOptions): Promise<ArmVenvs> {
  const scratch = {
    python,
    requirements,
    folder: options.folder ?? scratchFolder(options.env),
    env: options.env,
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  };
  const stock = await scratchVenv(scratch);
  const home = scratchHome(scratch);
  const archive = await copyVenv(stock, join(home, "archive"), options.env, options.progress);
  if (!wantsPeer(options)) return { stock, archive };
  return { stock, archive, peer: await copyVenv(stock, join(home, "peer"), options.env, options.progress, [peerPin]) };
}

export function wantsPeer(options: CommonOptions): boolean {
  return options.vs?.includes("code-data-share") ?? false;
}

/** Measures the basket. */
export async function benchBasket(options: BasketOptions): Promise<BenchRun> {
  const { basket, requirements } = await readBasket();
  const chosen = chooseCases(basket, options.cases);
  const python = await findPython(options.python ?? options.env["PYCDS_PYTHON"], options.env);
  if (wantsPeer(options)) checkPeer(python.minor);
  const venvs = await basketVenvs(python, requirements, options);
  const tools = { pycds: options.pycds, env: options.env };
  const imports = basket.cases.filter((one) => one.group === "imports").map((one) => one.argv);
  const programs = chosen.map((one) => ({
    name: one.name,
    counted: one.group === "imports",
    args: one.argv,
    tracedFrom: one.archive === "self" ? [one.argv] : imports,
  }));
  return measure(python, programs, venvs, tools, join(venvs.stock, "..", "work"), options);
}

/** Runs the cases and leaves the archive's venv without an installation. */
export async function measure(python: Python, programs: readonly Program[], venvs: ArmVenvs, tools: Toolchain, work: string, options: CommonOptions): Promise<BenchRun> {
  try {
    return await runBench({
      python: python.version,
      cases: casesFor(programs, venvs, tools, work, options),
      rounds: options.rounds ?? quotedRounds,
      env: options.env,
      ...(options.warmups === undefined ? {} : { warmups: options.warmups }),
      ...(options.instructions === undefined ? {} : { instructions: options.instructions }),
      ...(tools.cwd === undefined ? {} : { cwd: tools.cwd }),
      ...(options.progress === undefined ? {} : { progress: options.progress }),
    });
  } finally {
    await uninstallFrom(tools, venvs.archive);
  }
}
