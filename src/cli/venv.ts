/** Which environment `install`, `uninstall`, `status` and `doctor` are about. */
import { resolve } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { describeInterpreter } from "../trace/interpreter.ts";
import type { InterpreterInfo } from "../trace/types.ts";
import { resolveInterpreter } from "../venv/interpreter.ts";
import type { Interpreter } from "../venv/interpreter.ts";
import type { CommonOptions, Context } from "./context.ts";

export interface VenvOptions extends CommonOptions {
  readonly venv?: string;
  readonly python?: string;
}

export interface Environment {
  readonly interpreter: InterpreterInfo;
  readonly origin: Interpreter["origin"];
  /** Its own site-packages folder. */
  readonly site: string;
}

export async function chooseEnvironment(context: Context, options: VenvOptions): Promise<Environment> {
  const { executable, origin } = resolveInterpreter({
    ...(options.venv === undefined ? {} : { venv: resolve(context.cwd, options.venv) }),
    ...(options.python === undefined ? {} : { python: options.python }),
    ...(context.env["VIRTUAL_ENV"] === undefined ? {} : { virtualEnv: context.env["VIRTUAL_ENV"] }),
    ...(context.env["PATH"] === undefined ? {} : { path: context.env["PATH"] }),
  });
  const interpreter = await describeInterpreter(executable, context.env);
  const [site] = interpreter.sitePackages;
  if (site === undefined) throw new PycdsError("NO_SITE", "cannot find site-packages", "the interpreter has none", { file: executable, next: "name a venv with --venv DIR" });
  return { interpreter, origin, site };
}
