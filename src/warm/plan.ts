/**
 * Which page of a parked process comes from where: the decision, page by page.
 *
 *   clean page of a file      → the original file
 *   run of zero pages         → anonymous memory
 *   anything else             → the image
 *
 * Short runs between pages of the image go into it too: a mapping costs more than
 * a few pages. What cannot be imaged is a fault, and all faults are reported.
 *
 * Pages of the image are mapped from a file, and a mapping that grows would show the
 * file's next bytes, or nothing behind its end (SIGBUS). malloc's large blocks grow in
 * place (mremap in glibc's realloc, which nobody can come between), so each one's first
 * page is kept apart in the file: it then is a mapping of its own, the kernel does not
 * grow a block that is two mappings (EFAULT), and realloc copies it into new memory. A
 * block of one page is anonymous memory with its contents read into it. What others do
 * to such memory, native/warm/memory.c has first (docs/decisions/0064).
 */
import { PycdsError } from "../base/errors.ts";
import { pageState } from "./process.ts";
import type { Mapping, ProcessMemory } from "./process.ts";
import { pageSize, segmentKind } from "./schema.ts";

export interface PlannedSegment {
  readonly address: number;
  readonly size: number;
  readonly protection: number;
  readonly kind: (typeof segmentKind)[keyof typeof segmentKind];
  /** Of an original: the file and where in it. */
  readonly file?: string;
  readonly offset?: number;
  /** Must not come before its neighbour's pages in the file (see above). */
  readonly apart?: true;
  /** Of an image's: it was anonymous memory. */
  readonly anonymous?: true;
}

export interface Plan {
  /** In address order. */
  readonly segments: readonly PlannedSegment[];
  readonly vdso: { readonly address: number; readonly size: number } | undefined;
  readonly stack: { readonly low: number; readonly high: number; readonly saved: number; /** End of what lies below. */ readonly floor: number };
  /** Libraries whose pages are all in the image, so that none is mapped from them; they must be unchanged all the same. */
  readonly embedded: readonly string[];
  /** Pages that were neither zero nor a file's: what an image cannot do without. */
  readonly dirtyPages: number;
}

/** The restorer's part of the address space (native/warm/restorer/restorer.h). */
const restorerRange = { start: 0x5a0000000000, end: 0x5a4000000000 } as const;
/** Runs of fewer pages than this between two of the image are put into it. */
const shortRun = 8;
/** Pages that are looked at in one go. */
const window = 4096;
/** Below the stack pointer functions without calls keep their data (System V ABI, red zone). */
const redZone = 128;

export interface StackNeed {
  /** Stack pointer of the parked process. */
  readonly pointer: number;
  /** RLIMIT_STACK. */
  readonly limit: number;
}

/**
 * @param embedded files whose pages go into the image, clean or not
 * @throws PycdsError WARM_UNFIT naming everything that cannot be imaged
 */
export function planImage(mappings: readonly Mapping[], memory: ProcessMemory, need: StackNeed, embedded: ReadonlySet<string> = new Set()): Plan {
  const faults: string[] = [];
  const segments: PlannedSegment[] = [];
  let vdso: Plan["vdso"];
  let stack: Plan["stack"] | undefined;
  let dirtyPages = 0;
  // in the legacy layout nothing of the process lies between the restorer and the stack
  let floor: number = restorerRange.end;
  for (const mapping of mappings) {
    const { start, end, protection, name } = mapping;
    const size = end - start;
    if (name === "[vsyscall]") continue;
    if (start < restorerRange.end && end > restorerRange.start) faults.push(`memory at 0x${start.toString(16)} is where the restorer lies`);
    if (name === "[vdso]" || name.startsWith("[vvar")) {
      if (stack === undefined) floor = Math.max(floor, end);
      if (name === "[vdso]") vdso = { address: start, size };
      segments.push({ address: start, size, protection, kind: segmentKind.vdso });
      continue;
    }
    if (name === "[stack]") {
      if ((protection & 4) !== 0) faults.push("the stack is executable");
      const saved = Math.floor((need.pointer - redZone) / pageSize) * pageSize;
      stack = { low: end - Math.max(need.limit, size), high: end, saved, floor };
      dirtyPages += (end - saved) / pageSize;
      continue;
    }
    if (stack === undefined) floor = Math.max(floor, end);
    const fault = faultOf(mapping);
    if (fault !== undefined) {
      faults.push(fault);
      continue;
    }
    if (mapping.flags.has("wf") || mapping.flags.has("dp")) {
      segments.push({ address: start, size, protection, kind: segmentKind.wipe });
      continue;
    }
    if (protection === 0) {
      segments.push({ address: start, size, protection, kind: segmentKind.zero });
      continue;
    }
    dirtyPages += planMapping(mapping, memory, segments, embedded.has(mapping.name));
  }
  if (stack === undefined) faults.push("it has no main stack");
  if (faults.length > 0 || stack === undefined) {
    throw new PycdsError("WARM_UNFIT", "cannot image the process", faults.join("; "), { next: "leave out the module that does this, or use the code archive: pycds run" });
  }
  return { segments, vdso, stack, embedded: [], dirtyPages };
}

