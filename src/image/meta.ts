/** The meta section: JSON for people and tools. The runtime never reads it. */
import { z } from "zod";
import { PycdsError } from "../base/errors.ts";
import { utf8 } from "./codec.ts";

const stamp = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("source"), mtime: z.number(), size: z.number() }),
  /** mtime in ns, as decimal text: it does not fit into a JSON number. */
  z.object({ kind: z.literal("pyc"), file: z.string(), mtime_ns: z.string(), size: z.number() }),
  /** XXH3 as 16 hex digits; `file`: of that .pyc, below the folder, instead of the module's own file. */
  z.object({ kind: z.literal("digest"), digest: z.string(), size: z.number(), file: z.string().optional() }),
]);

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
  /** In unit order; two names of one file share entry and unit. */
  modules: z.array(
    z.object({
      name: z.string(),
      entry: z.number(),
      unit: z.number(),
      /** Bytes of objects and of relocations. */
      size: z.number(),
      relocations: z.number(),
      /** The module's own file (.py, or .pyc of a sourceless module). */
      file: z.string(),
      traced: z.boolean(),
      stamp,
    }),
  ),
  /** Ascending by name. */
  excluded: z.array(z.object({ name: z.string(), reason: z.string() })),
});

export type ImageMeta = z.infer<typeof metaSchema>;
export type ImageModule = ImageMeta["modules"][number];
export type ImageStamp = z.infer<typeof stamp>;

export function encodeMeta(meta: ImageMeta): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(meta)}\n`);
}

/** @throws PycdsError when the section is not what encodeMeta writes */
export function decodeMeta(bytes: Uint8Array, file: string, offset: number): ImageMeta {
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
