/**
 * Results of pure functions as the image's tables: the inputs as texts to be
 * compared, patterns' results as bytes, and a unit for the code of each source
 * string, which the runtime copies at each use.
 */
import type { Abi } from "../abi/types.ts";
import { ByteWriter } from "../base/bytes.ts";
import { xxh3 } from "../base/digest.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import { buildModuleGraph } from "../graph/build.ts";
import { NameTable } from "../graph/names.ts";
import type { RecordOf } from "../image/codec.ts";
import { buildHashTable, pureHash } from "../image/hash.ts";
import { encodePattern } from "../image/pure.ts";
import { mostUses, pureKind } from "../image/schema.ts";
import { layOutModule } from "../layout/layout.ts";
import { readMarshal } from "../pyc/marshal.ts";
import { packUnit } from "./record.ts";
import { heldUnit } from "./stored.ts";
import type { StoredUnit } from "./stored.ts";
import type { PatternInput, PureInput, SourceInput } from "./types.ts";

/** A source string whose code was laid out. */
interface CompiledSource {
  readonly input: SourceInput;
  readonly unit: StoredUnit;
}

export interface CompiledPures {
  readonly patterns: readonly PatternInput[];
  readonly sources: readonly CompiledSource[];
}

/** Lays out what can be; the rest stays with stock, as if it had not been traced. */
export function compilePures(pures: readonly PureInput[], abi: Abi): CompiledPures {
  const patterns: PatternInput[] = [];
  const sources: CompiledSource[] = [];
  for (const input of pures) {
    if (input.kind === "pattern") {
      patterns.push(input);
      continue;
    }
    const unit = compileSource(input, abi);
    if (unit !== undefined) sources.push({ input, unit });
  }
  return { patterns, sources };
}

function compileSource(input: SourceInput, abi: Abi): StoredUnit | undefined {
  try {
    const { value } = readMarshal(input.code, { minor: abi.version.minor });
    if (value.kind !== "code") return undefined;
    const names = new NameTable();
    const graph = buildModuleGraph(value, { ...abi, sharesBytes: true }, names);
    return graph.kind === "excluded" ? undefined : heldUnit(packUnit(layOutModule(graph, abi), names, abi));
  } catch (error) {
    if (error instanceof PycdsError && error.exit !== exitCode.bug) return undefined;
    throw error;
  }
}

export interface PureTables {
  readonly pures: readonly RecordOf<"Pure">[];
  readonly pureHash: Uint32Array;
  readonly pureData: Uint8Array;
}

interface Row {
  readonly kind: number;
  readonly flags: number;
  readonly text: Uint8Array;
  /** Pattern: its bytes. Source: the unit's number. */
  readonly result: Uint8Array | number;
  readonly uses: number;
}

/** @param firstUnit number of the first source's unit */
export function pureTables({ patterns, sources }: { readonly patterns: CompiledPures["patterns"]; readonly sources: readonly Pick<CompiledSource, "input">[] }, firstUnit: number): PureTables {
  const rows: Row[] = [
    ...patterns.map(({ pattern, bytes, flags, result }) => ({
      kind: bytes ? pureKind.bytesPattern : pureKind.strPattern, flags, text: Buffer.from(pattern, bytes ? "latin1" : "utf8"), result: encodePattern(result), uses: 0,
    })),
    ...sources.map(({ input }, number) => ({
      kind: pureKind[input.mode], flags: input.flags, text: Buffer.from(input.source, "utf8"), result: firstUnit + number, uses: Math.min(Math.max(input.uses, 1), mostUses),
    })),
  ].toSorted((a, b) => a.kind - b.kind || a.flags - b.flags || Buffer.compare(a.text, b.text));
  const data = new ByteWriter(1 << 16);
  const pures = rows.map(({ kind, flags, text, result, uses }) => {
    const at = data.align(4);
    data.bytes(text);
    const common = { hash: pureHash(kind, flags, text), kind, flags, text: at, text_size: text.byteLength, uses, reserved: 0 };
    if (typeof result === "number") return { ...common, digest: 0n, result, result_size: 0 };
    const place = data.align(4);
    data.bytes(result);
    return { ...common, digest: xxh3(result), result: place, result_size: result.byteLength };
  });
  return { pures, pureHash: buildHashTable(pures.map(({ hash }) => hash)), pureData: data.done().slice() };
}
