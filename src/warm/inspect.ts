/** What an image holds, as data. */
import { z } from "zod";
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
  readonly mappings: readonly { readonly name: string; readonly image: number; readonly original: number; readonly zero: number }[];
}

const metaSchema = z.object({
  python: z.string(), modules: z.array(z.string()), dirtyBytes: z.number(),
  mappings: z.array(z.object({ name: z.string(), address: z.number(), size: z.number() })),
});

/** @throws PycdsError when the file is no image */
export function inspectWarm(bytes: Uint8Array, file: string): WarmSummary {
  const image = readWarm(bytes, file);
  const { header } = image;
  const meta = metaSchema.parse(image.meta);
  const shares = new Map<string, { name: string; image: number; original: number; zero: number }>();
  for (const { address, size, kind } of image.segments) {
    if (kind === segmentKind.vdso) continue;
    const at = Number(address);
    const within = meta.mappings.find((one) => at >= one.address && at < one.address + one.size);
    const name = within === undefined || within.name === "" ? "anonymous" : within.name;
    const share = shares.get(name) ?? { name, image: 0, original: 0, zero: 0 };
    shares.set(name, share);
    if (kind === segmentKind.image) share.image += Number(size);
    else if (kind === segmentKind.original) share.original += Number(size);
    else share.zero += Number(size);
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
  };
}
