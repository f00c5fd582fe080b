/** Asks one interpreter for its ABI: its headers through probe.c, itself through facts.py. */
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { layoutFaults } from "../../src/abi/check.ts";
import { abiId } from "../../src/abi/load.ts";
import { abiDataSchema } from "../../src/abi/schema.ts";
import type { AbiData } from "../../src/abi/schema.ts";
import { PycdsError } from "../../src/base/errors.ts";
import { compileProbe, run } from "./probe.ts";
import type { Probe } from "./probe.ts";

const factsProgram = fileURLToPath(new URL("facts.py", import.meta.url));

/** What facts.py prints and we look at; all else goes into the data unchanged and is checked by its schema. */
const factsSchema = z.looseObject({
  hexversion: z.number(),
  release: z.string(),
  version: z.object({ major: z.number(), minor: z.number() }),
  platform: z.string(),
  flavour: z.enum(["release", "debug", "freethreaded"]),
  minimumStackSize: z.number(),
  gcThreshold: z.number(),
});

export interface GatherOptions {
  /** C compiler; one for the platform, {@link compilerFor}, unless said otherwise. */
  readonly cc?: string;
  /** The folder of Python.h; where the interpreter says unless said otherwise. */
  readonly include?: string;
  /** `linux-aarch64`, when the layout is to be that of another platform than the interpreter's. */
  readonly platform?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A compiler for a platform: cc on that machine itself, else Debian's name of the cross compiler. */
export function compilerFor(platform: string): string {
  const machine = platform.slice(platform.indexOf("-") + 1);
  const native = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  return machine === native ? "cc" : `${machine}-linux-gnu-gcc`;
}

/**
 * The data of the interpreter `exe`, read anew; with `platform`, of the same
 * CPython on that platform: the layout is the compiler's for it, and what only
 * a running interpreter tells (opcodes, small ints) is this one's, since no
 * part of that depends on the machine.
 * @throws PycdsError when it cannot be asked, or what it says is not whole
 */
export function gather(exe: string, options: GatherOptions): AbiData {
  const env = Object.fromEntries(Object.entries(options.env).filter(([name]) => !name.startsWith("PYTHON")));
  const answer = run(exe, ["-I", factsProgram], env, "ask the interpreter", "name a working CPython with --python");
  const { include: toldInclude, ...told } = z.looseObject({ include: z.string() }).parse(JSON.parse(answer));
  const asked = factsSchema.parse(told);
  const facts = { ...asked, platform: options.platform ?? asked.platform };
  const include = options.include ?? toldInclude;
  const probe = compileProbe({ include, cc: options.cc ?? compilerFor(facts.platform), platform: facts.platform, env });
  const refuse = (what: string, why: string): PycdsError =>
    new PycdsError("PROBE_HEADERS", `headers in ${include} are of another ${what}`, why, { next: "install the development files of this very interpreter" });
  const version = probe.constants.get("PY_VERSION_HEX");
  if (version !== facts.hexversion) throw refuse("version", `${version?.toString(16)}, not ${facts.hexversion.toString(16)}`);
  if (probe.constants.has("Py_TRACE_REFS")) throw new PycdsError("PROBE_FLAVOUR", "a build with Py_TRACE_REFS", "no flavour for it", { next: "use a build without" });
  const flavour = probe.constants.has("Py_GIL_DISABLED") ? "freethreaded" : probe.constants.has("Py_DEBUG") ? "debug" : "release";
  if (flavour !== facts.flavour) throw refuse("flavour", `${flavour}, not ${facts.flavour}`);
  return assemble(facts, asked.platform, probe);
}

function assemble(facts: z.infer<typeof factsSchema>, interpreter: string, probe: Probe): AbiData {
  const { release, hexversion, minimumStackSize, gcThreshold, ...asTold } = facts;
  const constant = (name: string): number => {
    const value = probe.constants.get(name);
    if (value === undefined) throw new Error(`the probe has no const ${name}`);
    return value;
  };
  const optional = (name: string): number | undefined => probe.constants.get(name);
  const tag = optional("long sign zero") === undefined
    ? undefined
    : { sizeShift: constant("long non-size bits"), zero: constant("long sign zero"), negative: constant("long sign negative") };
  const kinds = optional("CO_FAST_LOCAL") === undefined
    ? undefined
    : { local: constant("CO_FAST_LOCAL"), cell: constant("CO_FAST_CELL"), free: constant("CO_FAST_FREE") };
  const legacy = optional("CO_CELL_NOT_AN_ARG") === undefined
    ? undefined
    : { varargs: constant("CO_VARARGS"), varkeywords: constant("CO_VARKEYWORDS"), nofree: constant("CO_NOFREE"), cellNotAnArgument: constant("CO_CELL_NOT_AN_ARG") };
  const collector = optional("gc generations") === undefined
    ? undefined
    : {
        enabled: constant("gc enabled"), debug: constant("gc debug"), generations: constant("gc generations"), packedGenerations: constant("gc packed generations"), generation0: constant("gc generation0"),
        collecting: constant("gc collecting"), callbacks: constant("gc callbacks"),
        longLivedTotal: constant("gc long lived total"), longLivedPending: constant("gc long lived pending"),
        generationSize: constant("gc generation size"), head: constant("gc head"), threshold: constant("gc threshold"), count: constant("gc count"),
        wordSize: constant("gc int"), initialThreshold: gcThreshold,
      };
  const classes = optional("class size") === undefined
    ? undefined
    : {
        wrapperBase: constant("class wrapper base"), slotdefSize: constant("class slotdef size"), slotdefName: constant("class slotdef name"),
        slotdefOffset: constant("class slotdef offset"), slotdefFunction: constant("class slotdef function"), slotdefObject: constant("class slotdef object"),
        wordSize: constant("class int"), dealloc: constant("class dealloc"), flags: constant("class flags"), base: constant("class base"),
        dict: constant("class dict"), alloc: constant("class alloc"), new: constant("class new"), mro: constant("class mro"), vectorcall: constant("class vectorcall"),
        slotsEnd: constant("class slots end"), module: constant("class module"), typeName: constant("class type name"), size: constant("class size"),
      };
  const codeFields = probe.structs["PyCodeObject"]?.fields ?? {};
  const ifField = (field: string, name: string): number | undefined => (field in codeFields ? constant(name) : undefined);
  const data: unknown = {
    ...asTold,
    schema: 1,
    id: abiId({ minor: facts.version.minor, platform: facts.platform, flavour: facts.flavour }),
    probed: { release, hexversion, ...(interpreter === facts.platform ? {} : { interpreter }) },
    pointerSize: constant("sizeof(void *)"),
    structs: probe.structs,
    strState: probe.state,
    immortalHeader: probe.header,
    gcHeaderSize: constant("gc header"),
    collector,
    cfunctionDef: constant("cfunction def"),
    classes,
    int: { digitBits: constant("PyLong_SHIFT"), digitSize: constant("sizeof(digit)"), tag },
    code: {
      kinds,
      legacy,
      frameSpecials: ifField("co_framesize", "FRAME_SPECIALS_SIZE"),
      initialWarmup: ifField("co_warmup", "QUICKENING_INITIAL_WARMUP_VALUE"),
      untracedResume: optional("RESUME_AT_GEN_EXPR_START") === undefined ? undefined : { mask: constant("RESUME_OPARG_LOCATION_MASK"), place: constant("RESUME_AT_GEN_EXPR_START") },
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
