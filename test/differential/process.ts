/** One process of an arm, run to its end with a limit; its whole group goes when the limit is over. */
import { spawn } from "node:child_process";

export interface Command {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin: string;
}

export interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** With the id it had, which nobody compares. */
export interface Process {
  readonly ended: Ended;
  readonly pid: number | undefined;
}

const limitSeconds = 120;

export async function runToEnd({ argv, env, cwd, stdin }: Command): Promise<Process> {
  const [file = "", ...rest] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, rest, { cwd, env, stdio: ["pipe", "pipe", "pipe"], detached: true });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => {
      err.push(Buffer.from(`\nended by the harness after ${limitSeconds} s\n`));
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, limitSeconds * 1000);
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      resolve({ ended: { status, signal, stdout: Buffer.concat(out).toString("latin1"), stderr: Buffer.concat(err).toString("latin1") }, pid: child.pid });
    });
    // a program that reads nothing may be gone before this is written
    child.stdin.on("error", () => undefined);
    child.stdin.end(stdin);
  });
}
