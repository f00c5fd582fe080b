/** `pycds status`: what is installed in an environment. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { exitCode } from "../../base/errors.ts";
import { status } from "../../venv/status.ts";
import type { InstallStatus } from "../../venv/status.ts";
import type { Context } from "../context.ts";
import { printResult } from "../report.ts";
import { commonOptions, interpreterOptions } from "../usage.ts";
import { chooseEnvironment } from "../venv.ts";
import type { VenvOptions } from "../venv.ts";

export function addStatus(program: Command, context: Context): void {
  const command = program.command("status").description("show what is installed in a virtual environment");
  commonOptions(interpreterOptions(command), { json: true }).action(async (options: VenvOptions) => {
    const { interpreter, site } = await chooseEnvironment(context, options);
    const found = status(site);
    printResult(context, options, { ...found, python: interpreter.executable, version: interpreter.version }, () => statusText(found, interpreter.version));
    process.exitCode = found.state === "damaged" ? exitCode.no : exitCode.done;
  });
  command.addHelpText("after", `
Exit status: 1 when the installation is damaged.

Examples:
  pycds status --venv .venv
  pycds status --json`);
}

export function statusText({ site, state, faults, layers }: InstallStatus, version: string): string {
  switch (state) {
    case "absent":
      return `not installed in ${site} (CPython ${version})`;
    case "damaged":
      return [`damaged in ${site} (CPython ${version}); install again or uninstall:`, ...faults.map((fault) => `  ${fault}`)].join("\n");
    case "installed":
      return `installed in ${site} (CPython ${version}); ${layers.length > 1 ? "archives" : "archive"}: ${layers.length === 0 ? "none, PYCDSARCHIVE names one" : layers.map(({ path }) => resolve(site, path)).join(", ")}`;
  }
}
