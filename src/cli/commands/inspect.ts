/** `pycds inspect`: what an archive holds. */
import type { Command } from "commander";
import { mapFile } from "../../inspect/map.ts";
import { listModules, summary } from "../../inspect/summary.ts";
import { modulesText, summaryText } from "../../inspect/text.ts";
import { openImage } from "../../image/reader.ts";
import type { ImageReader } from "../../image/reader.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { collectFaults, printResult } from "../report.ts";
import { commonOptions, usageError } from "../usage.ts";

interface InspectOptions extends CommonOptions {
  readonly map?: boolean;
  readonly modules?: boolean;
}

export function addInspect(program: Command, context: Context): void {
  const command = program
    .command("inspect")
    .description("show what archives hold")
    .argument("<file...>", "archives")
    .option("--modules", "list the modules")
    .option("--map", "the map file: every object with its address");
  commonOptions(command, { json: true }).action((files: string[], options: InspectOptions) => inspect(context, options, files));
  command.addHelpText("after", `
Examples:
  pycds inspect app.pycds
  pycds inspect --modules --json app.pycds
  pycds inspect --map app.pycds > app.map`);
}

function inspect(context: Context, options: InspectOptions, files: readonly string[]): void {
  if (options.map === true && (options.json === true || options.modules === true)) throw usageError("inspect", "--map is a text of its own", "leave out --json and --modules");
  const images = openArchives(files, "cannot inspect the archive");
  if (options.map === true) {
    for (const image of images) context.print(mapFile(image).trimEnd());
    return;
  }
  const rows = images.map((image) => ({ ...summary(image), ...(options.modules === true ? { module_list: listModules(image), excluded_list: image.meta().excluded } : {}) }));
  const [first] = rows;
  printResult(context, options, rows.length === 1 ? first : rows, () =>
    images
      .map((image) => {
        if (options.modules !== true) return summaryText(summary(image));
        const left = image.meta().excluded.map(({ name, reason }) => `${name}: left to stock, ${reason}`);
        return [modulesText(listModules(image)), ...left].join("\n");
      })
      .join("\n\n"),
  );
}

/** Opens archives; every fault of every file is reported. */
export function openArchives(files: readonly string[], what: string): ImageReader[] {
  return collectFaults(files, (file) => openImage(readInput(file, what), file));
}
