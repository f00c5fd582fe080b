/**
 * What the code constructor makes of marshalled bytecode: initial values of the
 * adaptive counters, and 3.12's superinstructions (Python/specialize.c:
 * _PyCode_Quicken). All versions are one interpreter of two tables.
 */
import { PycdsError } from "../base/errors.ts";
import type { AbiData } from "./schema.ts";

const unitSize = 2;

/** @returns the rule of one version, tables built once */
export function quickener(data: Pick<AbiData, "opcodes" | "superinstructions">): (code: Uint8Array) => Uint8Array {
  const caches = new Uint8Array(256);
  const initial = new Uint16Array(256);
  for (const opcode of Object.values(data.opcodes)) {
    caches[opcode.number] = opcode.caches;
    initial[opcode.number] = opcode.initial;
  }
  /** first << 8 | second → the opcode that takes first's place. */
  const pairs = new Map<number, number>();
  for (const pair of data.superinstructions) pairs.set((opcodeNumber(data, pair.first) << 8) | opcodeNumber(data, pair.second), pair.number);

  return (code) => {
    if (code.byteLength % unitSize !== 0) throw malformed(`${code.byteLength} bytes are no whole number of code units`, code.byteLength);
    const quick = Uint8Array.from(code);
    /** Original opcode right before this unit; none after inline caches. */
    let previous: number | undefined;
    for (let at = 0; at < code.byteLength; at += unitSize) {
      const op = code[at] ?? 0;
      const units = caches[op] ?? 0;
      if (units > 0) {
        if (units * unitSize > code.byteLength - at - unitSize) throw malformed(`opcode ${op} lacks its inline cache`, at);
        const value = initial[op] ?? 0;
        quick[at + 2] = value & 0xff;
        quick[at + 3] = value >> 8;
        at += units * unitSize;
        previous = undefined;
        continue;
      }
      const joined = previous === undefined ? undefined : pairs.get((previous << 8) | op);
      if (joined !== undefined) quick[at - unitSize] = joined;
      previous = op;
    }
    return quick;
  };
}

/** @throws when the data has no such opcode (our bug: the data is generated whole) */
export function opcodeNumber(data: Pick<AbiData, "opcodes">, name: string): number {
  const opcode = data.opcodes[name];
  if (opcode === undefined) throw new Error(`ABI data without opcode ${name}`);
  return opcode.number;
}

function malformed(why: string, offset: number): PycdsError {
  return new PycdsError("BYTECODE_MALFORMED", "cannot quicken bytecode", why, { offset, next: "compile the module again" });
}
