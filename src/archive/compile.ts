/** One module from .pyc bytes to a laid-out unit, or the reason why it stays with stock. */
import type { Abi } from "../abi/types.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import { buildModuleGraph } from "../graph/build.ts";
import type { NameTable } from "../graph/names.ts";
import { layOutModule } from "../layout/layout.ts";
import type { LaidOutUnit } from "../layout/types.ts";
import { readPyc } from "../pyc/pyc.ts";
import type { ModuleInput, TargetInfo } from "./types.ts";

export type Compiled =
  | { readonly kind: "unit"; readonly unit: LaidOutUnit }
  | { readonly kind: "excluded"; readonly reason: string };

export function minorOf(target: TargetInfo): number {
  return (target.hexversion >>> 16) & 0xff;
}

/** The clause for people, without the file: reasons go into the archive, paths of the build machine do not. */
function reasonOf(error: PycdsError): string {
  return `${error.message}: ${error.why}${error.offset === undefined ? "" : ` (offset ${error.offset})`}`;
}

export function compileModule(module: ModuleInput, target: TargetInfo, abi: Abi, names: NameTable): Compiled {
  try {
    const pyc = readPyc(module.pyc, { file: module.pycFile, expectMagic: target.pycMagic & 0xffff, minor: minorOf(target) });
    const graph = buildModuleGraph(pyc.code, abi, names);
    if (graph.kind === "excluded") return { kind: "excluded", reason: graph.reason };
    return { kind: "unit", unit: layOutModule(graph, abi) };
  } catch (error) {
    // A bad .pyc costs its module, never the build; anything else is our bug and must be seen.
    if (error instanceof PycdsError && error.exit !== exitCode.bug) return { kind: "excluded", reason: reasonOf(error) };
    throw error;
  }
}
