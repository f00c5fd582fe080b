/** `pycds trace`: run a program and record what it imports. */
import { rmSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ProgramEnd } from "../../trace/program.ts";
import type { CommonOptions, Context } from "../context.ts";
import { finishOutput, openOutput, placeOutput } from "../files.ts";
import { endLike, isOff, launch } from "../launching.ts";
import { warn } from "../report.ts";
import { commonOptions } from "../usage.ts";

interface TraceOptions extends CommonOptions {
  readonly output: string;
  readonly children?: boolean;
}

const what = "cannot write the trace";

export function addTrace(program: Command, context: Context): void {
  const command = program
    .command("trace")
    .description("run a program and record what it imports, as JSON lines")
    .argument("<command...>", "the program and its arguments, after --")
    .requiredOption("-o, --output <file>", "the trace to write")
    .option("--children", "record the Pythons that the program starts, too")
    .passThroughOptions();
  commonOptions(command, { json: false }).action(async (words: string[], options: TraceOptions) => trace(context, options, words));
  command.addHelpText("after", `
Ends with the program's exit status or signal.

Examples:
  pycds trace -o app.trace -- python app.py --port 8080
  pycds trace -o boto3.trace -- python -c "import boto3"
  pycds trace --children -o tests.trace -- make test`);
}

async function trace(context: Context, options: TraceOptions, words: readonly string[]): Promise<void> {
  const place = placeOutput(resolve(context.cwd, options.output), what);
  await openOutput(place, what);
  let ended: ProgramEnd;
  try {
    const end = await launch(context, { command: words, trace: place.temporary, children: options.children === true });
    if (statSync(place.temporary, { throwIfNoEntry: false })?.size) {
      await finishOutput(place, what);
    } else {
      const why = isOff(context) ? "PYCDS=off" : "no Python that can be traced was started; PYCDS_LOG=stderr shows why";
      warn(context, options, `there is no trace (${options.output}) — ${why}`);
    }
    ended = end;
  } finally {
    rmSync(place.temporary, { force: true });
  }
  endLike(ended);
}
