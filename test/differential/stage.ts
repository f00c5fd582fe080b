/**
 * Where the cases of one group run under one interpreter: a venv, a folder for
 * each case that is put back to its first state before every run, and one
 * archive of what all of them import.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { venvPython } from "../../src/bench/scratch.ts";
import { cleanEnv } from "../../src/bench/process.ts";
import { checkout } from "../support/built.ts";
import type { TestPython } from "../support/pythons.ts";
import { fixtures } from "./case.ts";
import type { Case } from "./case.ts";
import { runToEnd } from "./process.ts";
import type { Ended } from "./process.ts";
import { copyOfTools } from "./tools.ts";

const pycds = join(checkout, "bin", "pycds");

/** All files of a case are this old, so that no clock decides anything. */
const longAgo = new Date("2024-02-03T04:05:06Z");

/** What a process did: its outputs, its end, and what it left in sys.modules, a text for each process that ended. */
export interface Outcome extends Ended {
  readonly modules: readonly string[];
  /** The same of the processes that it started, sorted: they end when they like. */
  readonly children: readonly string[];
}

export class Stage {
  readonly folder: string;
  readonly python: TestPython;
  readonly venv: string;
  readonly exe: string;
  /** The archive of all cases. */
  readonly archive: string;
  private runs = 0;

  private constructor(python: TestPython) {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), "pycds-differential-")));
    this.python = python;
    this.venv = join(this.folder, "venv");
    this.exe = venvPython(this.venv);
    this.archive = join(this.folder, "cases.pycds");
  }

  /** A venv with the tools where they can be had and are wanted; every case's folder in its first state. */
  static async open(python: TestPython, cases: readonly Case[], withTools: boolean): Promise<Stage> {
    const stage = new Stage(python);
    if (withTools) await copyOfTools(python.exe, stage.venv);
    else must("make a venv", await stage.run([python.exe, "-m", "venv", "--without-pip", stage.venv]));
    const site = join(stage.venv, "lib", `python${python.version}`, "site-packages");
    const digest = (name: string): string => JSON.stringify(join(fixtures, name));
    // exec in a scope of its own: site.py's namespace is not to be changed
    writeFileSync(join(site, "differential.pth"), `import os; P = os.environ.get("DIFFERENTIAL_DIGEST"); S = {}; P and (exec(open(${digest("digest.py")}).read(), S), S["watch"](P, ${digest("../fidelity/picture.py")}))\n`);
    for (const one of cases) await stage.make(one);
    return stage;
  }

  /** The folder in which a case runs. */
  place(one: Case): string {
    return join(this.folder, "cases", one.name);
  }

  private async make(one: Case): Promise<void> {
    const place = this.place(one);
    mkdirSync(place, { recursive: true });
    cpSync(join(fixtures, "library"), place, { recursive: true });
    if (one.isFolder) cpSync(one.source, place, { recursive: true });
    else cpSync(one.source, join(place, "main.py"));
    if (one.prepare !== undefined) must(`prepare ${one.name}`, await this.run([this.exe, one.prepare], { cwd: place, env: this.environment(one) }));
    for (const entry of readdirSync(place, { recursive: true, withFileTypes: true })) {
      if (!entry.isSymbolicLink()) utimesSync(join(entry.parentPath, entry.name), longAgo, longAgo);
    }
    // files that are no Python are part of some cases
    await this.run([this.exe, "-m", "compileall", "-q", place]);
    mkdirSync(join(this.folder, "first"), { recursive: true });
    must("keep the first state", await this.run(["cp", "-a", place, join(this.folder, "first", one.name)]));
  }

  /** Puts a case's folder back to its first state, mtimes included. */
  async reset(one: Case, change?: string): Promise<void> {
    rmSync(this.place(one), { recursive: true, force: true });
    must("put a case back", await this.run(["cp", "-a", join(this.folder, "first", one.name), this.place(one)]));
    if (change !== undefined) must(`change the world of ${one.name}`, await this.run([this.python.exe, "-I", change], { cwd: this.place(one) }));
  }

  /** The environment of a case in every arm, or what all cases have of it; arms add theirs. */
  environment(one: Case | undefined): Record<string, string> {
    if (one === undefined) return { ...plain(), PYTHONHASHSEED: "0" };
    const own = Object.entries(one.env).map(([name, value]): [string, string] => [name, value.replaceAll("FOLDER", this.place(one))]);
    return { ...this.environment(undefined), ...Object.fromEntries(own) };
  }

  /** Runs a case's program, by `command`'s words, after its change to the world. */
  async play(one: Case, command: (python: readonly string[]) => readonly string[], extra: Readonly<Record<string, string>>): Promise<Outcome> {
    await this.reset(one, one.change);
    const cwd = this.place(one);
    const digest = extra["DIFFERENTIAL_DIGEST"] ?? join(this.folder, `digest.${(this.runs += 1)}`);
    const argv = command([this.exe, ...one.run]);
    const { ended, pid } = await runToEnd({ argv, cwd, env: { ...this.environment(one), DIFFERENTIAL_DIGEST: digest, ...extra }, stdin: one.stdin });
    return { ...ended, ...readDigest(digest, pid) };
  }

  /** The second archive of a case that has one. */
  olderArchive(one: Case): string {
    return join(this.folder, `${one.name}.older.pycds`);
  }

  /** What PYCDSARCHIVE names for a case. */
  archives(one: Case): string {
    if (one.layers.length === 0) return this.archive;
    return one.layers.map((layer) => (layer === "older" ? this.olderArchive(one) : this.archive)).join(":");
  }

  /** Builds an archive from what was imported while it was traced. */
  async build(traces: readonly string[], archive: string): Promise<void> {
    const lists = traces.filter((trace) => statSync(trace, { throwIfNoEntry: false })?.isFile() === true).flatMap((trace) => ["--list", trace]);
    must("build the archive", await this.pycds(["build", "--quiet", "--python", this.exe, ...lists, "-o", archive]));
  }

  async pycds(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended> {
    return this.run([process.execPath, pycds, ...args], env === undefined ? {} : { env });
  }

  async run(argv: readonly string[], options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {}): Promise<Ended> {
    const { ended } = await runToEnd({ argv, cwd: options.cwd ?? this.folder, env: options.env ?? plain(), stdin: "" });
    return ended;
  }

  /** A new file name for an arm's log or trace. */
  file(kind: string): string {
    return join(this.folder, `${kind}.${(this.runs += 1)}`);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** This process's environment without what changes Python or PyCDS. */
function plain(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(cleanEnv(process.env))) if (value !== undefined && !name.startsWith("PYTHON")) env[name] = value;
  return env;
}

/** The texts of the processes that wrote into a digest file, without their ids. */
function readDigest(file: string, pid: number | undefined): Pick<Outcome, "modules" | "children"> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return { modules: [], children: [] }; // none ended through atexit
  }
  const texts = text.split("\n\n").filter((part) => part !== "");
  const isMain = (part: string): boolean => part.startsWith(`${pid} `);
  const anonymous = (part: string): string => part.slice(part.indexOf(" ") + 1);
  return { modules: texts.filter(isMain).map(anonymous), children: texts.filter((part) => !isMain(part)).map(anonymous).sort() };
}

export function must(what: string, ended: Ended): void {
  if (ended.status !== 0) throw new Error(`cannot ${what}: status ${ended.status}, ${ended.stdout.slice(-1000)}${ended.stderr.slice(-2000)}`);
}
