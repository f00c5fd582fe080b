/** Writes the executable: the restorer, the tables, and memory copied from the parked process. */
import { writeSync } from "node:fs";
import { ByteWriter, alignUp } from "../base/bytes.ts";
import { xxh3, xxh3Stream } from "../base/digest.ts";
import { PycdsError, exitCode } from "../base/errors.ts";
import { viewOf } from "../image/codec.ts";
import type { RecordOfStruct, StructCodec } from "../image/codec.ts";
import { byteOrderMark, none } from "../image/schema.ts";
import type { Struct } from "../image/schema.ts";
import { warmCodecs } from "./codec.ts";
import type { WarmHeader, WarmState } from "./codec.ts";
import type { Plan } from "./plan.ts";
import type { ProcessMemory } from "./process.ts";
import { hotCapacity, pageSize, segmentKind, slotMark, warmFormatVersion, warmMagic } from "./schema.ts";
import type { FolderStamps, Variable } from "./stamps.ts";
import { identityOf } from "./stamps.ts";

export interface ImageInput {
  /** The restorer's file, as built. */
  readonly restorer: Uint8Array;
  readonly plan: Plan;
  readonly memory: ProcessMemory;
  readonly state: WarmState;
  /** 64 WarmSignal structs. */
  readonly signals: Uint8Array;
  readonly folders: readonly FolderStamps[];
  readonly variables: readonly Variable[];
  readonly prefixed: number;
  /** What is executed when the image is refused: absolute path of a program, and its first arguments. */
  readonly command: readonly string[];
  /** {@link warmFlag} bits. */
  readonly flags: number;
  /** Digests of names, ascending. */
  readonly names: readonly bigint[];
  /** The current folder while building, where sys.path begins with it. */
  readonly folder: string | null;
  readonly owner: number;
  /** Seconds since 1970. */
  readonly created: number;
  readonly expires: number;
  /** A lock file and a command; empty: the image is not renewed. */
  readonly renew: readonly string[];
  /** JSON: bytes of Python objects by module. Asked for last. */
  readonly sizes: () => Promise<Uint8Array>;
  /** For people and tools. */
  readonly meta: unknown;
  /** Ranges of memory whose bytes are written as zeros. */
  readonly erased?: readonly { readonly address: number; readonly size: number }[];
}

export interface Written {
  readonly size: number;
  /** Bytes of memory in the file. */
  readonly memory: number;
}

class Strings {
  private readonly writer = new ByteWriter();
  private readonly known = new Map<string, number>();
  add(text: string): number {
    const found = this.known.get(text);
    if (found !== undefined) return found;
    const bytes = Buffer.from(text, "utf8");
    const at = this.writer.length;
    this.writer.bytes(bytes);
    this.writer.u8(0);
    this.known.set(text, at);
    return at;
  }
  bytes(): Uint8Array {
    return this.writer.done();
  }
}

/** Where the slot's offset stands in the restorer. */
function findSlot(restorer: Uint8Array): number {
  const buffer = Buffer.from(restorer.buffer, restorer.byteOffset, restorer.byteLength);
  const at = buffer.indexOf(slotMark);
  if (at < 0 || buffer.includes(slotMark, at + 1)) {
    throw new PycdsError("WARM_RESTORER", "cannot write the image", "the restorer has not exactly one image slot", { exit: exitCode.bug });
  }
  return at + warmCodecs.slot.offsetOf("image_offset");
}

