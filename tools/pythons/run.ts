/** Child processes that end when we are told to end, and whose failure is one line. */
import { spawn } from "node:child_process";
import { PycdsError } from "../../src/base/errors.ts";

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
  /** What the command is for, as in `cannot WHAT`. */
  readonly what: string;
}

/** The environment for tools: their own language, so that reasons can be recognised, and nothing that changes a Python. */
export function toolEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !name.startsWith("PYTHON") && name !== "LD_PRELOAD" && name !== "LD_LIBRARY_PATH") environment[name] = value;
  }
  return { ...environment, LC_ALL: "C.UTF-8" };
}

/**
 * The output of a command that ends well.
 * @throws PycdsError TOOL_MISSING, TOOL_FAILED; the signal's reason when aborted
 */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  options.signal?.throwIfAborted();
  // A group of its own: make's and apt's children end with it, and a terminal's Ctrl-C reaches us alone.
  const child = spawn(command, args, { cwd: options.cwd, env: { ...toolEnvironment(), ...options.env }, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stop = (): void => end(child.pid);
  options.signal?.addEventListener("abort", stop);
  const out: Buffer[] = [];
  const tail = new Tail();
  child.stdout.on("data", (chunk: Buffer) => {
    out.push(chunk);
    tail.add(chunk);
  });
  child.stderr.on("data", (chunk: Buffer) => tail.add(chunk));
  try {
    const failure = await new Promise<string | undefined>((resolve, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) => {
        const missing = error.code === "ENOENT";
        reject(new PycdsError(missing ? "TOOL_MISSING" : "TOOL_FAILED", `cannot ${options.what}`, missing ? `${command} is not installed` : error.message, { cause: error }));
      });
      child.once("close", (code, signal) => resolve(code === 0 ? undefined : `${command} ended with ${signal ?? `status ${code}`}`));
    });
    options.signal?.throwIfAborted();
    if (failure !== undefined) throw new PycdsError("TOOL_FAILED", `cannot ${options.what}`, reasonIn(tail.text) ?? failure);
    return Buffer.concat(out).toString("utf8");
  } finally {
    options.signal?.removeEventListener("abort", stop);
  }
}

function end(group: number | undefined): void {
  if (group === undefined) return;
  try {
    process.kill(-group, "SIGTERM");
  } catch {
    // It has just ended.
  }
}

/** The last few kilobytes of what a command says. */
class Tail {
  text = "";
  add(chunk: Buffer): void {
    this.text = (this.text + chunk.toString("utf8")).slice(-16_384);
  }
}

/** The line that tells why, out of what apt, Maven, configure, make, a compiler or Python say. */
export function reasonIn(output: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- Maven colours its output
  const lines = output.replace(/\u001b\[[0-9;]*m/g, "").split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const network = lines.find((line) => /could not resolve|temporary failure (?:in name resolution|resolving)|unknown host|network is unreachable|could not connect|connection (?:refused|timed out)/i.test(line));
  if (network !== undefined) return `no network: ${short(network)}`;
  const telling = lines.find((line) => /^(?:E:|\[ERROR\]|configure: error:)|\berror: |^\w*Error: /.test(line)) ?? lines.at(-1);
  return telling === undefined ? undefined : short(telling);
}

function short(line: string): string {
  const plain = line.replace(/^(?:E:|\[ERROR\]|configure: error:)\s*/, "");
  return plain.length <= 240 ? plain : `${plain.slice(0, 239)}…`;
}
