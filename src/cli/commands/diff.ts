/** `pycds diff`: what differs between two archives. */
import type { Command } from "commander";
import { exitCode } from "../../base/errors.ts";
import { diff } from "../../inspect/diff.ts";
import { diffText } from "../../inspect/text.ts";
import type { CommonOptions, Context } from "../context.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";
import { openArchives } from "./inspect.ts";

export function addDiff(program: Command, context: Context): void {
  const command = program.command("diff").description("show what differs between two archives").argument("<a>", "an archive").argument("<b>", "another");
  commonOptions(command, { json: true }).action((a: string, b: string, options: CommonOptions) => {
    const [left, right] = openArchives([a, b], "cannot compare the archives");
    if (left === undefined || right === undefined) throw new Error("two files give two archives");
    const result = diff(left, right);
    printResult(context, options, result, () => diffText(result));
    process.exitCode = result.equal ? exitCode.done : exitCode.no;
  });
  command.addHelpText("after", `
Exit status: 0 equal, 1 different, 2 one can't be read.

Examples:
  pycds diff old.pycds new.pycds
  pycds diff --json old.pycds new.pycds`);
}
