/** `pycds warm inspect`: what an image holds. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { inspectWarm } from "../../warm/inspect.ts";
import type { WarmSummary } from "../../warm/inspect.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";

export function addWarmInspect(program: Command, context: Context): void {
  const command = program.command("inspect").description("what an image holds: memory by mapping, what it depends on").argument("<image>", "what warm create wrote");
  commonOptions(command, { json: true }).action((image: string, options: CommonOptions) => {
    const summary = inspectWarm(readInput(resolve(context.cwd, image), "cannot read the warm image"), image);
    printResult(context, options, summary, () => text(image, summary));
  });
  command.addHelpText("after", `
Examples:
  pycds warm inspect py-fast
  pycds warm inspect --json py-fast | jq .mappings`);
}

function text(image: string, summary: WarmSummary): string {
  const kilobytes = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`.padStart(12);
  const rows = summary.mappings.map(({ name, image: own, original, zero }) => `${kilobytes(own)}${kilobytes(original)}${kilobytes(zero)}  ${name}`);
  return [
    `${image}: CPython ${summary.python}, built ${summary.created}${summary.sealed ? ", sealed" : ""}${summary.expires === undefined ? "" : `, until ${summary.expires}`}`,
    `started the normal way: ${summary.command.join(" ")}`,
    `${summary.segments} mappings, ${summary.stamps} stamps in ${summary.folders} folders, ${summary.variables.length} variables: ${summary.variables.join(" ")}`,
    `${"in image".padStart(12)}${"from file".padStart(12)}${"zero".padStart(12)}  mapping`,
    ...rows,
  ].join("\n");
}
