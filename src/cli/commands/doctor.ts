/** `pycds doctor`: what is found, what is active, what to do. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { PycdsError, exitCode } from "../../base/errors.ts";
import { status } from "../../venv/status.ts";
import { abiOf } from "../target.ts";
import { splitArchives } from "../archives.ts";
import { cacheFolder } from "../cache.ts";
import { nativeLibrary, runtimeLibrary } from "../context.ts";
import type { Context } from "../context.ts";
import { faultsOf, printResult } from "../report.ts";
import { commonOptions, interpreterOptions } from "../usage.ts";
import { chooseEnvironment } from "../venv.ts";
import type { VenvOptions } from "../venv.ts";
import { statusText } from "./status.ts";

interface Finding {
  readonly check: "native" | "interpreter" | "layout" | "installation" | "environment" | "cache";
  readonly ok: boolean;
  readonly found: string;
  /** What to do; null: nothing. */
  readonly next: string | null;
}

export function addDoctor(program: Command, context: Context): void {
  const command = program.command("doctor").description("tell what is found, what is active, and what to do");
  commonOptions(interpreterOptions(command), { json: true }).action(async (options: VenvOptions) => {
    const findings = await examine(context, options);
    printResult(context, options, findings, () => findings.map(findingText).join("\n"));
    process.exitCode = findings.every(({ ok }) => ok) ? exitCode.done : exitCode.no;
  });
  command.addHelpText("after", `
Exit status: 0 nothing to do, 1 something is wrong.

Examples:
  pycds doctor
  pycds doctor --venv .venv --json`);
}

function findingText({ check, ok, found, next }: Finding): string {
  return `${ok ? "ok  " : "BAD "} ${check}: ${found}${next === null ? "" : `\n       → ${next}`}`;
}

async function examine(context: Context, options: VenvOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const attempt = async (check: Finding["check"], look: () => string | Promise<string>): Promise<void> => {
    try {
      findings.push({ check, ok: true, found: await look(), next: null });
    } catch (error) {
      for (const fault of faultsOf(error)) findings.push({ check, ok: false, found: faultText(fault), next: fault.next ?? null });
    }
  };
  await attempt("native", () => [runtimeLibrary("release"), runtimeLibrary("freethreaded"), nativeLibrary("pycds_launch.so")].join(", "));
  let environment: Awaited<ReturnType<typeof chooseEnvironment>> | undefined;
  await attempt("interpreter", async () => {
    environment = await chooseEnvironment(context, options);
    const { interpreter, origin } = environment;
    return `CPython ${interpreter.version} (${interpreter.platform}, ${interpreter.flavour}), ${interpreter.executable}, from ${origin}`;
  });
  if (environment !== undefined) {
    const { interpreter, site } = environment;
    await attempt("layout", () => abiOf(interpreter).id);
    await attempt("installation", () => {
      const found = status(site);
      if (found.state === "damaged") throw new PycdsError("INSTALL_DAMAGED", statusText(found, interpreter.version), "", { next: "pycds install again, or pycds uninstall" });
      return statusText(found, interpreter.version);
    });
  }
  findings.push(variables(context), cache(context));
  return findings;
}

function faultText({ message, why, file }: PycdsError): string {
  return [file === undefined ? message : `${message} (${file})`, why].filter((part) => part !== "").join(": ");
}

/** Variables that change what happens. */
function variables({ env }: Context): Finding {
  const names = ["PYCDS", "PYCDSARCHIVE", "PYCDSMODE", "PYCDSLIST", "PYCDS_LOG", "PYCDSVERBOSE", "LD_PRELOAD"].filter((name) => env[name] !== undefined);
  const archive = env["PYCDSARCHIVE"];
  const found = names.length === 0 ? "no variable of ours is set" : names.map((name) => `${name}=${env[name] ?? ""}`).join(" ");
  const missing = archive === undefined ? [] : splitArchives(archive).filter((file) => !existsSync(file));
  if (missing.length > 0) return { check: "environment", ok: false, found, next: `PYCDSARCHIVE names what is not there (${missing.join(", ")}): correct or unset it` };
  if (env["PYCDS"]?.toLowerCase() === "off") return { check: "environment", ok: false, found, next: "unset PYCDS to have imports served" };
  return { check: "environment", ok: true, found, next: null };
}

function cache(context: Context): Finding {
  const folder = cacheFolder(context);
  if (folder === undefined) return { check: "cache", ok: false, found: "there is no place for one", next: "set HOME or XDG_CACHE_HOME" };
  return { check: "cache", ok: true, found: existsSync(folder) ? folder : `${folder} (not made yet)`, next: null };
}
