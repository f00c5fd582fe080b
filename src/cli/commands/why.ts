/** `pycds why`: why is a module in an archive, or not, or not served? */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { whyText } from "../../inspect/text.ts";
import { why } from "../../inspect/why.ts";
import type { Why } from "../../inspect/why.ts";
import type { CommonOptions, Context } from "../context.ts";
import { isStale } from "../renewal.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";
import { openArchives } from "./inspect.ts";

/** An archive's answer, and what this machine's files say to it. */
interface Answer extends Why {
  /** Of an archived module: whether its stamp holds here; null for a sealed archive, which asks nobody, and for what isn't archived. */
  readonly fresh: boolean | null;
}

export function addWhy(program: Command, context: Context): void {
  const command = program
    .command("why")
    .description("tell why a module is in an archive, is not, or is not served")
    .argument("<file>", "an archive")
    .argument("<module...>", "names of modules");
  commonOptions(command, { json: true }).action((file: string, modules: string[], options: CommonOptions) => {
    const [image] = openArchives([file], "cannot read the archive");
    if (image === undefined) throw new Error("one file gives one archive");
    const { sealed } = image.meta().options;
    const answers = modules.map((module): Answer => {
      const answer = why(image, module);
      return { ...answer, fresh: answer.archived === null || sealed ? null : !isStale(answer.archived) };
    });
    printResult(context, options, answers.length === 1 ? answers[0] : answers, () => answers.map(answerText).join("\n"));
  });
  command.addHelpText("after", `
What a running program does: PYCDS_LOG=stderr python …

Examples:
  pycds why app.pycds requests.sessions
  pycds why --json app.pycds numpy yaml`);
}

function answerText(answer: Answer): string {
  if (answer.fresh !== false || answer.archived === null) return whyText(answer);
  const { file } = answer.archived;
  const what = existsSync(file) ? "has changed since, so stock imports it; build the archive again" : "is not on this machine";
  return `${whyText(answer)}\n  but ${file} ${what}`;
}
