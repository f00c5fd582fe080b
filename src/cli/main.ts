/**
 * The command line. Reading order: main, context (the world outside), report
 * (results and failures), files (inputs, outputs), building, then commands/,
 * one file each.
 */
import { Command, CommanderError } from "commander";
import { pycdsVersion } from "../archive/version.ts";
import { exitCode } from "../base/errors.ts";
import { processContext } from "./context.ts";
import type { Context } from "./context.ts";
import { reportError } from "./report.ts";

type AddCommand = (program: Command, context: Context) => void;

/** Loaded when asked for: `run` should not pay for what `build` needs. In the order of the help text. */
const commands: ReadonlyMap<string, () => Promise<AddCommand>> = new Map([
  ["run", async () => (await import("./commands/run.ts")).addRun],
  ["trace", async () => (await import("./commands/trace.ts")).addTrace],
  ["build", async () => (await import("./commands/build.ts")).addBuild],
  ["install", async () => (await import("./commands/install.ts")).addInstall],
  ["uninstall", async () => (await import("./commands/uninstall.ts")).addUninstall],
  ["status", async () => (await import("./commands/status.ts")).addStatus],
  ["inspect", async () => (await import("./commands/inspect.ts")).addInspect],
  ["verify", async () => (await import("./commands/verify.ts")).addVerify],
  ["diff", async () => (await import("./commands/diff.ts")).addDiff],
  ["why", async () => (await import("./commands/why.ts")).addWhy],
  ["doctor", async () => (await import("./commands/doctor.ts")).addDoctor],
  ["warm", async () => (await import("./commands/warm.ts")).addWarm],
  ["bench", async () => (await import("./commands/bench.ts")).addBench],
]);

async function makeProgram(context: Context, wanted: string | undefined): Promise<Command> {
  const program = new Command("pycds")
    .description("Makes stock CPython import faster, from a memory-mapped archive of code")
    .version(pycdsVersion)
    .enablePositionalOptions()
    .exitOverride()
    // errors are written by reportUsage, in the form of all our errors
    .configureOutput({ outputError: () => undefined, writeErr: () => undefined })
    .addHelpText("after", `
Start here:
  pycds run -- python app.py                     faster from the second time on
Or by hand:
  pycds trace -o app.trace -- python app.py
  pycds build --trace app.trace -o app.pycds
  pycds install --venv .venv -a app.pycds        plain python is faster from then on

Exit status: 0 done, 1 the answer is no, 2 usage or bad input, 70 a fault of
pycds; run and trace end as the program ends.`);
  const one = commands.get(wanted ?? "");
  for (const load of one === undefined ? commands.values() : [one]) (await load())(program, context);
  return program;
}

async function main(argv: readonly string[], context: Context): Promise<void> {
  if (argv.length === 0) {
    context.say("pycds: error: no command given — there is nothing to do — see: pycds --help");
    process.exitCode = exitCode.usage;
    return;
  }
  let program: Command | undefined;
  try {
    program = await makeProgram(context, argv[0]);
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? reportUsage(context, program, argv, error) : reportError(context, error, asksDebug(argv));
  }
}

/** Before `--`, which begins another program's words. */
function asksDebug(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--debug");
}

/** Help and version end here too, with status 0. */
function reportUsage(context: Context, program: Command | undefined, argv: readonly string[], error: CommanderError): number {
  if (error.exitCode === 0) return exitCode.done;
  const words = ["pycds"];
  for (let command = program; ; words.push(command.name())) {
    command = command?.commands.find((each) => each.name() === argv[words.length - 1]);
    if (command === undefined) break;
  }
  // commander's own answer to a command of commands alone is all of its help
  const why = error.code === "commander.help" ? "a command is missing" : error.message.replace(/^error: /, "").replaceAll("\n", " ");
  context.say(`pycds: error: cannot read the command line — ${why} — see: ${words.join(" ")} --help`);
  return exitCode.usage;
}

/* A reader that goes away (`pycds inspect … | head`) is no error. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(exitCode.done);
});

await main(process.argv.slice(2), processContext());
