/** `pycds install`: plain `python` in an environment is faster from then on. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { openImage } from "../../image/reader.ts";
import { versionText } from "../../inspect/summary.ts";
import { PycdsError } from "../../base/errors.ts";
import { install } from "../../venv/install.ts";
import { abiOf } from "../target.ts";
import { nativeLibrary, pythonPackage } from "../context.ts";
import type { Context } from "../context.ts";
import { checkInput, readInput } from "../files.ts";
import { printResult } from "../report.ts";
import { commonOptions, interpreterOptions } from "../usage.ts";
import { chooseEnvironment } from "../venv.ts";
import type { VenvOptions } from "../venv.ts";

interface InstallOptions extends VenvOptions {
  readonly archive?: string;
}

export function addInstall(program: Command, context: Context): void {
  const command = program
    .command("install")
    .description("make plain python in a virtual environment use an archive")
    .option("-a, --archive <file>", "the archive; it is copied (default: none, PYCDSARCHIVE names one)");
  commonOptions(interpreterOptions(command), { json: true }).action(async (options: InstallOptions) => installHere(context, options));
  command.addHelpText("after", `
Writes pycds.pth, the runtime library and the small pycds package into
site-packages; pycds uninstall takes them out again. Node is not needed then.

Examples:
  pycds install --venv .venv -a app.pycds
  pycds install --venv .venv && PYCDSARCHIVE=app.pycds .venv/bin/python app.py`);
}

async function installHere(context: Context, options: InstallOptions): Promise<void> {
  const archive = options.archive === undefined ? undefined : resolve(context.cwd, options.archive);
  if (archive !== undefined) checkInput(archive, "cannot install the archive");
  const { interpreter, site } = await chooseEnvironment(context, options);
  if (archive === undefined) abiOf(interpreter);
  else checkFits(archive, interpreter.hexversion, interpreter.version);
  const result = install({ site, runtime: nativeLibrary("_pycds.so"), packageDir: pythonPackage, ...(archive === undefined ? {} : { archive }) });
  printResult(context, options, { ...result, python: interpreter.executable, version: interpreter.version }, () => {
    const what = archive === undefined ? "the runtime; name an archive with PYCDSARCHIVE" : `the runtime and ${options.archive ?? ""}`;
    return `${result.replaced ? "installed anew" : "installed"} into ${site}: ${what}`;
  });
}

/** An archive that the runtime would refuse at every start is refused here, once. */
function checkFits(archive: string, hexversion: number, version: string): void {
  const { header } = openImage(readInput(archive, "cannot install the archive"), archive);
  if (header.hexversion !== hexversion) {
    throw new PycdsError("ARCHIVE_FOREIGN", "cannot install the archive", `it is for CPython ${versionText(header.hexversion)}, this is ${version}`, { file: archive, next: "build one for this interpreter with --venv DIR" });
  }
}
