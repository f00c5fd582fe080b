/** Unpacks zip files (jars), so that no unzip or JDK is needed. Neither zip64 nor encryption: an archive with either is refused. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { crc32, inflateRawSync } from "node:zlib";
import { ByteReader } from "../../src/base/bytes.ts";
import { PycdsError } from "../../src/base/errors.ts";

const localSignature = 0x04034b50;
const centralSignature = 0x02014b50;
const endSignature = 0x06054b50;
const endSize = 22;
const stored = 0;
const deflated = 8;

export interface ZipEntry {
  readonly name: string;
  readonly data: Uint8Array;
}

/**
 * The files of an archive whose names begin with `prefix`.
 * @throws PycdsError ZIP when the archive is damaged or of an unknown kind
 */
export function* zipEntries(zip: Uint8Array, file: string, prefix = ""): Generator<ZipEntry> {
  const refuse = (why: string, offset?: number): PycdsError => new PycdsError("ZIP", "cannot read archive", why, { file, ...(offset === undefined ? {} : { offset }) });
  const end = Buffer.from(zip.buffer, zip.byteOffset, zip.byteLength).lastIndexOf("PK\x05\x06", undefined, "latin1");
  if (end < 0 || end + endSize > zip.byteLength) throw refuse("no end of central directory");
  const tail = new ByteReader(zip, file, end);
  if (tail.u32() !== endSignature || tail.u32() !== 0) throw refuse("in several parts", end);
  tail.u16();
  const count = tail.u16();
  tail.u32();
  const central = new ByteReader(zip, file, tail.u32());
  for (let index = 0; index < count; index++) {
    const at = central.offset;
    if (central.u32() !== centralSignature) throw refuse("no directory entry where one should be", at);
    central.take(4);
    const flags = central.u16();
    const method = central.u16();
    central.take(4);
    const [crc, packed, size] = [central.u32(), central.u32(), central.u32()];
    const [nameSize, extraSize, commentSize] = [central.u16(), central.u16(), central.u16()];
    central.take(8);
    const local = central.u32();
    const name = Buffer.from(central.take(nameSize)).toString("utf8");
    central.take(extraSize + commentSize);
    if (!name.startsWith(prefix) || name.endsWith("/")) continue;
    if ((flags & 1) !== 0 || packed === 0xffffffff || size === 0xffffffff || local === 0xffffffff) throw refuse(`${name} is encrypted or needs zip64`, at);
    const reader = new ByteReader(zip, file, local);
    if (reader.u32() !== localSignature) throw refuse(`no local header of ${name}`, local);
    reader.take(22);
    reader.take(reader.u16() + reader.u16());
    const raw = reader.take(packed);
    if (method !== stored && method !== deflated) throw refuse(`${name} is packed in an unknown way (${method})`, at);
    const data = method === stored ? raw : inflateRawSync(raw);
    if (data.byteLength !== size || crc32(data) !== crc) throw refuse(`${name} is damaged`, local);
    yield { name, data };
  }
}

/** Writes the files below `prefix` into a folder; a name that would leave it is refused. */
export function unpackZip(zip: Uint8Array, file: string, prefix: string, folder: string): number {
  let written = 0;
  for (const { name, data } of zipEntries(zip, file, prefix)) {
    const inner = posix.normalize(name.slice(prefix.length));
    if (inner.startsWith("..") || posix.isAbsolute(inner)) throw new PycdsError("ZIP", "cannot unpack archive", `${name} leads out of the folder`, { file });
    const path = join(folder, inner);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, data);
    written++;
  }
  return written;
}
