/**
 * A world whose programs run with archives at little cost: no Node in between,
 * the launcher's variables are set here. And the comparison that every case of
 * this folder makes: the same program, stock and archived.
 */
import { copyFileSync, openSync, closeSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { openImage } from "../../src/image/reader.ts";
import type { ImageReader } from "../../src/image/reader.ts";
import { traceCommand } from "../../src/trace/command.ts";
import { checkout } from "../support/built.ts";
import { allPythons } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";
import { readEvents, World } from "../validity/world.ts";
import type { Events, Outcome } from "../validity/world.ts";

/** Writes down everything that a program can see of its imports. */
export const snapshot = fileURLToPath(new URL("../../fixtures/fidelity/snapshot.py", import.meta.url));

export interface PlacePython {
  readonly title: string;
  readonly version: string;
  readonly python: TestPython | undefined;
}

/**
 * One release build each of 3.9 and 3.11 to 3.14 under PYCDS_TEST_ALL_PYTHONS=1, of those that PYCDS_TEST_PYTHONS
 * names, else of the oldest and newest forms that importlib has among them; one that is not on this machine is skipped by name.
 */
export function placePythons(): readonly PlacePython[] {
  const found = allPythons().filter(({ flavour }) => flavour === "release");
  const named = process.env["PYCDS_TEST_PYTHONS"] === undefined ? undefined : found.map(({ version }) => version);
  const all = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? ["3.9", "3.11", "3.12", "3.13", "3.14"] : ["3.11", "3.14"];
  return [...new Set(named ?? all)].map((version) => {
    const python = found.find((each) => each.version === version);
    return { title: `CPython ${version}${python === undefined ? " (not on this machine)" : ""}`, version, python };
  });
}

export type Variables = Readonly<Record<string, string>>;

export interface Archived {
  readonly outcome: Outcome;
  readonly events: Events;
  /** The file of events. */
  readonly log: string;
}

let serial = 0;

export class Place extends World {
  private readonly native = (name: string): string => join(checkout, "build/native", name);
  private readonly runtime = { gil: this.native("_pycds.so"), freeThreaded: this.native("_pycds_t.so") };

  /** As `pycds run -a … -- argv`, without making or renewing anything. */
  launched(archives: readonly string[], argv: readonly string[], extra: Variables = {}): Archived {
    const log = this.path(`log.${(serial += 1)}`);
    const command = traceCommand({ command: argv, env: { ...this.env(extra), PYCDS_LOG: log }, launcher: this.native("pycds_launch.so"), runtime: this.runtime, archives, children: false });
    const env = Object.fromEntries(Object.entries(command.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
    return { outcome: this.spawn(command.argv, env), events: readEvents(log), log };
  }

  /** An archive of what `argv` imports. */
  build(name: string, argv: readonly string[], options: readonly string[] = [], extra: Variables = {}): string {
    const trace = this.path(`${name}.trace`);
    const command = traceCommand({ command: argv, env: this.env(extra), launcher: this.native("pycds_launch.so"), runtime: this.runtime, trace, children: false });
    const env = Object.fromEntries(Object.entries(command.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
    this.must(this.spawn(argv, extra)); // so that stock's .pyc files are there
    this.must(this.spawn(command.argv, env));
    this.must(this.cli(["build", "--trace", trace, "--quiet", ...options, "-o", this.path(name)], extra));
    return this.path(name);
  }

  /** What a process sees of its imports of `module`, and what it writes; `before` stands before the script's path. */
  picture(run: (argv: readonly string[]) => Outcome, before: readonly string[], module: string): { readonly outcome: Outcome; readonly picture: string } {
    const out = this.path(`picture.${(serial += 1)}`);
    const outcome = run([...before, snapshot, out, module]);
    return { outcome, picture: outcome.status === 0 ? readFileSync(out, "utf8") : "" };
  }

  /** The same imports stock and from archives: nothing may differ but what the log says. */
  same(archives: readonly string[], exe: readonly string[], module: string, extra: Variables = {}): Events {
    const seeded = { PYTHONHASHSEED: "0", ...extra };
    let events: Events | undefined;
    const stock = this.picture((argv) => this.spawn(argv, seeded), exe, module);
    const archived = this.picture((argv) => {
      const done = this.launched(archives, argv, seeded);
      ({ events } = done);
      return done.outcome;
    }, exe, module);
    expectSame(stock, archived);
    if (events === undefined) throw new Error("nothing ran");
    return events;
  }
}

/** Whether two runs saw and wrote the same; where not, the first difference rather than megabytes. */
export function expectSame(stock: { readonly outcome: Outcome; readonly picture: string }, archived: { readonly outcome: Outcome; readonly picture: string }): void {
  expect(archived.outcome).toEqual(stock.outcome);
  if (archived.picture === stock.picture) return;
  let at = 0;
  while (archived.picture[at] === stock.picture[at]) at += 1;
  const around = (text: string): string => text.slice(Math.max(0, at - 200), at + 200);
  expect(around(archived.picture)).toBe(around(stock.picture));
  expect(archived.picture.length).toBe(stock.picture.length);
}

export function opened(file: string): ImageReader {
  return openImage(readFileSync(file), file);
}

/** Names of the modules whose code an archive holds. */
export function modulesOf(file: string): string[] {
  return opened(file).meta().modules.map(({ name }) => name);
}

/** A copy with one byte of a module's objects changed. */
export function damagedUnit(file: string, module: string, copy: string): string {
  const image = opened(file);
  const row = image.meta().modules.find(({ name }) => name === module);
  const unit = image.units[row?.unit ?? -1];
  if (unit === undefined) throw new Error(`${file} has no ${module}`);
  return flipped(file, copy, image.sections.data.offset + Number(unit.data_offset) + Math.floor(unit.data_size / 2));
}

/** A copy with one byte changed. */
export function flipped(file: string, copy: string, offset: number): string {
  copyFileSync(file, copy);
  const descriptor = openSync(copy, "r+");
  const byte = Buffer.alloc(1);
  readSync(descriptor, byte, 0, 1, offset);
  writeSync(descriptor, Buffer.of(byte.readUInt8() ^ 0xff), 0, 1, offset);
  closeSync(descriptor);
  return copy;
}
