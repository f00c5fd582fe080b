/**
 * A small world to change under an archive's feet: an application folder, a
 * library folder on PYTHONPATH, an archive traced and built from them. Each
 * change must leave an archived run doing what a stock run does.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pythonEnvironment } from "../support/pythons.ts";

export const pycds = fileURLToPath(new URL("../../bin/pycds", import.meta.url));

export interface Outcome {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Events of PYCDS_LOG, by kind. */
export interface Events {
  readonly hit: readonly string[];
  readonly miss: readonly string[];
  readonly stale: readonly string[];
  readonly refused: readonly string[];
  readonly summary: string | undefined;
}

export class World {
  readonly folder = mkdtempSync(join(tmpdir(), "pycds-world-"));
  readonly exe: string;
  private runs = 0;

  constructor(exe: string) {
    this.exe = exe;
  }

  path(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  write(name: string, text: string): string {
    const file = this.path(name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  env(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { ...pythonEnvironment(), PYTHONPATH: this.path("lib"), XDG_CACHE_HOME: this.path("cache"), ...extra };
  }

  spawn(argv: readonly string[], extra: Readonly<Record<string, string>> = {}): Outcome {
    const [program, ...args] = argv;
    const done = spawnSync(program ?? "", args, { cwd: this.folder, env: this.env(extra), encoding: "utf8", input: "" });
    return { status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
  }

  stock(args: readonly string[], extra: Readonly<Record<string, string>> = {}): Outcome {
    return this.spawn([this.exe, ...args], extra);
  }

  cli(args: readonly string[], extra: Readonly<Record<string, string>> = {}): Outcome {
    return this.spawn([process.execPath, pycds, ...args], extra);
  }

  /** Runs once so that stock's .pyc files are warm, then traces and builds `app.pycds`. */
  archive(args: readonly string[], buildOptions: readonly string[] = []): string {
    this.must(this.stock(args));
    this.must(this.cli(["trace", "-o", this.path("app.trace"), "--", this.exe, ...args]));
    this.must(this.cli(["build", "--trace", this.path("app.trace"), ...buildOptions, "-o", this.path("app.pycds")]));
    return this.path("app.pycds");
  }

  /** Runs with the archive; the events of that run come along. */
  archived(args: readonly string[], extra: Readonly<Record<string, string>> = {}): { readonly outcome: Outcome; readonly events: Events } {
    const log = this.path(`log.${(this.runs += 1)}`);
    const outcome = this.cli(["run", "-a", this.path("app.pycds"), "--", this.exe, ...args], { PYCDS_LOG: log, ...extra });
    return { outcome, events: readEvents(log) };
  }

  /** As {@link archived}, started with what `pycds run` would set and without its Node process: for many small programs. */
  direct(args: readonly string[], extra: Readonly<Record<string, string>> = {}): { readonly outcome: Outcome; readonly events: Events } {
    const log = this.path(`log.${(this.runs += 1)}`);
    const launch = this.directEnvironment();
    const outcome = this.spawn([this.exe, ...args], { ...launch, PYCDS_LOG: log, ...extra });
    return { outcome, events: readEvents(log) };
  }

  /** What {@link direct} sets, with `extra`. */
  directEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    const native = (name: string): string => fileURLToPath(new URL(`../../build/native/${name}`, import.meta.url));
    return { LD_PRELOAD: native("pycds_launch.so"), PYCDS_LAUNCH_RUNTIME: native("_pycds.so"), PYCDS_LAUNCH_ARCHIVE: this.path("app.pycds"), ...extra };
  }

  must(outcome: Outcome): void {
    if (outcome.status !== 0) throw new Error(`status ${outcome.status}: ${outcome.stderr}`);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function readEvents(log: string): Events {
  let text = "";
  try {
    text = readFileSync(log, "utf8");
  } catch {
    // no event, no file
  }
  const of = (kind: string): string[] =>
    text
      .split("\n")
      .filter((line) => line.startsWith(`pycds: ${kind} `))
      .map((line) => line.slice(`pycds: ${kind} `.length));
  return { hit: of("hit"), miss: of("miss"), stale: of("stale"), refused: of("refused"), summary: of("summary").at(-1) };
}
