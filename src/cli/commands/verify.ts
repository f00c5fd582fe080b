/** `pycds verify`: is an archive sound, to the last byte? */
import type { Command } from "commander";
import { PycdsError, exitCode } from "../../base/errors.ts";
import { verificationText } from "../../inspect/text.ts";
import { verifyFile } from "../../inspect/verify.ts";
import type { Verification } from "../../inspect/verify.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { Faults, collectFaults, printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";

export function addVerify(program: Command, context: Context): void {
  const command = program.command("verify").description("check archives to the last byte").argument("<file...>", "archives");
  commonOptions(command, { json: true }).action((files: string[], options: CommonOptions) => verify(context, options, files));
  command.addHelpText("after", `
Exit status: 0 sound, 1 damaged or no archive, 2 there is no such file.

Examples:
  pycds verify app.pycds
  pycds verify --json ~/.cache/pycds/*.pycds`);
}

function verify(context: Context, options: CommonOptions, files: readonly string[]): void {
  const results = collectFaults(files, (file) => verifyFile(readInput(file, "cannot verify the archive"), file));
  const sound = results.filter(({ ok }) => ok);
  const [first] = results;
  if (options.json === true || sound.length > 0) {
    printResult(context, options, results.length === 1 ? first : results, () => sound.map(verificationText).join("\n"));
  }
  const faults = results.flatMap(faultsIn);
  if (faults.length > 0) throw new Faults(faults);
}

/** The answer "no": exit status 1, not 2. */
function faultsIn({ file, problems }: Verification): PycdsError[] {
  return problems.map(
    ({ code, what, offset }) =>
      new PycdsError(code, "the archive is not sound", what, { file, ...(offset === null ? {} : { offset }), next: "build it again", exit: exitCode.no }),
  );
}
