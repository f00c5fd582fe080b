/** Every reason why an image would be refused here and now, as far as it can be told without starting it. */
import { xxh3 } from "../base/digest.ts";
import { join } from "node:path";
import { readWarm } from "./read.ts";
import type { WarmImage } from "./read.ts";
import { warmFlag, watchedPrefixes } from "./schema.ts";
import { identityOf, sameStamp, stampOf } from "./stamps.ts";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly user: number;
  readonly mode: number;
  readonly owner: number;
  /** Seconds since 1970. */
  readonly now: number;
}

/** One line a fault; none: it would be used. @throws PycdsError when the file is no image */
export function verifyWarm(bytes: Uint8Array, file: string, around: Surroundings): string[] {
  const image = readWarm(bytes, file);
  const { header } = image;
  const faults: string[] = [];
  const memory = bytes.subarray(image.base + Number(header.tables_size));
  if (xxh3(memory) !== header.memory_digest) faults.push("damaged: its memory does not have its digest");
  if (around.owner !== 0 && around.owner !== around.user) faults.push("it belongs to another user");
  if ((around.mode & 0o022) !== 0) faults.push("others may write it");
  if (header.owner !== around.user) faults.push("it was built for another user");
  if (header.expires !== 0n && around.now >= header.expires) faults.push("it is older than it may become (--rotate)");
  faults.push(...environmentFaults(image, around.env), ...fileFaults(image));
  return faults;
}

function environmentFaults({ header, variables }: WarmImage, env: Surroundings["env"]): string[] {
  const faults = variables.filter(({ name, value }) => env[name] !== value).map(({ name }) => `the environment differs: ${name}`);
  const prefixed = Object.keys(env).filter((name) => env[name] !== undefined && watchedPrefixes.some((prefix) => name.startsWith(prefix)));
  const known = new Set(variables.map(({ name }) => name));
  if (prefixed.length !== header.prefixed_count) faults.push(...prefixed.filter((name) => !known.has(name)).map((name) => `the environment differs: ${name}`));
  return faults;
}

function fileFaults({ header, originals, folders }: WarmImage): string[] {
  const faults: string[] = [];
  for (const { path, mtimeNs, size, digest } of originals) {
    const now = stampOf(path, "");
    if (now.mode === 0) faults.push(`a file is gone: ${path}`);
    else if (now.mtimeNs !== mtimeNs || now.size !== size || identityOf(path).digest !== digest) faults.push(`a file has changed: ${path}`);
  }
  if ((header.flags & warmFlag.sealed) !== 0) return faults;
  for (const { path, stamps } of folders) {
    for (const stamp of stamps) {
      const file = stamp.name === "" ? path : join(path, stamp.name);
      const now = stampOf(file, "");
      if (now.mode === 0 && stamp.mode !== 0) faults.push(`a file is gone: ${file}`);
      else if (!sameStamp(stamp, now)) faults.push(`a file has changed: ${file}`);
    }
  }
  return faults;
}
