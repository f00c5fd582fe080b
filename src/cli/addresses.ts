/** Where an interpreter has the objects that archives point at. */
import { execFileSync } from "node:child_process";
import { z } from "zod";
import { external } from "../abi/externals.ts";
import type { ExternalType } from "../abi/externals.ts";
import { withoutOurVariables } from "../trace/command.ts";
import type { Context } from "./context.ts";

const types: Readonly<Record<ExternalType, string>> = {
  PyCode_Type: "type((lambda: 0).__code__)", PyUnicode_Type: "str", PyBytes_Type: "bytes", PyTuple_Type: "tuple", PyLong_Type: "int",
  PyFloat_Type: "float", PyComplex_Type: "complex", PyFrozenSet_Type: "frozenset", PySlice_Type: "slice",
};
const singletons = [
  [external.none, "None"], [external.true, "True"], [external.false, "False"], [external.ellipsis, "..."],
  [external.emptyStr, "''"], [external.emptyBytes, "b''"], [external.emptyTuple, "()"], [external.stopIteration, "StopIteration"],
] as const;

/** id() is the address; what is no singleton of this version is another object at each call, and so drops out. */
const program = [
  "import json",
  `named = {${Object.entries(types).map(([name, text]) => `${external.type(name as ExternalType)}: ${text}`).join(", ")}, ${singletons.map(([number, text]) => `${number}: ${text}`).join(", ")}}`,
  `named.update((${external.latin1(0)} + i, chr(i)) for i in range(256))`,
  `named.update((${external.byte(0)} + i, bytes([i])) for i in range(256))`,
  `named.update((${external.smallInt(0)} + i, i) for i in range(-5, 1025))`,
  "print(json.dumps({number: str(id(thing)) for number, thing in named.items()}))",
].join("\n");

/**
 * Addresses by number, of what lies at the same place in two processes: types
 * and static objects of an executable that is not relocatable. Empty for an
 * interpreter that is placed anew at each start, or that does not answer: hints
 * are only ever hints.
 */
export function constantAddresses({ env }: Pick<Context, "env">, exe: string): ReadonlyMap<number, bigint> {
  const ask = (): Map<string, string> => {
    const output = execFileSync(exe, ["-I", "-S", "-c", program], { encoding: "utf8", env: { ...withoutOurVariables(env), PYCDS: "off" }, stdio: ["ignore", "pipe", "ignore"], timeout: 60_000 });
    return new Map(Object.entries(z.record(z.string(), z.string()).parse(JSON.parse(output))));
  };
  try {
    const [first, second] = [ask(), ask()];
    return new Map([...first].filter(([number, address]) => second.get(number) === address).map(([number, address]) => [Number(number), BigInt(address)]));
  } catch {
    return new Map();
  }
}
