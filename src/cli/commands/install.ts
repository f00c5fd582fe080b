/** `pycds install`: plain `python` in an environment is faster from then on. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { freshnessOptions, freshnessText, sameFreshness } from "../../image/freshness.ts";
import type { FreshnessOptions } from "../../image/freshness.ts";
import { openImage } from "../../image/reader.ts";
import { flavourOf, versionText } from "../../inspect/summary.ts";
import { PycdsError } from "../../base/errors.ts";
import type { InterpreterInfo } from "../../trace/types.ts";
import { install } from "../../venv/install.ts";
import { constantAddresses } from "../addresses.ts";
import { append, checkCount } from "../archives.ts";
import { abiOf } from "../target.ts";
import { pythonPackage, runtimeLibrary } from "../context.ts";
import type { Context } from "../context.ts";
import { checkInput, readInput } from "../files.ts";
import { collectFaults, printResult } from "../report.ts";
import { commonOptions, interpreterOptions } from "../usage.ts";
import { chooseEnvironment } from "../venv.ts";
import type { VenvOptions } from "../venv.ts";

interface InstallOptions extends VenvOptions {
  readonly archive: readonly string[];
  readonly base: readonly string[];
}

export function addInstall(program: Command, context: Context): void {
  const command = program
    .command("install")
    .description("make plain python in a virtual environment use an archive")
    .option("-a, --archive <file>", "the archive; it is copied (default: none, PYCDSARCHIVE names one); several are looked up in order", append, [])
    .option("--base <file>", "an archive to look up first; it stays where it is, so that environments can share it", append, []);
  commonOptions(interpreterOptions(command), { json: true }).action(async (options: InstallOptions) => installHere(context, options));
  command.addHelpText("after", `
Writes _pycds.pth, the runtime library and the small pycds package into
site-packages; pycds uninstall takes them out again. Node is not needed then.

Examples:
  pycds install --venv .venv -a app.pycds
  pycds install --venv .venv --base /opt/stdlib.pycds -a app.pycds
  pycds install --venv .venv && PYCDSARCHIVE=app.pycds .venv/bin/python app.py`);
}

async function installHere(context: Context, options: InstallOptions): Promise<void> {
  // copies get names of their own, and a list of files may have colons in it
  const [archive, ...further] = options.archive.map((file) => resolve(context.cwd, file));
  const bases = options.base.map((file) => resolve(context.cwd, file));
  const all = [...bases, ...(archive === undefined ? [] : [archive]), ...further];
  checkCount(all, "cannot install these archives");
  collectFaults(all, (file) => checkInput(file, "cannot install the archive"));
  const { interpreter, site } = await chooseEnvironment(context, options);
  if (all.length === 0) abiOf(interpreter);
  const [first, ...others] = collectFaults(all, (file) => checkFits(file, interpreter));
  for (const other of others) {
    if (first === undefined || sameFreshness(first, other)) continue;
    const why = `${first.file} ${freshnessText(first)}, ${other.file} ${freshnessText(other)}`;
    throw new PycdsError("ARCHIVES_MIXED", "cannot install these archives", why, { next: "build them with the same of --digest and --sealed" });
  }
  const addresses = all.length === bases.length ? new Map<number, bigint>() : constantAddresses(context, interpreter.executable);
  const result = install({ site, runtime: runtimeLibrary(interpreter.flavour), packageDir: pythonPackage, further, bases, addresses, ...(archive === undefined ? {} : { archive }) });
  printResult(context, options, { ...result, python: interpreter.executable, version: interpreter.version }, () => {
    const named = [...options.base, ...options.archive].join(", ");
    const what = all.length === 0 ? "the runtime; name an archive with PYCDSARCHIVE" : `the runtime and ${named}`;
    return `${result.replaced ? "installed anew" : "installed"} into ${site}: ${what}`;
  });
}

/** An archive that the runtime would refuse at every start is refused here, once. */
function checkFits(archive: string, { hexversion, version, flavour }: InterpreterInfo): FreshnessOptions & { readonly file: string } {
  const { header } = openImage(readInput(archive, "cannot install the archive"), archive);
  const built = flavourOf(header.abi_flags);
  if (header.hexversion !== hexversion || built !== flavour) {
    const why = `it is for CPython ${versionText(header.hexversion)}${buildText(built)}, this is ${version}${buildText(flavour)}`;
    throw new PycdsError("ARCHIVE_FOREIGN", "cannot install the archive", why, { file: archive, next: "build one for this interpreter with --venv DIR" });
  }
  return { file: archive, ...freshnessOptions(header.required_features) };
}

function buildText(flavour: InterpreterInfo["flavour"]): string {
  return flavour === "release" ? "" : ` (${flavour})`;
}
