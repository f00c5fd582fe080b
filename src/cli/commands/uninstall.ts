/** `pycds uninstall`: an environment as it was before. */
import type { Command } from "commander";
import { uninstall } from "../../venv/uninstall.ts";
import type { Context } from "../context.ts";
import { printResult, warn } from "../report.ts";
import { commonOptions, interpreterOptions } from "../usage.ts";
import { chooseEnvironment } from "../venv.ts";
import type { VenvOptions } from "../venv.ts";

export function addUninstall(program: Command, context: Context): void {
  const command = program.command("uninstall").description("take out what pycds install put into a virtual environment");
  commonOptions(interpreterOptions(command), { json: true }).action(async (options: VenvOptions) => {
    const { site } = await chooseEnvironment(context, options);
    const result = uninstall(site);
    if (result.changed.length > 0) warn(context, options, `files had been changed since the installation: ${result.changed.join(", ")}`);
    if (result.kept.length > 0) warn(context, options, `files that are not ours were kept: ${result.kept.join(", ")}`);
    printResult(context, options, result, () => (result.wasInstalled ? `uninstalled from ${site}` : `nothing is installed in ${site}`));
  });
  command.addHelpText("after", `
Examples:
  pycds uninstall --venv .venv
  pycds uninstall --python python3.12`);
}
