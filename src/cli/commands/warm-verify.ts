/** `pycds warm verify`: is an image whole, and would it be used here and now? */
import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { exitCode } from "../../base/errors.ts";
import { verifyWarm } from "../../warm/verify.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";

export function addWarmVerify(program: Command, context: Context): void {
  const command = program.command("verify").description("check an image's digests, and whether it would be used here and now").argument("<image>", "what warm create wrote");
  commonOptions(command, { json: true }).action((image: string, options: CommonOptions) => {
    const file = resolve(context.cwd, image);
    const bytes = readInput(file, "cannot read the warm image");
    const faults = verifyWarm(bytes, image, { env: context.env, user: process.geteuid?.() ?? 0, mode: lstatSync(file).mode, owner: lstatSync(file).uid, now: Math.floor(Date.now() / 1000) });
    printResult(context, options, { image, valid: faults.length === 0, faults }, () => (faults.length === 0 ? `${image}: valid` : faults.map((fault) => `${image}: ${fault}`).join("\n")));
    if (faults.length > 0) process.exitCode = exitCode.no;
  });
  command.addHelpText("after", `
Exit status: 0 it would be used, 1 it would not. What only a start can tell (the
processor, the kernel's vDSO) is not compared.

Examples:
  pycds warm verify py-fast`);
}
