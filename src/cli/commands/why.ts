/** `pycds why`: why is a module in an archive, or not, or not served? */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { whyText } from "../../inspect/text.ts";
import type { ImageReader } from "../../image/reader.ts";
import { isStale } from "../../archive/fresh.ts";
import { splitArchives } from "../archives.ts";
import { why } from "../../inspect/why.ts";
import type { Why } from "../../inspect/why.ts";
import type { CommonOptions, Context } from "../context.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";
import { openArchives } from "./inspect.ts";

/** An archive's answer, and what this machine's files say to it. */
interface Answer extends Why {
  readonly archive: string;
  /** It is the first archive of the list that has the module's code as it is now. */
  readonly serves: boolean;
  /** Of an archived module: whether its stamp holds here; null for a sealed archive, which asks nobody, and for what isn't archived. */
  readonly fresh: boolean | null;
}

export function addWhy(program: Command, context: Context): void {
  const command = program
    .command("why")
    .description("tell why a module is in an archive, is not, or is not served")
    .argument("<file>", "an archive, or several separated by ':', in the order in which they are looked up")
    .argument("<module...>", "names of modules");
  commonOptions(command, { json: true }).action((list: string, modules: string[], options: CommonOptions) => {
    const images = openArchives(splitArchives(list), "cannot read the archive");
    const answers = modules.flatMap((module) => answersOf(images, module));
    printResult(context, options, answers.length === 1 ? answers[0] : answers, () =>
      answers.map((answer) => (images.length === 1 ? answerText(answer) : `${answer.archive}: ${answerText(answer)}${answer.serves ? "\n  this one serves it" : ""}`)).join("\n"),
    );
  });
  command.addHelpText("after", `
What a running program does: PYCDS_LOG=stderr python …

Examples:
  pycds why app.pycds requests.sessions
  pycds why stdlib.pycds:app.pycds json requests
  pycds why --json app.pycds numpy yaml`);
}

/** One module in each layer: the first that is valid serves. */
function answersOf(images: readonly ImageReader[], module: string): Answer[] {
  let taken = false;
  return images.map((image) => {
    const answer = why(image, module);
    const fresh = answer.archived === null || image.meta().options.sealed ? null : !isStale(answer.archived);
    const serves = !taken && answer.archived !== null && fresh !== false;
    taken ||= serves;
    return { ...answer, fresh, archive: image.file, serves };
  });
}

function answerText(answer: Answer): string {
  if (answer.fresh !== false || answer.archived === null) return whyText(answer);
  const { file } = answer.archived;
  const what = existsSync(file) ? "has changed since, so stock imports it; build the archive again" : "is not on this machine";
  return `${whyText(answer)}\n  but ${file} ${what}`;
}
