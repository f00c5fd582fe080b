/** Runs the user's program as if it had been started directly: stdio, signals, exit. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { PycdsError } from "../base/errors.ts";
import type { LaunchCommand } from "./command.ts";

/** How a program ended. */
export type ProgramEnd =
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "signal"; readonly signal: NodeJS.Signals };

/** Passed on whoever sends them. SIGCHLD, SIGPIPE and the stop signals are the receiver's own. */
const forwarded: readonly NodeJS.Signals[] = ["SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGURG"];
/** What a terminal's keys send to the whole foreground group, the program included. */
const fromKeyboard: readonly NodeJS.Signals[] = ["SIGINT", "SIGQUIT"];

/**
 * Whether `/proc/PID/stat` shows a process in its terminal's foreground group
 * (proc(5): field 5 is pgrp, field 8 is tpgid, -1 without a terminal).
 */
export function inForeground(stat: string): boolean {
  // the second field, the command's name, may itself hold spaces and parentheses
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[2] !== undefined && fields[2] === fields[5];
}

function keyboardReachesChild(): boolean {
  try {
    return inForeground(readFileSync("/proc/self/stat", "latin1"));
  } catch {
    return process.stdin.isTTY;
  }
}

/**
 * Starts the program with our stdio and waits for its end. Signals that reach
 * us meanwhile are passed on, except those that the terminal has sent to it
 * already. Rejects only when it cannot be started.
 */
export function runProgram(command: LaunchCommand): Promise<ProgramEnd> {
  const [file, ...rest] = command.argv;
  if (file === undefined) throw new PycdsError("NO_COMMAND", "cannot run a program", "no command was given", { next: "put it after --" });
  return new Promise((resolve, reject) => {
    const listeners = new Map<NodeJS.Signals, () => void>();
    const release = (): void => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
    };
    // before the start: a signal in between must not end us and leave the program behind
    const early: NodeJS.Signals[] = [];
    let send = (signal: NodeJS.Signals): void => void early.push(signal);
    for (const signal of [...forwarded, ...fromKeyboard]) {
      const listener = (): void => {
        if (fromKeyboard.includes(signal) && keyboardReachesChild()) return;
        send(signal);
      };
      listeners.set(signal, listener);
      process.on(signal, listener);
    }
    const child = spawn(file, rest, { stdio: "inherit", env: { ...command.env } });
    send = (signal) => void child.kill(signal);
    for (const signal of early) send(signal);
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return; // a signal that could not be delivered; the exit event follows
      release();
      reject(startFailure(file, error));
    });
    child.on("exit", (status, signal) => {
      release();
      resolve(signal === null ? { kind: "status", status: status ?? 1 } : { kind: "signal", signal });
    });
  });
}

function startFailure(file: string, error: NodeJS.ErrnoException): PycdsError {
  const [why, next] =
    error.code === "ENOENT" ? ["there is no such program", "check its name and PATH"]
    : error.code === "EACCES" ? ["it is not an executable file", "check its name and its permissions"]
    : error.code === "E2BIG" ? ["its arguments and environment are too long", "shorten them"]
    : [error.message, "check that it starts without pycds"];
  return new PycdsError("PROGRAM_NOT_STARTED", "cannot run the program", why, { file, next, cause: error });
}
