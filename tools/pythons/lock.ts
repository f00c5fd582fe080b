/** A lock that is gone when its holder is, however that ended: flock(1) holding a file for as long as our pipe is open. */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";

export interface LockOptions {
  readonly signal?: AbortSignal;
  /** Called once when another process has the lock. */
  readonly waiting?: () => void;
}

const patience = 500;

/**
 * Runs `work` while no other process holds the lock on `file`.
 * @throws PycdsError LOCK when there is no flock(1) or the file cannot be made
 */
export async function withLock<T>(file: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(file), { recursive: true });
  options.signal?.throwIfAborted();
  // Detached, so that a terminal's Ctrl-C does not take the lock away while we clean up.
  const holder = spawn("flock", ["--exclusive", file, "sh", "-c", "echo held && exec cat"], { stdio: ["pipe", "pipe", "pipe"], detached: true });
  // The holder may end before it reads what end() flushes; its status tells.
  holder.stdin.on("error", () => undefined);
  const ended = new Promise<string>((resolve) => {
    let said = "";
    holder.stderr.on("data", (chunk: Buffer) => (said += chunk.toString("utf8")));
    holder.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ENOENT" ? "flock (util-linux) is not installed" : error.message));
    holder.once("close", () => resolve(said.trim()));
  });
  const held = new Promise<"held">((resolve) => holder.stdout.once("data", () => resolve("held")));
  // A waiting holder reads nothing: closing its pipe would not end it.
  const stop = (): void => void holder.kill("SIGTERM");
  const timer = setTimeout(() => options.waiting?.(), patience);
  options.signal?.addEventListener("abort", stop);
  try {
    const state = await Promise.race([held, ended]);
    options.signal?.throwIfAborted();
    if (state !== "held") throw new PycdsError("LOCK", "cannot lock the cache", state === "" ? "flock ended by itself" : state, { file });
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", stop);
    return await work();
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", stop);
    holder.stdin.end();
    await ended;
  }
}
