/** `pycds warm run`: start an image, as executing it does. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { runProgram } from "../../trace/program.ts";
import type { CommonOptions, Context } from "../context.ts";
import { checkInput } from "../files.ts";
import { endLike } from "../launching.ts";
import { commonOptions } from "../usage.ts";

export function addWarmRun(program: Command, context: Context): void {
  const command = program
    .command("run")
    .description("start an image; executing the file itself is the same, and faster")
    .argument("<image>", "what warm create wrote")
    .argument("[arguments...]", "the program's arguments")
    .passThroughOptions();
  commonOptions(command, { json: false }).action(async (image: string, words: string[], _options: CommonOptions) => {
    const file = resolve(context.cwd, image);
    checkInput(file, "cannot start the image");
    endLike(await runProgram({ argv: [file, ...words], env: context.env }));
  });
  command.addHelpText("after", `
Examples:
  pycds warm run py-fast -c "import boto3"
  pycds warm run app-fast --port 8080`);
}
