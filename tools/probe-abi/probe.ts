/** Compiles probe.c, for whatever machine, and reads its facts out of the object file; nothing is run. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ByteReader } from "../../src/base/bytes.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { readObject } from "./elf.ts";

/** What probe.c says; its head comment describes the sections. */
export interface Probe {
  readonly structs: Record<string, { size: number; fields: Record<string, { offset: number; size: number; kind: string }> }>;
  /** Mask of each bit field of the str state word. */
  readonly state: Record<string, number>;
  readonly constants: ReadonlyMap<string, number>;
  /** In hex. */
  readonly header: string;
}

export interface ProbeOptions {
  /** The folder of Python.h. */
  readonly include: string;
  readonly cc: string;
  /** `linux-aarch64`: what the object file must be for. */
  readonly platform: string;
  readonly env: NodeJS.ProcessEnv;
}

/** In the order of probe.c's enum. */
const kinds = ["signed", "unsigned", "pointer", "float", "inline"] as const;
const factSize = 80;
const stateNameSize = 32;

/** @throws PycdsError when the headers do not compile, or for another machine than the platform's */
export function compileProbe({ include, cc, platform, env }: ProbeOptions): Probe {
  const folder = mkdtempSync(join(tmpdir(), "pycds-probe-"));
  try {
    const object = join(folder, "probe.o");
    // -isystem: CPython's headers are not held to our warnings. The folder above comes last: Debian's
    // pyconfig.h includes <MULTIARCH/python3.x/pyconfig.h> of the machine that is compiled for.
    const flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-isystem", include, "-isystem", join(include, "internal"), "-idirafter", dirname(include)];
    run(cc, [...flags, "-c", "-o", object, fileURLToPath(new URL("probe.c", import.meta.url))], env, "compile the probe", "install a C compiler for the platform, and the interpreter's headers (python3-dev)");
    const { machine, sections } = readObject(readFileSync(object), object);
    if (!platform.endsWith(`-${machine}`)) {
      throw new PycdsError("PROBE_MACHINE", `${cc} compiles for another machine`, `${machine}, not ${platform}`, { next: "name a compiler for the platform with --cc" });
    }
    return readProbe(sections);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The facts in the sections of a compiled probe. */
export function readProbe(sections: ReadonlyMap<string, Uint8Array>): Probe {
  const section = (name: string): Uint8Array => {
    const bytes = sections.get(name);
    if (bytes === undefined) throw new Error(`the probe has no section ${name}`);
    return bytes;
  };
  const structs: Probe["structs"] = {};
  const constants = new Map<string, number>();
  const facts = new ByteReader(section("pycds_facts"));
  while (facts.remaining > 0) {
    if (facts.remaining < factSize) throw new Error(`${facts.remaining} bytes behind the last fact`);
    const [what, owner, name] = [text(facts.take(8)), text(facts.take(24)), text(facts.take(32))];
    const [value, size, kindNumber] = [Number(facts.i64()), facts.i32(), facts.i32()];
    const kind = kinds[kindNumber];
    const struct = structs[owner];
    if (what === "size") structs[owner] = { size: value, fields: {} };
    else if (what === "field" && struct !== undefined && kind !== undefined) struct.fields[name] = { offset: value, size, kind };
    else if (what === "const") constants.set(name, value);
    else throw new Error(`a fact that is none: ${what} ${owner} ${name} ${value} ${size} ${kindNumber}`);
  }
  const str = structs["PyASCIIObject"];
  const word = str?.fields["state"];
  if (str === undefined || word === undefined) throw new Error("the probe does not know the str state word");
  const state: Record<string, number> = {};
  const states = new ByteReader(section("pycds_state"));
  while (states.remaining > 0) {
    const name = text(states.take(stateNameSize));
    state[name] = new ByteReader(states.take(str.size), undefined, word.offset).u32();
  }
  const header = section("pycds_header").subarray(0, structs["PyObject"]?.fields["ob_type"]?.offset);
  return { structs, state, constants, header: Buffer.from(header).toString("hex") };
}

/** Up to the zero that ends it. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("latin1");
}

/** @returns standard output */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv, what: string, next: string): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] });
  } catch (cause) {
    const stderr = typeof cause === "object" && cause !== null && "stderr" in cause ? String(cause.stderr).trim() : "";
    const why = stderr !== "" ? stderr : cause instanceof Error ? cause.message : String(cause);
    throw new PycdsError("PROBE_RUN", `cannot ${what}`, why, { file: command, next, cause });
  }
}
