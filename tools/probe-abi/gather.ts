/** Asks one interpreter for its ABI: its headers through probe.c, itself through facts.py. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { layoutFaults } from "../../src/abi/check.ts";
import { abiId } from "../../src/abi/load.ts";
import { abiDataSchema } from "../../src/abi/schema.ts";
import type { AbiData } from "../../src/abi/schema.ts";
import { PycdsError } from "../../src/base/errors.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** What facts.py prints and we look at; all else goes into the data unchanged and is checked by its schema. */
const factsSchema = z.looseObject({
  hexversion: z.number(),
  release: z.string(),
  version: z.object({ major: z.number(), minor: z.number() }),
  platform: z.string(),
  flavour: z.enum(["release", "debug", "freethreaded"]),
  minimumStackSize: z.number(),
});

export interface GatherOptions {
  /** C compiler; `cc` unless said otherwise. */
  readonly cc?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * The data of the interpreter `exe`, read anew.
 * @throws PycdsError when it cannot be asked, or what it says is not whole
 */
export function gather(exe: string, options: GatherOptions): AbiData {
  const env = Object.fromEntries(Object.entries(options.env).filter(([name]) => !name.startsWith("PYTHON")));
  const answer = run(exe, ["-I", here("facts.py")], env, "ask the interpreter", "name a working CPython with --python");
  const { include, ...told } = z.looseObject({ include: z.string() }).parse(JSON.parse(answer));
  const facts = factsSchema.parse(told);
  const probe = parseProbe(runProbe(include, options.cc ?? "cc", env));
  if (probe.constants.get("PY_VERSION_HEX") !== facts.hexversion) {
    throw new PycdsError("PROBE_HEADERS", `headers in ${include} are of another version`, `${probe.constants.get("PY_VERSION_HEX")?.toString(16)}, not ${facts.hexversion.toString(16)}`, {
      next: "install the development files of this very interpreter",
    });
  }
  return assemble(facts, probe);
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv, what: string, next: string): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] });
  } catch (cause) {
    const stderr = typeof cause === "object" && cause !== null && "stderr" in cause ? String(cause.stderr).trim() : "";
    const why = stderr !== "" ? stderr : cause instanceof Error ? cause.message : String(cause);
    throw new PycdsError("PROBE_RUN", `cannot ${what}`, why, { file: command, next, cause });
  }
}

/** Compiles and runs probe.c against an include folder. */
function runProbe(include: string, cc: string, env: NodeJS.ProcessEnv): string {
  const folder = mkdtempSync(join(tmpdir(), "pycds-probe-"));
  try {
    const program = join(folder, "probe");
    // -isystem: CPython's headers are not held to our warnings.
    const flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-isystem", include, "-isystem", join(include, "internal")];
    run(cc, [...flags, "-o", program, here("probe.c")], env, "compile the probe", "install a C compiler and the interpreter's headers (python3-dev)");
    return run(program, [], env, "run the probe", "report this as a bug");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Probe {
  readonly structs: Record<string, { size: number; fields: Record<string, { offset: number; size: number; kind: string }> }>;
  readonly state: Record<string, number>;
  readonly constants: ReadonlyMap<string, number>;
  readonly header: string;
}

/** Reads the lines that probe.c's head comment describes. */
export function parseProbe(text: string): Probe {
  const structs: Probe["structs"] = {};
  const state: Record<string, number> = {};
  const constants = new Map<string, number>();
  let header = "";
  for (const line of text.trim().split("\n")) {
    const [what, ...words] = line.split(" ");
    const [a = "", b = "", c = "", d = "", e = ""] = words;
    if (what === "size") structs[a] = { size: Number(b), fields: {} };
    else if (what === "field") (structs[a] ?? fail(line)).fields[b] = { offset: Number(c), size: Number(d), kind: e };
    else if (what === "state") state[a] = Number(b);
    else if (what === "const") constants.set(words.slice(0, -1).join(" "), Number(words.at(-1)));
    else if (what === "header") header = a;
    else fail(line);
  }
  return { structs, state, constants, header };
}

function fail(line: string): never {
  throw new Error(`the probe printed: ${line}`);
}

function assemble(facts: z.infer<typeof factsSchema>, probe: Probe): AbiData {
  const { release, hexversion, minimumStackSize, ...asTold } = facts;
  const constant = (name: string): number => probe.constants.get(name) ?? fail(`no const ${name}`);
  const optional = (name: string): number | undefined => probe.constants.get(name);
  const tag = optional("long sign zero") === undefined
    ? undefined
    : { sizeShift: constant("long non-size bits"), zero: constant("long sign zero"), negative: constant("long sign negative") };
  const kinds = optional("CO_FAST_LOCAL") === undefined
    ? undefined
    : { local: constant("CO_FAST_LOCAL"), cell: constant("CO_FAST_CELL"), free: constant("CO_FAST_FREE") };
  const codeFields = probe.structs["PyCodeObject"]?.fields ?? {};
  const ifField = (field: string, name: string): number | undefined => (field in codeFields ? constant(name) : undefined);
  const data: unknown = {
    ...asTold,
    schema: 1,
    id: abiId({ minor: facts.version.minor, platform: facts.platform, flavour: facts.flavour }),
    probed: { release, hexversion },
    pointerSize: constant("sizeof(void *)"),
    structs: probe.structs,
    strState: probe.state,
    immortalHeader: probe.header,
    gcHeaderSize: constant("gc header"),
    int: { digitBits: constant("PyLong_SHIFT"), digitSize: constant("sizeof(digit)"), tag },
    code: {
      kinds,
      frameSpecials: ifField("co_framesize", "FRAME_SPECIALS_SIZE"),
      initialWarmup: ifField("co_warmup", "QUICKENING_INITIAL_WARMUP_VALUE"),
      minimumStackSize,
    },
    unicodeObjectSize: constant("sizeof(PyUnicodeObject)"),
  };
  const parsed = abiDataSchema.safeParse(data);
  const faults = parsed.success
    ? layoutFaults(parsed.data)
    : parsed.error.issues.map((issue) => `${issue.path.map(String).join(".")}: ${issue.message}`);
  if (!parsed.success || faults.length > 0) {
    throw new PycdsError("PROBE_FACTS", "the probe does not know this CPython whole", faults.join("; "), { next: "teach tools/probe-abi/probe.c its new fields" });
  }
  return parsed.data;
}
