/** `pycds warm inspect`: what an image holds. */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { inspectWarm } from "../../warm/inspect.ts";
import type { WarmSummary } from "../../warm/inspect.ts";
import { mappingsOf } from "../../warm/process.ts";
import type { Mapping } from "../../warm/process.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { printResult } from "../report.ts";
import { commonOptions, usageError } from "../usage.ts";

export function addWarmInspect(program: Command, context: Context): void {
  const command = program.command("inspect").description("what an image holds: memory by mapping, what it depends on").argument("<image>", "what warm create wrote").option("--pid <number>", "a process that was started from it: which of its pages are shared");
  commonOptions(command, { json: true }).action((image: string, options: CommonOptions & { readonly pid?: string }) => {
    const file = resolve(context.cwd, image);
    const bytes = readInput(file, "cannot read the warm image");
    const summary = inspectWarm(bytes, image, options.pid === undefined ? [] : mappingsOfStart(options.pid, file));
    printResult(context, options, summary, () => text(image, summary));
  });
  command.addHelpText("after", `
Examples:
  pycds warm inspect py-fast
  pycds warm inspect --pid 1234 py-fast
  pycds warm inspect --json py-fast | jq .mappings`);
}

/** The mappings of a process that executes the image. */
function mappingsOfStart(pid: string, file: string): readonly Mapping[] {
  const program = (): string | undefined => {
    try {
      return realpathSync(`/proc/${pid}/exe`);
    } catch {
      return undefined;
    }
  };
  if (!/^\d+$/.test(pid) || program() !== realpathSync(file)) throw usageError("warm inspect", `process ${pid} was not started from ${file}`, "give the ID of one that was, and that you may look at");
  return mappingsOf(Number(pid));
}

const shownModules = 20;

function text(image: string, summary: WarmSummary): string {
  const kilobytes = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`.padStart(12);
  const isRunning = summary.mappings.some(({ shared }) => shared !== undefined);
  const rows = summary.mappings.map(({ name, image: own, original, zero, shared, private: written }) => `${kilobytes(own)}${kilobytes(original)}${kilobytes(zero)}${isRunning ? `${kilobytes(shared ?? 0)}${kilobytes(written ?? 0)}` : ""}  ${name}`);
  const sizes = summary.sizes.slice(0, shownModules).map(({ module, bytes }) => `${kilobytes(bytes)}  ${module}`);
  return [
    `${image}: CPython ${summary.python}, built ${summary.created}${summary.sealed ? ", sealed" : ""}${summary.expires === undefined ? "" : `, until ${summary.expires}`}`,
    `started the normal way: ${summary.command.join(" ")}`,
    `${summary.segments} mappings, ${summary.stamps} stamps in ${summary.folders} folders, ${summary.variables.length} variables: ${summary.variables.join(" ")}`,
    `${"in image".padStart(12)}${"from file".padStart(12)}${"zero".padStart(12)}${isRunning ? `${"shared".padStart(12)}${"private".padStart(12)}` : ""}  mapping`,
    ...rows,
    `${"objects".padStart(12)}  module${summary.sizes.length > shownModules ? ` (the largest ${shownModules} of ${summary.sizes.length}; --json has all)` : ""}`,
    ...sizes,
  ].join("\n");
}
