/**
 * Fields of a code object that are not, or not just so, in its marshal stream
 * (Objects/codeobject.c: init_code and get_localsplus_counts; to 3.10
 * PyCode_NewWithPosOnlyArgs).
 */
import { opcodeNumber } from "./quicken.ts";
import type { AbiData } from "./schema.ts";
import type { CodeFacts, LegacyCodeFacts, NameFacts } from "./types.ts";

const scalarNames = [
  "ob_size", "co_flags", "co_stacksize", "co_nlocalsplus", "co_nlocals", "co_nplaincellvars", "co_ncellvars", "co_nfreevars", "co_framesize", "co_warmup",
  "_co_firsttraceable",
] as const;
type Scalar = (typeof scalarNames)[number];

/** @returns the rule of one version; the map has only fields that the version has, under their C names */
export function codeScalarRule(data: AbiData): (code: CodeFacts) => ReadonlyMap<string, number> {
  const fields = data.structs.PyCodeObject.fields;
  // 3.11+; before, variables come as three tuples and the stream carries co_nlocals.
  const { kinds, legacy, frameSpecials, initialWarmup, untracedResume, minimumStackSize } = data.code;
  const resume = Object.hasOwn(fields, "_co_firsttraceable") ? opcodeNumber(data, "RESUME") : -1;

  const names = scalarNames.filter((name) => Object.hasOwn(fields, name));

  return (code) => {
    const counts = variableCounts(code.localspluskinds, kinds);
    const variables = legacy === undefined ? undefined : legacyFacts(data, code);
    const stacksize = Math.max(code.stacksize, minimumStackSize);
    const all: Record<Scalar, number | undefined> = {
      ob_size: code.code.byteLength / 2,
      co_flags: legacy === undefined || variables === undefined ? code.flags : cellFlags(code.flags, legacy.nofree, variables),
      co_stacksize: stacksize,
      co_nlocalsplus: code.localspluskinds.byteLength,
      co_nlocals: variables?.nlocals ?? counts?.nlocals,
      co_nplaincellvars: counts?.nplaincellvars,
      co_ncellvars: counts?.ncellvars,
      co_nfreevars: counts?.nfreevars,
      co_framesize: frameSpecials === undefined ? undefined : code.localspluskinds.byteLength + stacksize + frameSpecials,
      co_warmup: initialWarmup,
      _co_firsttraceable: firstTraceable(code.code, resume, untracedResume),
    };
    const scalars = new Map<string, number>();
    for (const name of names) {
      const value = all[name];
      if (value !== undefined) scalars.set(name, value);
    }
    return scalars;
  };
}

/** CO_NOFREE says that there are neither cell nor free variables, whatever the stream says. */
function cellFlags(flags: number, nofree: number, { cellvars, freevars }: LegacyCodeFacts): number {
  return cellvars.length === 0 && freevars.length === 0 ? flags | nofree : flags & ~nofree;
}

/** @returns the rule of {@link Abi.cell2arg} */
export function cell2argRule(data: AbiData): (code: CodeFacts) => readonly number[] | undefined {
  const { legacy } = data.code;
  if (legacy === undefined) return () => undefined;
  return (code) => {
    const { varnames, cellvars } = legacyFacts(data, code);
    const bit = (mask: number): number => ((code.flags & mask) === 0 ? 0 : 1);
    const args = varnames.slice(0, code.argcount + code.kwonlyargcount + bit(legacy.varargs) + bit(legacy.varkeywords));
    // findIndex gives -1 for none; the mark is the version's own.
    const indexes = cellvars.map((cell) => args.findIndex((arg) => sameName(arg, cell)));
    return indexes.every((index) => index < 0) ? undefined : indexes.map((index) => (index < 0 ? legacy.cellNotAnArgument : index));
  };
}

function legacyFacts(data: AbiData, code: CodeFacts): LegacyCodeFacts {
  if (code.legacy === undefined) throw new Error(`${data.id}: a code object without its variables' names`);
  return code.legacy;
}

function sameName(a: NameFacts, b: NameFacts): boolean {
  return a.width === b.width && a.data.length === b.data.length && a.data.every((byte, index) => byte === b.data[index]);
}

interface VariableCounts {
  readonly nlocals: number;
  readonly nplaincellvars: number;
  readonly ncellvars: number;
  readonly nfreevars: number;
}

/** An argument that is also a cell counts as both; a cell that is no local is a plain one. */
function variableCounts(localspluskinds: Uint8Array, bits: AbiData["code"]["kinds"]): VariableCounts | undefined {
  if (bits === undefined) return undefined;
  let [nlocals, nplaincellvars, ncellvars, nfreevars] = [0, 0, 0, 0];
  for (const kind of localspluskinds) {
    if ((kind & bits.local) !== 0) {
      nlocals++;
      if ((kind & bits.cell) !== 0) ncellvars++;
    } else if ((kind & bits.cell) !== 0) {
      ncellvars++;
      nplaincellvars++;
    } else if ((kind & bits.free) !== 0) {
      nfreevars++;
    }
  }
  return { nlocals, nplaincellvars, ncellvars, nfreevars };
}

/** Index of the first RESUME that counts, or the number of units; like init_code, looks at every unit, caches too. */
function firstTraceable(code: Uint8Array, resume: number, untraced: AbiData["code"]["untracedResume"]): number {
  const units = code.byteLength / 2;
  for (let unit = 0; unit < units; unit++) {
    if (code[unit * 2] !== resume) continue;
    if (untraced === undefined || ((code[unit * 2 + 1] ?? 0) & untraced.mask) !== untraced.place) return unit;
  }
  return units;
}
