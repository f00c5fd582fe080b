/** A stopped process, seen through /proc: its mappings, the state of its pages, its memory. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { PycdsError } from "../base/errors.ts";
import { pageSize } from "./schema.ts";

/** One line of /proc/PID/smaps with what belongs to it. Addresses are below 2^47, so numbers hold them. */
export interface Mapping {
  readonly start: number;
  readonly end: number;
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly protection: number;
  readonly shared: boolean;
  readonly offset: number;
  /** The file's path, a name in brackets, or empty. */
  readonly name: string;
  /** The file has no name any more. */
  readonly deleted: boolean;
  /** Two-letter flags, such as `wf` (wiped on fork). */
  readonly flags: ReadonlySet<string>;
  readonly protectionKey: number;
  /** Bytes in memory: those that other processes have too, and its own. */
  readonly resident: { readonly shared: number; readonly private: number };
}

/** What is at a page. */
export const pageState = {
  /** Nothing was ever written or read there: zero, or the file's contents. */
  absent: 0,
  /** The file's own page. */
  file: 1,
  /** The process's own copy, or anonymous memory. */
  own: 2,
} as const;

export interface ProcessMemory {
  /** Fills the whole of `into` from an address. */
  read(address: number, into: Uint8Array): void;
  /** {@link pageState} of each page from an address on. */
  pages(address: number, count: number): Uint8Array;
}

const head = /^([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ \d+ *(.*)$/;

/** Reads the text of /proc/PID/smaps (proc(5)). */
export function parseMappings(text: string): Mapping[] {
  const found: { -readonly [K in keyof Mapping]: Mapping[K] }[] = [];
  for (const line of text.split("\n")) {
    const words = head.exec(line);
    if (words !== null) {
      const [, start = "", end = "", r, w, x, sharing, offset = "", path = ""] = words;
      // the kernel writes a newline in a path as \012
      const name = path.replace(/ \(deleted\)$/, "").replaceAll("\\012", "\n");
      found.push({
        start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), offset: Number.parseInt(offset, 16),
        protection: (r === "r" ? 1 : 0) | (w === "w" ? 2 : 0) | (x === "x" ? 4 : 0),
        shared: sharing === "s", name, deleted: path.endsWith(" (deleted)"), flags: new Set(), protectionKey: 0, resident: { shared: 0, private: 0 },
      });
      continue;
    }
    const last = found.at(-1);
    if (last === undefined) continue;
    if (line.startsWith("VmFlags:")) last.flags = new Set(line.slice(8).trim().split(/\s+/));
    const kilobytes = /^(Shared|Private)_(?:Clean|Dirty): +(\d+) kB/.exec(line);
    if (kilobytes !== null) {
      const bytes = 1024 * Number(kilobytes[2]);
      const { shared, private: own } = last.resident;
      last.resident = kilobytes[1] === "Shared" ? { shared: shared + bytes, private: own } : { shared, private: own + bytes };
    }
    if (line.startsWith("ProtectionKey:")) last.protectionKey = Number.parseInt(line.slice(14), 10);
  }
  return found;
}

const present = 1n << 63n;
const swapped = 1n << 62n;
const ofFile = 1n << 61n;

/** One word of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
export function stateOfPage(word: bigint): number {
  if ((word & (present | swapped)) === 0n) return pageState.absent;
  // bit 61: a page of a file or shared anonymous; a private copy is neither. Swapped pages are copies.
  return (word & present) !== 0n && (word & ofFile) !== 0n ? pageState.file : pageState.own;
}

/** The mappings of a process. @throws PycdsError WARM_MEMORY */
export function mappingsOf(pid: number): Mapping[] {
  return parseMappings(readFileSync(`/proc/${pid}/smaps`, "utf8"));
}

/** Opens the memory of a process that does not run, for as long as `use` takes. @throws PycdsError WARM_MEMORY */
export async function withMemory<T>(pid: number, use: (memory: ProcessMemory) => Promise<T>): Promise<T> {
  const files: number[] = [];
  const open = (name: string): number => {
    try {
      const file = openSync(`/proc/${pid}/${name}`, "r");
      files.push(file);
      return file;
    } catch (cause) {
      throw new PycdsError("WARM_MEMORY", "cannot read the parked process's memory", "the system does not allow it", {
        file: `/proc/${pid}/${name}`, next: "see kernel.yama.ptrace_scope (0 or 1 is needed), or build as another user", cause,
      });
    }
  };
  const memoryFile = open("mem");
  const mapFile = open("pagemap");
  try {
    return await use({
      read(address, into) {
        for (let done = 0; done < into.byteLength;) {
          const got = readSync(memoryFile, into, done, into.byteLength - done, address + done);
          if (got === 0) throw memoryFault(address + done);
          done += got;
        }
      },
      pages(address, count) {
        const words = new BigUint64Array(count);
        const bytes = new Uint8Array(words.buffer);
        const got = readSync(mapFile, bytes, 0, bytes.byteLength, (address / pageSize) * 8);
        if (got !== bytes.byteLength) throw memoryFault(address);
        return Uint8Array.from(words, stateOfPage);
      },
    });
  } finally {
    for (const file of files) closeSync(file);
  }
}

function memoryFault(address: number): PycdsError {
  return new PycdsError("WARM_MEMORY", "cannot read the parked process's memory", `nothing can be read at 0x${address.toString(16)}`, { next: "try again" });
}
