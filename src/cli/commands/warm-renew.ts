/** `pycds warm renew`: build an image again, as it was built. */
import { rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import { PycdsError } from "../../base/errors.ts";
import { readWarm } from "../../warm/read.ts";
import type { CommonOptions, Context } from "../context.ts";
import { readInput } from "../files.ts";
import { printResult } from "../report.ts";
import { commonOptions } from "../usage.ts";
import { createImage, renewalLock } from "./warm-create.ts";
import { installImage } from "./warm-install.ts";

const requestSchema = z.object({
  request: z.object({
    cwd: z.string(),
    words: z.array(z.string()),
    installed: z.string().optional(),
    options: z.object({
      preload: z.string().optional(), exit: z.string(), allow: z.array(z.string()).optional(), watch: z.array(z.string()).optional(),
      park: z.boolean().optional(), sealed: z.boolean().optional(), rotate: z.string().optional(), training: z.boolean().optional(),
    }),
  }),
});

export function addWarmRenew(program: Command, context: Context): void {
  const command = program.command("renew").description("build an image again, as it was built").argument("<image>", "what warm create or warm install wrote");
  commonOptions(command, { json: true }).action(async (image: string, common: CommonOptions) => {
    const output = resolve(context.cwd, image);
    const parsed = requestSchema.safeParse(readWarm(readInput(output, "cannot renew the image"), image).meta);
    if (!parsed.success) throw new PycdsError("WARM_OLD", "cannot renew the image", "it does not tell how it was built", { file: image, next: "build it again with pycds warm create" });
    const { cwd, words, installed, options } = parsed.data.request;
    const there = { ...context, cwd };
    const { size } = installed === undefined ? await createImage(there, { ...common, ...options, output }, words) : await installImage(there, dirname(output), installed, { ...common, ...options });
    rmSync(renewalLock(output), { force: true });
    printResult(context, common, { image: output, size }, () => `${image}: ${(size / 1e6).toFixed(1)} MB`);
  });
  command.addHelpText("after", `
An image that was built with --rotate does this by itself, in the background, at the
first start after its age.

Examples:
  pycds warm renew py-fast`);
}
