/** What a shared library is linked with. */
import { readFileSync } from "node:fs";

export interface Linkage {
  /** DT_SONAME: the name by which others need it. */
  readonly soname: string | undefined;
  /** DT_NEEDED. */
  readonly needed: readonly string[];
}

const programHeader = { load: 1, dynamic: 2 } as const;
const dynamicTag = { needed: 1n, stringTable: 5n, soname: 14n } as const;

/** Reads the dynamic section (elf(5)); undefined for what is no 64-bit little-endian ELF file with one. */
export function linkageOf(file: string): Linkage | undefined {
  try {
    return parse(readFileSync(file));
  } catch {
    return undefined; // gone, unreadable, cut off
  }
}

function parse(bytes: Buffer): Linkage | undefined {
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return undefined;
  const [at, size, count] = [Number(bytes.readBigUInt64LE(32)), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  const headers = Array.from({ length: count }, (_, index) => at + index * size).map((header) => ({
    type: bytes.readUInt32LE(header), offset: Number(bytes.readBigUInt64LE(header + 8)), address: Number(bytes.readBigUInt64LE(header + 16)), size: Number(bytes.readBigUInt64LE(header + 32)),
  }));
  const dynamic = headers.find(({ type }) => type === programHeader.dynamic);
  if (dynamic === undefined) return undefined;
  const entries: { tag: bigint; value: number }[] = [];
  for (let entry = dynamic.offset; entry < dynamic.offset + dynamic.size; entry += 16) {
    const tag = bytes.readBigInt64LE(entry);
    if (tag === 0n) break;
    entries.push({ tag, value: Number(bytes.readBigUInt64LE(entry + 8)) });
  }
  const table = entries.find(({ tag }) => tag === dynamicTag.stringTable)?.value;
  const load = headers.find(({ type, address, size: room }) => type === programHeader.load && table !== undefined && table >= address && table < address + room);
  if (table === undefined || load === undefined) return undefined;
  const strings = table - load.address + load.offset;
  const text = (offset: number): string => bytes.toString("utf8", strings + offset, bytes.indexOf(0, strings + offset));
  const soname = entries.find(({ tag }) => tag === dynamicTag.soname);
  return { soname: soname === undefined ? undefined : text(soname.value), needed: entries.filter(({ tag }) => tag === dynamicTag.needed).map(({ value }) => text(value)) };
}
