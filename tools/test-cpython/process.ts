/** Child processes: tools that must succeed, and tests with a time limit. */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { PycdsError } from "../../src/base/errors.ts";
import type { Ending } from "./outcomes.ts";

export interface Output {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment without what changes how Python or PyCDS behave. */
function plainEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).flatMap(([name, value]) => (value === undefined || /^(PYTHON|PYCDS|VIRTUAL_ENV)/.test(name) ? [] : [[name, value]])));
}

/** Runs a tool to its end. */
export async function tool(argv: readonly string[], environment: Readonly<Record<string, string>> = plainEnvironment()): Promise<Output> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { env: { ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  const parts: Record<"stdout" | "stderr", string> = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (parts.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (parts.stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, ...parts }));
  });
}

/** A tool whose failure ends ours. */
export async function must(argv: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Output> {
  const output = await tool(argv, environment);
  if (output.status !== 0) {
    const last = output.stderr.trim().split("\n").at(-1) ?? "";
    throw new PycdsError("TOOL_FAILED", "cannot prepare the interpreters", `${argv.slice(0, 4).join(" ")} … ended with status ${output.status}: ${last}`);
  }
  return output;
}

/** Runs a program in a process group of its own, all of it killed after `limitMs`; both outputs go to one file. */
export async function limited(argv: readonly string[], options: { cwd: string; env: Record<string, string>; output: string; limitMs: number }): Promise<Ending> {
  const [program = "", ...args] = argv;
  const output = openSync(options.output, "w");
  try {
    const child = spawn(program, args, { cwd: options.cwd, env: options.env, detached: true, stdio: ["ignore", output, output] });
    let timedOut = false;
    const killGroup = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // the whole group has ended
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup();
    }, options.limitMs);
    try {
      return await new Promise((resolve, reject) => {
        child.on("error", reject);
        child.on("exit", (status, signal) => resolve({ status, signal, timedOut }));
      });
    } finally {
      clearTimeout(timer);
      killGroup(); // what a test left behind
    }
  } finally {
    closeSync(output);
  }
}