/** The tables with digest and all; `base` is the image's offset in the file. */
function makeTables(input: ImageInput, base: number): { tables: Uint8Array; header: WarmHeader; data: { address: number; size: number }[] } {
  const writer = new ByteWriter(1 << 16);
  const strings = new Strings();
  strings.add("");
  writer.zeros(warmCodecs.header.size);
  const table = <const S extends Struct>(codec: StructCodec<S>, records: readonly RecordOfStruct<S>[]): number => {
    const at = writer.align(8);
    writer.zeros(codec.size * records.length);
    const view = viewOf(writer.done());
    records.forEach((record, index) => codec.write(view, at + index * codec.size, record));
    return at;
  };
  const bytes = (data: Uint8Array): number => {
    writer.align(8);
    return writer.bytes(data);
  };

  const { plan } = input;
  const mapped = [...new Set(plan.segments.flatMap(({ file }) => (file === undefined ? [] : [file])))];
  const originals = [...mapped, ...plan.embedded];
  const ordered = [...plan.segments].sort((a, b) => order(a, originals) - order(b, originals) || a.address - b.address);
  const data: { address: number; size: number }[] = [];
  let memorySize = 0;
  const place = (address: number, size: number): number => {
    data.push({ address, size });
    memorySize += size;
    return memorySize - size;
  };
  // what is kept apart lies behind all others, so that no neighbour follows it in the file
  const offsets = new Map([false, true].flatMap((apart) => ordered.filter((one) => hasBytes(one) && (one.apart === true) === apart).map((one) => [one, place(one.address, one.size)])));
  const records = ordered.map((one) => ({
    address: BigInt(one.address), size: BigInt(one.size), protection: one.protection, kind: one.kind,
    file: one.file === undefined ? Number(one.anonymous === true) : originals.indexOf(one.file),
    offset: BigInt(offsets.get(one) ?? one.offset ?? 0),
  }));
  const stackOffset = place(plan.stack.saved, plan.stack.high - plan.stack.saved);

  const state_offset = table(warmCodecs.state, [input.state]);
  const signals_offset = bytes(input.signals);
  const segments_offset = table(warmCodecs.segment, records);
  const files_offset = table(warmCodecs.file, originals.map((path) => {
    const { mtimeNs, ctimeNs, size, inode, digest } = identityOf(path);
    return { mtime_ns: mtimeNs, ctime_ns: ctimeNs, size, inode, digest, path: strings.add(path), embedded: mapped.includes(path) ? 0 : 1 };
  }));
  let stampCount = 0;
  const folders_offset = table(warmCodecs.folder, input.folders.map(({ path, stamps }) => {
    stampCount += stamps.length;
    return { path: strings.add(path), first_stamp: stampCount - stamps.length, stamp_count: stamps.length, reserved: 0 };
  }));
  const stamps_offset = table(warmCodecs.stamp, input.folders.flatMap(({ stamps }) => stamps.map((stamp) => ({
    mtime_ns: stamp.mtimeNs, size: stamp.size, name: strings.add(stamp.name), mode: stamp.mode,
  }))));
  const variables_offset = table(warmCodecs.variable, input.variables.map(({ name, value }) => ({
    name: strings.add(name), value: value === undefined ? none : strings.add(value),
  })));
  const names = new ByteWriter();
  for (const digest of input.names) names.u64(digest);
  const names_offset = bytes(names.done());
  const hot_offset = bytes(new Uint8Array(hotCapacity * warmCodecs.hot.size));
  const command = new ByteWriter();
  for (const word of input.command) command.u32(strings.add(word));
  const command_offset = bytes(command.done());
  const renew = new ByteWriter();
  for (const word of input.renew) renew.u32(strings.add(word));
  const renew_offset = bytes(renew.done());
  const vdso = new Uint8Array(plan.vdso?.size ?? 0);
  if (plan.vdso !== undefined) input.memory.read(plan.vdso.address, vdso);
  const vdso_offset = bytes(vdso);
  const folder = strings.add(input.folder ?? "");
  const meta = Buffer.from(JSON.stringify(input.meta), "utf8");
  const meta_offset = bytes(meta);
  const text = strings.bytes();
  const strings_offset = bytes(text);
  const tablesSize = alignUp(writer.length, pageSize);
  writer.zeros(tablesSize - writer.length);

  const tables = writer.done();
  const view = viewOf(tables);
  records.forEach((record, index) => {
    if (hasBytes(record)) warmCodecs.segment.write(view, segments_offset + index * warmCodecs.segment.size, { ...record, offset: record.offset + BigInt(base + tablesSize) });
  });
  const header: WarmHeader = {
    magic: warmMagic, byte_order: byteOrderMark, format_version: warmFormatVersion,
    flags: input.flags,
    header_size: warmCodecs.header.size, file_size: BigInt(base + tablesSize + memorySize), tables_size: BigInt(tablesSize), tables_digest: 0n, memory_digest: 0n,
    created: BigInt(input.created), expires: BigInt(input.expires), owner: input.owner,
    state_offset, signals_offset, segments_offset, segment_count: records.length, files_offset, file_count: originals.length,
    folders_offset, folder_count: input.folders.length, stamps_offset, stamp_count: stampCount,
    variables_offset, variable_count: input.variables.length, prefixed_count: input.prefixed,
    command_offset, command_count: input.command.length,
    strings_offset, strings_size: text.byteLength, vdso_offset, vdso_size: vdso.byteLength, meta_offset, meta_size: meta.byteLength,
    vdso_address: BigInt(plan.vdso?.address ?? 0), stack_low: BigInt(plan.stack.low), stack_high: BigInt(plan.stack.high),
    stack_saved: BigInt(plan.stack.saved), stack_offset: BigInt(base + tablesSize + stackOffset), stack_floor: BigInt(plan.stack.floor),
    names_offset, name_count: input.names.length, folder, hot_offset, hot_count: 0, reserved: 0, renew_offset, renew_count: input.renew.length, sizes_offset: 0n, sizes_size: 0n,
  };
  return { tables, header, data };
}

