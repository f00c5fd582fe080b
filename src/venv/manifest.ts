/** What an installation says of itself, and how to know our files where it says nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { magic } from "../image/schema.ts";
import { entryAt, listFolder } from "./files.ts";
import { archiveCopy, archiveFile, dataFolder, formerPthFile, formerPthText, layersFile, manifestFile, packageFolder, pthFile, pthText, runtimeFile, temporaryPrefix } from "./layout.ts";

/** Paths that a manifest may name; anything else is not ours to remove. */
const installedPath = z.union([
  z.enum([pthFile, formerPthFile, runtimeFile, archiveFile, layersFile]),
  z.string().regex(/^pycds\.data\/default-[2-8]\.pycds$/),
  z.string().regex(/^pycds\/[A-Za-z_][A-Za-z0-9_]*\.[a-z]+$/).refine((path) => path !== manifestFile),
]);

const installedFile = z.object({ path: installedPath, size: z.number().int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const manifestSchema = z.object({
  pycds: z.literal("install"),
  version: z.literal(1),
  /** False from before the first file is written until after the last. */
  complete: z.boolean(),
  files: z.array(installedFile),
  /** While an older installation is being replaced: its files. */
  previous: z.array(installedFile),
});

export type InstalledFile = z.infer<typeof installedFile>;
export type Manifest = z.infer<typeof manifestSchema>;

/** What is known about an installation before it is looked at file by file. */
export interface InstallRecord {
  /** `orphaned`: no manifest, but files that can only be ours. */
  readonly state: "none" | "complete" | "partial" | "damaged" | "orphaned";
  readonly files: readonly InstalledFile[];
  /** Files that are ours, though with unknown contents: those of an older version, or without a readable manifest. */
  readonly alsoOurs: readonly string[];
  /** Names with {@link temporaryPrefix}, relative to site-packages. */
  readonly leftovers: readonly string[];
}

/** Reads the manifest, or recognises our files where it is missing or damaged. */
export function readRecord(site: string): InstallRecord {
  const leftovers = findLeftovers(site);
  let text: string;
  try {
    text = readFileSync(join(site, manifestFile), "utf8");
  } catch {
    const orphans = findOrphans(site);
    return { state: orphans.length === 0 ? "none" : "orphaned", files: [], alsoOurs: orphans, leftovers };
  }
  const manifest = parseManifest(text);
  if (manifest !== undefined) {
    const { complete, files, previous } = manifest;
    return { state: complete ? "complete" : "partial", files, alsoOurs: previous.map((file) => file.path), leftovers };
  }
  return { state: "damaged", files: [], alsoOurs: [...new Set([...findOrphans(site), `${packageFolder}/__init__.py`, `${packageFolder}/py.typed`])], leftovers };
}

function parseManifest(text: string): Manifest | undefined {
  try {
    return manifestSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Files that show by their contents that we wrote them. */
function findOrphans(site: string): string[] {
  const tests: readonly (readonly [string, (bytes: Buffer) => boolean])[] = [
    [pthFile, (bytes) => bytes.equals(Buffer.from(pthText))],
    [formerPthFile, (bytes) => bytes.equals(Buffer.from(formerPthText))],
    [runtimeFile, (bytes) => bytes.includes("pycds_start")],
    ...Array.from({ length: 8 }, (_, position) => [archiveCopy(position), isArchive] as const),
    [layersFile, (bytes) => bytes.includes(".pycds\n")],
    [`${packageFolder}/__init__.py`, (bytes) => bytes.includes('sys.modules.get("_pycds")')],
  ];
  const found = tests
    .filter(([path, test]) => {
      const file = join(site, path);
      return entryAt(file)?.isFile() === true && test(readFileSync(file));
    })
    .map(([path]) => path);
  return found.includes(`${packageFolder}/__init__.py`) ? [...found, `${packageFolder}/py.typed`] : found;
}

const isArchive = (bytes: Buffer): boolean => bytes.subarray(0, magic.byteLength).equals(magic);

function findLeftovers(site: string): string[] {
  return ["", packageFolder, dataFolder].flatMap((folder) =>
    listFolder(join(site, folder))
      .filter((name) => name.startsWith(temporaryPrefix))
      .map((name) => join(folder, name)),
  );
}