/**
 * Neighbouring read-only parts of one original as one mapping, executable where one of
 * them is: headers and constants lie in a library's code segment then, as linkers had it
 * for decades. A third of the mappings of a process with many libraries.
 */
export function joinOriginals(segments: readonly PlannedSegment[]): PlannedSegment[] {
  const joined: PlannedSegment[] = [];
  for (const segment of segments) {
    const last = joined.at(-1);
    const follows = last?.file !== undefined && last.file === segment.file && last.address + last.size === segment.address && (last.offset ?? 0) + last.size === segment.offset;
    if (last !== undefined && follows && ((last.protection | segment.protection) & 2) === 0 && last.protection !== 0 && segment.protection !== 0) {
      joined[joined.length - 1] = { ...last, size: last.size + segment.size, protection: last.protection | segment.protection };
    } else {
      joined.push(segment);
    }
  }
  return joined;
}

/**
 * The smallest libraries into the image: a mapping and an open file fewer for each, and
 * the pages that were relocated and are only read now share a mapping with the code
 * before them. Not more than a tenth of what is in the image anyway.
 */
export function embedSmall(plan: Plan): Plan {
  const pages = new Map<string, { count: number; isLibrary: boolean }>();
  for (const { file, size, protection } of plan.segments) {
    if (file === undefined) continue;
    const { count, isLibrary } = pages.get(file) ?? { count: 0, isLibrary: false };
    pages.set(file, { count: count + size / pageSize, isLibrary: isLibrary || (protection & 4) !== 0 });
  }
  let room = Math.floor(plan.dirtyPages / 10);
  const small = [...pages].filter(([, { isLibrary }]) => isLibrary).sort(([, a], [, b]) => a.count - b.count).flatMap(([file, { count }]) => ((room -= count) >= 0 ? [file] : []));
  const chosen = new Set(small);
  const segments: PlannedSegment[] = [];
  for (const { file, offset, ...segment } of plan.segments) {
    const own = file === undefined ? segment : chosen.has(file) ? { ...segment, kind: segmentKind.image } : { ...segment, file, ...(offset === undefined ? {} : { offset }) };
    const last = segments.at(-1);
    const joins = last?.kind === segmentKind.image && own.kind === segmentKind.image && last.apart !== true && last.anonymous === segment.anonymous && last.address + last.size === own.address;
    if (joins && own.protection !== 0 && last.protection !== 0 && ((last.protection | own.protection) & 2) === 0) segments[segments.length - 1] = { ...last, size: last.size + own.size, protection: last.protection | own.protection };
    else segments.push(own);
  }
  return { ...plan, segments, embedded: small };
}

function faultOf({ shared, protection, name, deleted, protectionKey, flags }: Mapping): string | undefined {
  const what = name === "" ? "anonymous memory" : name;
  if (shared && (protection & 2) !== 0) return `${what}${deleted ? " (deleted)" : ""} is mapped shared and writable`;
  if (shared && !name.startsWith("/")) return `${what} is mapped shared`;
  if (protectionKey !== 0) return `${what} has a protection key`;
  if (flags.has("ss")) return "there is a shadow stack (CET)";
  if (protection !== 0 && (protection & 1) === 0) return `${what} cannot be read`;
  return undefined;
}

type Source = "image" | "zero" | "original";

interface Run {
  source: Source;
  page: number;
  count: number;
}

