/** Which ABI is built for. */
import { abiId, knownAbis, loadAbi } from "../abi/load.ts";
import type { Abi } from "../abi/types.ts";
import type { InterpreterFacts } from "../archive/collect.ts";
import { PycdsError } from "../base/errors.ts";

/** @throws PycdsError ABI_UNKNOWN */
export function abiOf(interpreter: InterpreterFacts): Abi {
  return loadAbi(abiId({ minor: (interpreter.hexversion >>> 16) & 0xff, platform: interpreter.platform, flavour: interpreter.flavour }));
}

/** `cpython-3.13-linux-aarch64`, or with `-debug`, `-freethreaded` behind it. */
export function targetAbi(target: string): Abi {
  const known = knownAbis();
  const id = [`${target}-release`, target].find((candidate) => known.includes(candidate));
  if (id !== undefined) return loadAbi(id);
  const shown = known.map((one) => one.replace(/-release$/, ""));
  throw new PycdsError("ABI_UNKNOWN", `cannot build for ${target}`, "there is no layout data for it", { next: `choose one of ${shown.join(", ")}` });
}
