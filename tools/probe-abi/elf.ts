/** The sections of an ELF object file (elf.h), as the compiler leaves them: little-endian, 64 bits, not linked. */
import { ByteReader } from "../../src/base/bytes.ts";
import { PycdsError } from "../../src/base/errors.ts";

/** e_machine, as platform names have it. */
const machines: ReadonlyMap<number, string> = new Map([[62, "x86_64"], [183, "aarch64"]]);
const headerSize = 64;
const SHT_PROGBITS = 1;
const SHT_RELA = 4;

export interface ObjectFile {
  readonly machine: string;
  /** Contents by name, of those that have any. */
  readonly sections: ReadonlyMap<string, Uint8Array>;
}

/** @throws PycdsError ELF_OBJECT when it is no such file, or a section's contents are still to be filled in by a linker */
export function readObject(elf: Uint8Array, file: string): ObjectFile {
  const refuse = (why: string): PycdsError => new PycdsError("ELF_OBJECT", "not an object file that can be read", why, { file });
  if (elf.byteLength < headerSize || Buffer.from(elf.subarray(0, 4)).toString("latin1") !== "\x7fELF") throw refuse("not an ELF file");
  if (elf[4] !== 2 || elf[5] !== 1) throw refuse("not of 64 bits, or big-endian");
  const header = new ByteReader(elf, file, 18);
  const number = header.u16();
  const machine = machines.get(number);
  if (machine === undefined) throw refuse(`machine ${number}`);
  header.offset = 40;
  const table = Number(header.u64());
  header.offset = 58;
  const [entrySize, count, namesIndex] = [header.u16(), header.u16(), header.u16()];
  const headers = Array.from({ length: count }, (_, index) => {
    const at = new ByteReader(elf, file, table + index * entrySize);
    const [nameAt, type] = [at.u32(), at.u32()];
    at.offset += 16; // flags, address
    const [offset, size] = [Number(at.u64()), Number(at.u64())];
    at.u32(); // link
    return { nameAt, type, offset, size, info: at.u32() };
  });
  const contents = ({ offset, size }: { readonly offset: number; readonly size: number }): Uint8Array => new ByteReader(elf, file, offset).take(size);
  const namesHeader = headers[namesIndex];
  if (namesHeader === undefined) throw refuse("no section names");
  const names = Buffer.from(contents(namesHeader));
  const nameOf = (nameAt: number): string => names.toString("latin1", nameAt, names.indexOf(0, nameAt));
  const unfinished = new Set(headers.filter(({ type }) => type === SHT_RELA).map(({ info }) => info));
  const sections = new Map<string, Uint8Array>();
  for (const [index, section] of headers.entries()) {
    if (section.type === SHT_PROGBITS && !unfinished.has(index)) sections.set(nameOf(section.nameAt), contents(section));
  }
  return { machine, sections };
}
