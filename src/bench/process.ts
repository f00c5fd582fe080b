/** Child processes of the bench that are not themselves measured. */
import { spawn } from "node:child_process";
import { PycdsError } from "../base/errors.ts";

/** An environment; what is undefined is not set. */
export type Env = Readonly<Record<string, string | undefined>>;

/** Told what is being done now, for a progress line. */
export type Progress = (text: string) => void;

export interface Finished {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Python variables under which stock would not use or keep .pyc files, or would flush each write. */
const unwanted = ["PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPROFILEIMPORTTIME", "PYTHONOPTIMIZE", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV"];

/** `env` without what would change how Python or an archive starts; `more` is added last. */
export function cleanEnv(env: Env, more: Env = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !unwanted.includes(name) && !name.startsWith("PYCDS"));
  const all = Object.fromEntries([...kept, ...Object.entries(more)]);
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Runs to the end and returns what came out, whatever the status. */
export async function run(argv: readonly string[], env: NodeJS.ProcessEnv, cwd?: string, next?: string): Promise<Finished> {
  const [file, ...rest] = argv;
  if (file === undefined) throw new PycdsError("BENCH_NO_COMMAND", "cannot run a command", "it is empty");
  return new Promise((resolve, reject) => {
    const child = spawn(file, rest, { env, stdio: ["ignore", "pipe", "pipe"], ...(cwd === undefined ? {} : { cwd }) });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", (cause) => {
      reject(new PycdsError("BENCH_SPAWN", `cannot start ${file}`, cause.message, { cause, ...(next === undefined ? {} : { next }) }));
    });
    child.on("close", (status, signal) => {
      resolve({ status, signal, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8") });
    });
  });
}

/** Runs to the end; any status but 0 is an error that quotes the last lines of stderr. */
export async function mustRun(what: string, argv: readonly string[], env: NodeJS.ProcessEnv, next?: string, cwd?: string): Promise<Finished> {
  const done = await run(argv, env, cwd);
  if (done.status !== 0) throw failed(what, argv, done, next);
  return done;
}

export function failed(what: string, argv: readonly string[], done: Finished, next?: string): PycdsError {
  const end = done.signal === null ? `status ${String(done.status)}` : `signal ${done.signal}`;
  const said = lastLines(done.stderr === "" ? done.stdout : done.stderr);
  return new PycdsError("BENCH_COMMAND_FAILED", `cannot ${what}`, `\`${argv.join(" ")}\` ended with ${end}${said === "" ? "" : `: ${said}`}`, next === undefined ? {} : { next });
}

/** The last few lines of a process's output, on one line. */
export function lastLines(text: string, count = 6): string {
  return text.trim().split("\n").slice(-count).map((line) => line.trim()).join(" | ");
}
