/** What an image holds, as data. */
import { z } from "zod";
import type { Mapping } from "./process.ts";
import { readWarm } from "./read.ts";
import { segmentKind, warmFlag } from "./schema.ts";

export interface WarmSummary {
  readonly python: string;
  readonly created: string;
  readonly expires: string | undefined;
  readonly sealed: boolean;
  readonly interpreter: boolean;
  readonly command: readonly string[];
  readonly segments: number;
  readonly folders: number;
  readonly stamps: number;
  /** Pages that every start writes to, as a start while building showed. */
  readonly hotPages: number;
  readonly variables: readonly string[];
  readonly modules: readonly string[];
  /** Bytes that were neither zero nor a file's in the parked process. */
  readonly dirtyBytes: number;
  /** Bytes of memory in the file. */
  readonly imageBytes: number;
  /** Bytes by mapping, largest share of the image first. Pages of the image and of originals are shared between processes until they are written to. */
  readonly mappings: readonly MappingShare[];
  /** Bytes of Python objects by module, largest first: each counts for the first module, in order of import, that it can be reached from. */
  readonly sizes: readonly { readonly module: string; readonly bytes: number }[];
}

export interface MappingShare {
  readonly name: string;
  readonly image: number;
  readonly original: number;
  readonly zero: number;
  /** Of a running process: bytes that other processes have in memory too, and its own. */
  readonly shared?: number;
  readonly private?: number;
}

const metaSchema = z.object({
  python: z.string(), modules: z.array(z.string()), dirtyBytes: z.number(),
  mappings: z.array(z.object({ name: z.string(), address: z.number(), size: z.number() })),
});

/**
 * @param running mappings of a process that was started from the image
 * @throws PycdsError when the file is no image
 */
export function inspectWarm(bytes: Uint8Array, file: string, running: readonly Mapping[] = []): WarmSummary {
  const image = readWarm(bytes, file);
  const { header } = image;
  const meta = metaSchema.parse(image.meta);
  const nameAt = (at: number): string => {
    const within = meta.mappings.find((one) => at >= one.address && at < one.address + one.size);
    return within === undefined || within.name === "" ? "anonymous" : within.name;
  };
  const shares = new Map<string, { name: string; image: number; original: number; zero: number; shared?: number; private?: number }>();
  for (const { address, size, kind } of image.segments) {
    if (kind === segmentKind.vdso) continue;
    const name = nameAt(Number(address));
    const share = shares.get(name) ?? { name, image: 0, original: 0, zero: 0 };
    shares.set(name, share);
    if (kind === segmentKind.image || kind === segmentKind.copied) share.image += Number(size);
    else if (kind === segmentKind.original) share.original += Number(size);
    else share.zero += Number(size);
  }
  for (const { start, resident } of running) {
    const share = shares.get(nameAt(start));
    if (share === undefined) continue; // mapped behind the restore
    share.shared = (share.shared ?? 0) + resident.shared;
    share.private = (share.private ?? 0) + resident.private;
  }
  const date = (seconds: bigint): string => new Date(Number(seconds) * 1000).toISOString();
  return {
    python: meta.python, created: date(header.created), expires: header.expires === 0n ? undefined : date(header.expires),
    sealed: (header.flags & warmFlag.sealed) !== 0, interpreter: (header.flags & warmFlag.interpreter) !== 0,
    command: image.command, segments: header.segment_count, folders: header.folder_count, stamps: header.stamp_count,
    hotPages: image.hot.reduce((sum, { pages }) => sum + pages, 0),
    variables: image.variables.map(({ name }) => name), modules: meta.modules, dirtyBytes: meta.dirtyBytes,
    imageBytes: bytes.byteLength - image.base - Number(header.tables_size),
    mappings: [...shares.values()].sort((a, b) => b.image - a.image || b.original - a.original),
    sizes: Object.entries(z.record(z.string(), z.number()).parse(image.sizes)).map(([module, size]) => ({ module, bytes: size })).sort((a, b) => b.bytes - a.bytes),
  };
}
