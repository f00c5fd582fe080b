/** The meta section: JSON for people and tools, of what the tables do not have. The runtime never reads it. */
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { utf8 } from "./codec.ts";

/**
 * How the archived file of a module is checked; mtime_ns in ns as decimal text, the digest (XXH3) as 16 hex digits;
 * its `file`: of that .pyc, below the folder, instead of the module's own file.
 */
export type ImageStamp =
  | { readonly kind: "source"; readonly mtime: number; readonly size: number }
  | { readonly kind: "pyc"; readonly file: string; readonly mtime_ns: string; readonly size: number }
  | { readonly kind: "digest"; readonly digest: string; readonly size: number; readonly file?: string };

/** A module as the description and the tables tell together. */
export interface ImageModule {
  readonly name: string;
  readonly entry: number;
  readonly unit: number;
  /** Bytes of objects and of relocations. */
  readonly size: number;
  readonly relocations: number;
  /** The module's own file (.py, or .pyc of a sourceless module). */
  readonly file: string;
  readonly traced: boolean;
  readonly stamp: ImageStamp;
}

const metaSchema = z.object({
  /** The version of pycds that built the archive. */
  pycds: z.string(),
  target: z.object({
    abi: z.string(),
    hexversion: z.number(),
    pyc_magic: z.number(),
    flavour: z.enum(["release", "debug", "freethreaded"]),
    platform: z.string(),
    cache_tag: z.string(),
    optimize: z.number(),
  }),
  options: z.object({ sealed: z.boolean(), digest: z.boolean(), relocatable: z.boolean() }),
  /** Name, entry, 1 where it was traced; in unit order. Two names of one file share their entry. The tables have the rest. */
  modules: z.array(z.tuple([z.string(), z.number().int().nonnegative(), z.union([z.literal(0), z.literal(1)])])),
  /** Ascending by name. */
  excluded: z.array(z.object({ name: z.string(), reason: z.string() })),
});

/** What the section itself holds. */
export type StoredMeta = z.infer<typeof metaSchema>;
export type ImageMeta = Omit<StoredMeta, "modules"> & { readonly modules: readonly ImageModule[] };

export function encodeMeta(meta: StoredMeta): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(meta)}\n`);
}

/** @throws PycdsError when the section is not what encodeMeta writes */
export function decodeMeta(bytes: Uint8Array, file: string, offset: number): StoredMeta {
  const fail = (why: string): PycdsError => new PycdsError("IMAGE_META", "cannot read the archive's description", why, { file, offset, next: "build the archive again" });
  const text = utf8(bytes);
  if (text === undefined) throw fail("it is not UTF-8 text");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw fail("it is not JSON");
  }
  const parsed = metaSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw fail(issue === undefined ? "it has another shape" : `${issue.path.join(".")}: ${issue.message}`);
}