/** Its memory is in the file. */
function hasBytes({ kind }: { readonly kind: number }): boolean {
  return kind === segmentKind.image || kind === segmentKind.copied;
}

/** Originals first, each file's together. */
function order(segment: Plan["segments"][number], originals: readonly string[]): number {
  return segment.file === undefined ? originals.length : originals.indexOf(segment.file);
}

/** XXH3 of the header with digest 0, and of the rest of the tables, combined by exclusive or: what the restorer computes. */
export function tablesDigest(tables: Uint8Array): bigint {
  const head = Uint8Array.from(tables.subarray(0, warmCodecs.header.size)); // not slice(): a Buffer's is no copy
  viewOf(head).setBigUint64(warmCodecs.header.offsetOf("tables_digest"), 0n, true);
  return xxh3(head) ^ xxh3(tables.subarray(head.byteLength));
}

const chunk = 4 << 20;

/** Writes the whole file through a descriptor that is open for writing and empty. */
export async function writeImage(file: number, input: ImageInput): Promise<Written> {
  const base = alignUp(input.restorer.byteLength, pageSize);
  const restorer = new Uint8Array(base);
  restorer.set(input.restorer);
  viewOf(restorer).setBigUint64(findSlot(input.restorer), BigInt(base), true);
  const { tables, header, data } = makeTables(input, base);

  const digest = await xxh3Stream();
  let at = base + tables.byteLength;
  const buffer = new Uint8Array(chunk);
  for (const { address, size } of data) {
    for (let done = 0; done < size; done += chunk) {
      const bytes = buffer.subarray(0, Math.min(chunk, size - done));
      input.memory.read(address + done, bytes);
      erase(bytes, address + done, input.erased ?? []);
      digest.update(bytes);
      write(file, bytes, at);
      at += bytes.byteLength;
    }
  }
  const sizes = await input.sizes();
  digest.update(sizes);
  write(file, sizes, at);
  const view = viewOf(tables);
  warmCodecs.header.write(view, 0, { ...header, file_size: BigInt(at + sizes.byteLength), sizes_offset: BigInt(at), sizes_size: BigInt(sizes.byteLength), memory_digest: digest.digest() });
  view.setBigUint64(warmCodecs.header.offsetOf("tables_digest"), tablesDigest(tables), true);
  write(file, tables, base);
  write(file, restorer, 0);
  return { size: at + sizes.byteLength, memory: at - base - tables.byteLength };
}

function erase(bytes: Uint8Array, address: number, ranges: NonNullable<ImageInput["erased"]>): void {
  for (const range of ranges) {
    const from = Math.max(range.address, address) - address;
    const to = Math.min(range.address + range.size, address + bytes.byteLength) - address;
    if (from < to) bytes.fill(0, from, to);
  }
}

function write(file: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.byteLength;) done += writeSync(file, bytes, done, bytes.byteLength - done, at + done);
}