/** Adds the segments of one mapping; the number of its dirty pages. */
function planMapping(mapping: Mapping, memory: ProcessMemory, segments: PlannedSegment[], embed: boolean): number {
  const pages = (mapping.end - mapping.start) / pageSize;
  // a file without a name can be had from nowhere else
  const whole = mapping.name.startsWith("/") && (mapping.deleted || embed);
  const isFile = mapping.name.startsWith("/") && !whole;
  const runs: Run[] = [];
  const blocks = new LargeBlocks(mapping);
  let dirty = 0;
  const buffer = new Uint8Array(window * pageSize);
  for (let first = 0; first < pages; first += window) {
    const count = Math.min(window, pages - first);
    const address = mapping.start + first * pageSize;
    const states = memory.pages(address, count);
    // a read touches pages; only those with contents of their own are read, in runs
    for (let page = 0; page < count;) {
      const state = states[page];
      let next = page + 1;
      while (next < count && states[next] === state) next++;
      const owned = state === pageState.own || (state === pageState.file && !isFile) || (state === pageState.absent && whole);
      if (!owned) {
        addRun(runs, isFile ? "original" : "zero", first + page, next - page);
      } else {
        const bytes = buffer.subarray(0, (next - page) * pageSize);
        memory.read(address + page * pageSize, bytes);
        for (let one = page; one < next; one++) {
          const zero = isZero(bytes, (one - page) * pageSize);
          if (!zero) dirty++;
          if (!zero) blocks.see(first + one, bytes, (one - page) * pageSize);
          addRun(runs, zero ? "zero" : "image", first + one, 1);
        }
      }
      page = next;
    }
  }
  for (const run of absorbShort(runs)) {
    const address = mapping.start + run.page * pageSize;
    const size = run.count * pageSize;
    const { protection } = mapping;
    if (run.source === "original") segments.push({ address, size, protection, kind: segmentKind.original, file: mapping.name, offset: mapping.offset + run.page * pageSize });
    else if (run.source === "zero") segments.push({ address, size, protection, kind: segmentKind.zero });
    else segments.push(...blocks.split(run).map(({ page, count, part }) => partOf(mapping, page, count, part)));
  }
  return dirty;
}

/** A part of the image's pages: of a run that nobody grows, a large block's first page, or a block of one page. */
type Part = "run" | "first" | "single";

function partOf(mapping: Mapping, page: number, count: number, part: Part): PlannedSegment {
  const segment = { address: mapping.start + page * pageSize, size: count * pageSize, protection: mapping.protection };
  if (part === "single") return { ...segment, kind: segmentKind.copied };
  return { ...segment, kind: segmentKind.image, ...(part === "first" ? { apart: true } : {}), ...(mapping.name.startsWith("/") ? {} : { anonymous: true }) };
}

/**
 * malloc's blocks that are mappings of their own, by their headers (glibc, malloc/malloc.c:
 * struct malloc_chunk, two words in front of the block: bytes that lie unused before it,
 * and its size with IS_MMAPPED, 2, in the low bits). memalign leaves such unused bytes, so
 * the header may be anywhere in a page. What only looks like one costs a mapping.
 */
class LargeBlocks {
  private readonly firstPages = new Map<number, Part>();
  private behind = 0;
  private readonly pages: number;

  constructor({ start, end, name, protection }: Mapping) {
    this.pages = name === "" && (protection & 2) !== 0 ? (end - start) / pageSize : 0;
  }

  /** Looks for headers in a page's bytes. */
  see(page: number, bytes: Uint8Array, at: number): void {
    if (page < this.behind || page >= this.pages) return;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, pageSize / 4);
    for (let word = 0; word < words.length; word += 4) {
      const low = words[word + 2] ?? 0;
      const unused = words[word] ?? 0;
      if ((low & 0xf) !== 2 || (unused & (pageSize - 1)) !== word * 4 || ((unused + low - 2) & (pageSize - 1)) !== 0) continue;
      const lead = unused + (words[word + 1] ?? 0) * 2 ** 32;
      const count = (lead + low - 2 + (words[word + 3] ?? 0) * 2 ** 32) / pageSize;
      const first = page - Math.floor(lead / pageSize);
      if (first < 0 || count < 1 || count > this.pages - first) continue;
      this.firstPages.set(first, count === 1 ? "single" : "first");
      this.behind = first + count;
      return;
    }
  }

  /** A run of the image, cut around the first pages in it. */
  split({ page, count }: Pick<Run, "page" | "count">): { page: number; count: number; part: Part }[] {
    const parts: { page: number; count: number; part: Part }[] = [];
    for (let one = page; one < page + count; one++) {
      const part = this.firstPages.get(one) ?? "run";
      const last = parts.at(-1);
      if (last?.part === "run" && part === "run") last.count++;
      else parts.push({ page: one, count: 1, part });
    }
    return parts;
  }
}

function addRun(runs: Run[], source: Source, page: number, count: number): void {
  const last = runs.at(-1);
  if (last?.source === source) last.count += count;
  else runs.push({ source, page, count });
}

/** Short runs beside a run of the image become part of it. */
function absorbShort(runs: readonly Run[]): Run[] {
  const result: Run[] = [];
  runs.forEach((run, index) => {
    const beside = result.at(-1)?.source === "image" || runs[index + 1]?.source === "image";
    const source = run.source !== "image" && run.count < shortRun && beside ? "image" : run.source;
    addRun(result, source, run.page, run.count);
  });
  return result;
}

function isZero(bytes: Uint8Array, at: number): boolean {
  // most pages that are not zero show it early
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, pageSize / 4);
  for (let index = 0; index < words.length; index++) if (words[index] !== 0) return false;
  return true;
}
