/**
 * Gives an x86-64 executable a dynamic linker and a library folder of its own,
 * so that it runs beside another C library than the system's and still is a
 * plain executable: /proc/self/exe, LD_PRELOAD, sys.executable and venv see
 * nothing unusual. (Started as `ld.so --library-path … python` instead,
 * /proc/self/exe is ld.so; with a shell script in front, LD_PRELOAD meets the
 * shell first. patchelf 0.18 moves the start of Debian's ET_EXEC python3.15,
 * which then crashes.)
 *
 * Nothing that exists moves: a new segment at the end holds the linker's path
 * and a copy of the dynamic strings with the folder behind them. Its program
 * header takes the place of PT_GNU_PROPERTY, which only repeats a PT_NOTE, and
 * DT_RPATH takes one of the spare entries that ld leaves in .dynamic. RPATH and
 * not RUNPATH, since it has to hold for what the extension modules need, too.
 */
import { ByteReader, ByteWriter, alignUp } from "../../src/base/bytes.ts";
import { PycdsError } from "../../src/base/errors.ts";

/** Names as in elf.h. */
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_GNU_PROPERTY = 0x6474e553;
const DT_NULL = 0n;
const DT_STRTAB = 5n;
const DT_STRSZ = 10n;
const DT_RPATH = 15n;
const DT_RUNPATH = 29n;
const EM_X86_64 = 62;
const PF_R = 4;
const headerSize = 64;
const programHeaderSize = 56;
const dynamicEntrySize = 16;
const page = 4096;

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly alignment: number;
}

interface DynamicEntry {
  readonly tag: bigint;
  readonly value: bigint;
}

export interface Linkage {
  /** Absolute path of the dynamic linker. */
  readonly linker: string;
  /** Absolute path of the folder that libraries are looked for in first. */
  readonly libraries: string;
}

/**
 * A copy of the executable with another linkage.
 * @throws PycdsError when it is not an x86-64 executable with room for that
 */
export function relink(elf: Uint8Array, linkage: Linkage, file: string): Uint8Array {
  const refuse = (why: string): PycdsError => new PycdsError("ELF_RELINK", "cannot give the executable a dynamic linker of its own", why, { file });
  if (elf.byteLength < headerSize || elf[0] !== 0x7f || String.fromCharCode(...elf.subarray(1, 4)) !== "ELF") throw refuse("not an ELF file");
  const header = new ByteReader(elf, file, 4);
  const [bits, order] = [header.u8(), header.u8()];
  header.offset = 18;
  if (bits !== 2 || order !== 1 || header.u16() !== EM_X86_64) throw refuse("not for x86-64");
  header.offset = 32;
  const table = Number(header.u64());
  header.offset = 54;
  if (header.u16() !== programHeaderSize) throw refuse("program headers of an unknown size");

  const segments = readSegments(new ByteReader(elf, file, table), header.u16());
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
  if (dynamic === undefined || !segments.some((segment) => segment.type === PT_INTERP)) throw refuse("statically linked");
  const spareHeader = segments.findIndex((segment) => segment.type === PT_GNU_PROPERTY);
  if (spareHeader < 0) throw refuse("no program header to spare");
  const entries = readDynamic(new ByteReader(elf, file, dynamic.offset), dynamic.fileSize / dynamicEntrySize);
  const used = entries.findIndex((entry) => entry.tag === DT_NULL);
  // The entry after the one that we take must still end the table.
  if (used < 0 || used + 1 >= entries.length) throw refuse("no dynamic entry to spare");
  if (entries.some((entry) => entry.tag === DT_RPATH || entry.tag === DT_RUNPATH)) throw refuse("it names library folders already");
  const strings = stringTable(elf, file, segments, entries, refuse);

  const loads = segments.filter((segment) => segment.type === PT_LOAD);
  const address = alignUp(Math.max(...loads.map((segment) => segment.address + segment.memorySize)), page) + page;
  const out = new ByteWriter(elf.byteLength + strings.byteLength + 2 * page);
  out.bytes(elf);
  const start = out.align(page);
  const at = (offset: number): number => address + offset - start;
  const linkerAt = out.bytes(zeroEnded(linkage.linker));
  const linkerSize = out.length - linkerAt;
  const stringsAt = out.bytes(strings);
  const folderAt = out.bytes(zeroEnded(linkage.libraries));
  const size = out.length - start;

  const moved = segments.filter((_, index) => index !== spareHeader).map((segment) =>
    segment.type === PT_INTERP ? { ...segment, offset: linkerAt, address: at(linkerAt), fileSize: linkerSize, memorySize: linkerSize } : segment,
  );
  // PT_LOADs have to stand in ascending order.
  const after = moved.findLastIndex((segment) => segment.type === PT_LOAD) + 1;
  moved.splice(after, 0, { type: PT_LOAD, flags: PF_R, offset: start, address, fileSize: size, memorySize: size, alignment: page });
  moved.forEach((segment, index) => writeSegment(out, table + index * programHeaderSize, segment));

  const values = new Map([[DT_STRTAB, BigInt(at(stringsAt))], [DT_STRSZ, BigInt(out.length - stringsAt)]]);
  [...entries.slice(0, used).map(({ tag, value }) => ({ tag, value: values.get(tag) ?? value })), { tag: DT_RPATH, value: BigInt(folderAt - stringsAt) }]
    .forEach(({ tag, value }, index) => {
      out.setU64(dynamic.offset + index * dynamicEntrySize, tag);
      out.setU64(dynamic.offset + index * dynamicEntrySize + 8, value);
    });
  return out.done();
}

function readSegments(reader: ByteReader, count: number): Segment[] {
  return Array.from({ length: count }, () => {
    const [type, flags, offset, address] = [reader.u32(), reader.u32(), Number(reader.u64()), Number(reader.u64())];
    reader.u64(); // the physical address means nothing
    return { type, flags, offset, address, fileSize: Number(reader.u64()), memorySize: Number(reader.u64()), alignment: Number(reader.u64()) };
  });
}

function writeSegment(out: ByteWriter, at: number, segment: Segment): void {
  out.setU32(at, segment.type);
  out.setU32(at + 4, segment.flags);
  const { offset, address, fileSize, memorySize, alignment } = segment;
  [offset, address, address, fileSize, memorySize, alignment].forEach((word, index) => out.setU64(at + 8 + 8 * index, BigInt(word)));
}

function readDynamic(reader: ByteReader, count: number): DynamicEntry[] {
  return Array.from({ length: count }, () => ({ tag: reader.u64(), value: reader.u64() }));
}

function stringTable(elf: Uint8Array, file: string, segments: readonly Segment[], entries: readonly DynamicEntry[], refuse: (why: string) => PycdsError): Uint8Array {
  const value = (tag: bigint): number | undefined => {
    const found = entries.find((entry) => entry.tag === tag)?.value;
    return found === undefined ? undefined : Number(found);
  };
  const address = value(DT_STRTAB);
  const size = value(DT_STRSZ);
  const home = address === undefined ? undefined : segments.find((each) => each.type === PT_LOAD && address >= each.address && address < each.address + each.fileSize);
  if (address === undefined || size === undefined || home === undefined) throw refuse("no dynamic strings");
  return new ByteReader(elf, file, home.offset + address - home.address).take(size);
}

function zeroEnded(text: string): Uint8Array {
  return Buffer.from(`${text}\0`, "utf8");
}
