/** Whether an archive is worth building again after a run. */
import { existsSync, readFileSync } from "node:fs";
import { statFacts } from "../archive/collect-view.ts";
import type { InterpreterFacts } from "../archive/collect.ts";
import { isStale } from "../archive/fresh.ts";
import { pycdsVersion } from "../archive/version.ts";
import { hex } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { freshnessOptions, sameFreshness } from "../image/freshness.ts";
import type { ImageModule } from "../image/meta.ts";
import type { ImageReader } from "../image/reader.ts";
import { openImage } from "../image/reader.ts";
import { pureKind } from "../image/schema.ts";
import { mergeTraces } from "../trace/read.ts";
import type { Trace, TraceModule } from "../trace/types.ts";
import { abiOf } from "./target.ts";
import { shortHash } from "./cache.ts";
import { checkInput } from "./files.ts";

/** Modules that stock found and loaded, though their code could be archived. */
export function unservedModules(trace: Trace): readonly TraceModule[] {
  return trace.modules.filter(({ kind, file, served }) => served !== true && (kind === "source" || kind === "sourceless") && file?.startsWith("/") === true);
}

/** Stands for these modules in the state that their files are in, and for what would archive them. */
export function unservedKey(unserved: readonly TraceModule[]): string {
  return shortHash(
    pycdsVersion,
    unserved.map(({ module, file }) => {
      const facts = statFacts(file ?? "");
      return [module, file, String(facts?.mtimeNs), facts?.size];
    }),
  );
}

export interface RenewalRequest {
  readonly archive: string;
  /** Archives below it; what they hold it need not have. */
  readonly bases: readonly string[];
  readonly interpreter: InterpreterFacts;
  readonly optimize: number;
  readonly trace: Trace;
  readonly unserved: readonly TraceModule[];
}

/** What an archive is to be built from. */
export interface Renewal {
  readonly trace: Trace;
  /** Modules to keep that this and earlier runs did not import. */
  readonly further: readonly TraceModule[];
  readonly sealed: boolean;
  readonly digest: boolean;
  readonly relocatable: boolean;
}

/**
 * What the archive is to be built from, or undefined when it is good as it is.
 * Some modules are always stock's: those imported before the runtime starts,
 * and those that can't be archived. They are no reason to build again.
 */
export function renewal(request: RenewalRequest): Renewal | undefined {
  const bases = request.bases.flatMap((archive) => usableImage({ ...request, archive }) ?? []);
  // layers must agree on what a change is: one for use above a base goes by what the base goes by
  const asked = freshnessOptions(bases[0]?.header.required_features ?? 0n);
  const anew: Renewal = { trace: request.trace, further: [], ...asked, relocatable: false };
  if (!existsSync(request.archive)) return anew;
  checkInput(request.archive, "cannot renew the archive"); // a folder, a FIFO: not ours to replace
  const image = usableImage(request);
  if (image === undefined) return anew;
  const meta = image.meta();
  if (bases.length > 0 && !sameFreshness(meta.options, asked)) return anew;
  const holders = [meta, ...bases.map((base) => base.meta())].flatMap(({ modules }) => modules);
  const byFile = new Map<string, ImageModule[]>();
  for (const module of holders) byFile.set(module.file, [...(byFile.get(module.file) ?? []), module]);
  const excluded = new Set(meta.excluded.map(({ name }) => name));
  const helps = meta.pycds !== pycdsVersion || request.unserved.some(({ module, file }) => {
    const archived = byFile.get(file ?? "");
    return archived === undefined ? !excluded.has(module) && statFacts(file ?? "")?.kind === "file" : archived.every((each) => isStale(each));
  });
  if (!helps) return undefined;
  const [traced, further] = [true, false].map((wanted) => meta.modules.filter((module) => module.traced === wanted).map(asTraced));
  const before: Trace = { headers: [], modules: traced ?? [], missing: [], sysPath: image.folders.map((folder) => image.string(folder.path)), ...pureInputs(image) };
  // the new trace first: its order is the latest; nothing is lost by a run that imports less
  return { trace: mergeTraces([request.trace, before]), further: further ?? [], ...meta.options };
}

/** What an archive has results of, as a trace has it; none of it is lost either. */
function pureInputs(image: ImageReader): Pick<Trace, "sources" | "patterns"> {
  const modes = { [pureKind.exec]: "exec", [pureKind.eval]: "eval", [pureKind.single]: "single" } as const;
  const sources: Trace["sources"][number][] = [];
  const patterns: Trace["patterns"][number][] = [];
  for (const pure of image.pures) {
    const { kind, flags, uses } = pure;
    const text = Buffer.from(image.pureText(pure));
    if (kind === pureKind.strPattern || kind === pureKind.bytesPattern) {
      const bytes = kind === pureKind.bytesPattern;
      patterns.push({ pattern: text.toString(bytes ? "latin1" : "utf8"), bytes, flags });
    } else if (kind === pureKind.exec || kind === pureKind.eval || kind === pureKind.single) {
      sources.push({ source: text.toString("utf8"), mode: modes[kind], flags, calls: uses });
    }
  }
  return { sources, patterns };
}

function asTraced({ name, file }: ImageModule): TraceModule {
  return { module: name, kind: file.endsWith(".pyc") ? "sourceless" : "source", file, path: null };
}

/** The archive, if it is sound and for this interpreter. */
function usableImage({ archive, interpreter, optimize }: RenewalRequest): ImageReader | undefined {
  let image: ImageReader;
  try {
    image = openImage(readFileSync(archive), archive);
  } catch (error) {
    if (error instanceof PycdsError) return undefined;
    throw error;
  }
  const { header } = image;
  const fits =
    header.hexversion === interpreter.hexversion && header.pyc_magic === interpreter.pycMagic && header.optimize === optimize &&
    hex(header.layout_digest) === hex(abiOf(interpreter).digest);
  return fits ? image : undefined;
}
