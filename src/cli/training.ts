/** Starts a new image once, up to where a program would begin, and notes the pages that it wrote to. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findHotPages, writeHotPages } from "../warm/train.ts";
import type { Context } from "./context.ts";
import { trackUnfinished } from "./files.ts";

const pollMilliseconds = 2;
const longestMilliseconds = 10_000;

/**
 * The image works without: where it cannot be started here, nothing is noted.
 * @param interpreter whether it takes the interpreter's arguments; it then runs an empty command up to its end
 */
export async function trainImage(context: Context, image: string, interpreter: boolean): Promise<void> {
  const folder = mkdtempSync(join(context.temporary, "pycds-train-"));
  trackUnfinished(folder, true);
  try {
    const marker = join(folder, "stopped");
    const env = Object.fromEntries(Object.entries(context.env).filter(([name]) => !name.startsWith("PYCDS")));
    const child = spawn(image, interpreter ? ["-c", ""] : [], { cwd: context.cwd, env: { ...env, PYCDS: "on", PYCDS_WARM_TRAIN: marker }, stdio: "ignore" });
    const state = { ended: false };
    const ended = new Promise<void>((settle) => {
      child.once("error", () => settle());
      child.once("exit", () => settle());
    }).then(() => (state.ended = true));
    try {
      for (const until = Date.now() + longestMilliseconds; !existsSync(marker) && !state.ended && Date.now() < until;) {
        await Promise.race([ended, new Promise((wake) => setTimeout(wake, pollMilliseconds))]);
      }
      if (child.pid === undefined || !existsSync(marker)) return;
      const bytes = readFileSync(image);
      const ranges = await findHotPages(child.pid, bytes, image);
      child.kill("SIGKILL");
      await ended; // a file that is executed cannot be written
      const file = openSync(image, "r+");
      try {
        writeHotPages(file, bytes, image, ranges);
      } finally {
        closeSync(file);
      }
    } finally {
      if (!state.ended) child.kill("SIGKILL");
      await ended;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    trackUnfinished(folder, false);
  }
}
