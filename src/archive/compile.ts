/** One module from .pyc bytes to a record: its unit, or the reason why it stays with stock. */
import type { Abi } from "../abi/types.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import { buildModuleGraph } from "../graph/build.ts";
import { NameTable } from "../graph/names.ts";
import { layOutModule } from "../layout/layout.ts";
import { readPyc } from "../pyc/pyc.ts";
import { packReason, packUnit } from "./record.ts";
import type { UnitRecord } from "./record.ts";
import type { TargetInfo } from "./types.ts";

export function minorOf(target: TargetInfo): number {
  return (target.hexversion >>> 16) & 0xff;
}

/** The clause for people, without the file: reasons go into the archive, paths of the build machine do not. */
function reasonOf(error: PycdsError): string {
  return `${error.message}: ${error.why}${error.offset === undefined ? "" : ` (offset ${error.offset})`}`;
}

/** What compileModule is given of a module. */
export interface PycToCompile {
  readonly bytes: Uint8Array;
  readonly file: string;
  readonly kind: "source" | "sourceless";
}

/** Depends on the .pyc's contents (but the stamp in its header), its kind and the layout data alone. */
export function compileModule({ bytes, file, kind }: PycToCompile, abi: Abi): UnitRecord {
  try {
    const pyc = readPyc(bytes, { file, expectMagic: abi.pycMagic, minor: abi.version.minor });
    const names = new NameTable();
    // only SourceLoader.get_code makes co_filename the path that was found (_compile_bytecode, source_path)
    const graph = buildModuleGraph(pyc.code, kind === "sourceless" ? { ...abi, keepsFilename: true } : abi, names);
    if (graph.kind === "excluded") return packReason(graph.reason);
    return packUnit(layOutModule(graph, abi), names, abi);
  } catch (error) {
    // A bad .pyc costs its module, never the build; anything else is our bug and must be seen.
    if (error instanceof PycdsError && error.exit !== exitCode.bug) return packReason(reasonOf(error));
    throw error;
  }
}
