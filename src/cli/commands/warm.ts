/** `pycds warm`: images of processes that have finished their imports. */
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { addWarmCreate } from "./warm-create.ts";
import { addWarmInspect } from "./warm-inspect.ts";
import { addWarmInstall, addWarmUninstall } from "./warm-install.ts";
import { addWarmRenew } from "./warm-renew.ts";
import { addWarmRun } from "./warm-run.ts";
import { addWarmVerify } from "./warm-verify.ts";

export function addWarm(program: Command, context: Context): void {
  const warm = program
    .command("warm")
    .description("images of processes that have finished their imports: programs that start in milliseconds")
    .enablePositionalOptions()
    .passThroughOptions();
  for (const add of [addWarmCreate, addWarmRun, addWarmInspect, addWarmVerify, addWarmRenew, addWarmInstall, addWarmUninstall]) add(warm, context);
  warm.addHelpText("after", `
Examples:
  pycds warm create -o py-fast --preload boto3,requests -- python
  ./py-fast script.py ARGS                       as python script.py ARGS
  pycds warm create -o app-fast -- python app.py
  ./app-fast ARGS                                as python app.py ARGS
  pycds warm install --venv .venv aws            .venv/bin/aws is an image from now on

An image is an executable file. It belongs to this machine, this user and these
files: where any of them differs, the program is started the normal way.`);
}
