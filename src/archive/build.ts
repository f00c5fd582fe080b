/**
 * Builds an archive. Reads like a linker's main: index the folders, place the
 * modules in them, compile each to a unit, lay out the names, assign addresses,
 * write relocations, digest, and put the file together.
 *
 * The bytes depend on the BuildInput alone, and not on the order in which a
 * folder's names or the folders themselves were listed.
 */
import { hex, sha256, xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { ByteWriter } from "../base/bytes.ts";
import { NameTable } from "../graph/names.ts";
import { codecs, encodeTable, viewOf } from "../image/codec.ts";
import type { RecordOf } from "../image/codec.ts";
import { encodeMeta } from "../image/meta.ts";
import { abiFlag, features, objectAlignment, selfCheckSubject, selfCheckWhat } from "../image/schema.ts";
import { encodeRelocations } from "../image/slots.ts";
import { StringTable } from "../image/strings.ts";
import { writeImage } from "../image/writer.ts";
import { layOutNames } from "../layout/names.ts";
import type { LaidOutNames } from "../layout/names.ts";
import type { LaidOutUnit } from "../layout/types.ts";
import { heldReason } from "./bases.ts";
import { chooseBase, planData, requestAddresses } from "./addresses.ts";
import type { DataPlan } from "./addresses.ts";
import { compileModule, minorOf } from "./compile.ts";
import { describeArchive } from "./describe.ts";
import type { ExcludedInput } from "./describe.ts";
import { indexTables } from "./index-tables.ts";
import type { EntryContent } from "./index-tables.ts";
import { indexFolders } from "./path-index.ts";
import type { IndexedEntry, IndexedFolder } from "./path-index.ts";
import { placeModules } from "./place.ts";
import type { PlacedModule } from "./place.ts";
import { compilePures, pureTables } from "./pures.ts";
import type { BuildInput } from "./types.ts";

export interface BuildProgress {
  readonly pass: "index" | "compile" | "names" | "addresses" | "write";
  readonly done: number;
  readonly total: number;
}

export interface BuildReport {
  /** Files whose code is in the archive. */
  readonly modules: number;
  /** Of them, how many were traced. */
  readonly traced: number;
  /** Modules that stay with stock; `file` is the .pyc that was refused. */
  readonly excluded: readonly ExcludedInput[];
  /** Modules left out, since a base archive holds them. */
  readonly held: number;
  readonly folders: number;
  readonly entries: number;
  readonly names: number;
  /** Archived results of pure functions. */
  readonly patterns: number;
  readonly sources: number;
  /** Bytes of the archive, of its objects and of its relocations. */
  readonly size: number;
  readonly dataSize: number;
  readonly relocationsSize: number;
  /** SHA-256 that identifies the archive, in hex. */
  readonly digest: string;
}

export interface BuiltArchive {
  readonly bytes: Uint8Array;
  readonly report: BuildReport;
}

/** A module whose code is archived; its place in the list is its unit's number. */
export interface CompiledModule extends PlacedModule {
  readonly unit: LaidOutUnit;
}

export function buildArchive(input: BuildInput, onProgress: (progress: BuildProgress) => void = () => undefined): BuiltArchive {
  checkTarget(input);

  const total = input.modules.length;
  onProgress({ pass: "index", done: 0, total: input.folders.length });
  const index = indexFolders(input.folders, input.target.suffixes);
  const { placed, excluded: misplaced } = placeModules(input.modules, input.traced, index);

  const names = new NameTable();
  const contents = new Map<IndexedEntry, EntryContent>();
  const modules: CompiledModule[] = [];
  const excluded: ExcludedInput[] = [
    ...input.excluded,
    ...misplaced.map(({ module, reason }) => ({ name: module.name, reason })),
  ];
  placed.forEach((each, position) => {
    onProgress({ pass: "compile", done: position, total });
    const compiled = compileModule(each.module, input.target, input.abi, names);
    if (compiled.kind === "excluded") {
      contents.set(each.entry, { kind: "reason", reason: compiled.reason });
      for (const name of [each.module.name, ...each.aliases]) excluded.push({ name, reason: compiled.reason, file: each.module.pycFile });
      return;
    }
    contents.set(each.entry, { kind: "unit", unit: modules.length, stamp: each.module.stamp });
    modules.push({ ...each, unit: compiled.unit });
  });
  markHeld(input, index, contents);
  const traced = modules.filter((module) => module.traced).length;
  const pures = compilePures(input.pures, input.abi, names);
  onProgress({ pass: "compile", done: total, total });

  onProgress({ pass: "names", done: 0, total: names.entries.length });
  const laidOutNames = layOutNames(names.entries, input.abi);

  onProgress({ pass: "addresses", done: 0, total: modules.length });
  const units = [...modules, ...pures.sources].map(({ unit }) => unit);
  const plan = planData(units, traced, laidOutNames.blocks);
  const relocations = relocationSection(units);
  const strings = new StringTable();
  const selfChecks = selfCheckTable(input, strings);
  const pure = pureTables(pures, modules.length);
  const tables = indexTables(input, index, contents, strings);
  const meta = encodeMeta(describeArchive(input, modules, excluded, tables.entryIndex, relocations.ranges));
  const text = strings.done();
  const base = chooseBase(
    sha256(plan.data, relocations.bytes, text, encodeTable("Folder", tables.folders), encodeTable("Entry", tables.entries), pure.pureData, meta, input.abi.digest),
    plan.data.byteLength,
  );
  units.forEach((unit, number) => requestAddresses(plan.data, plan.units[number] ?? 0, unit, base));

  onProgress({ pass: "write", done: 0, total: 1 });
  const bytes = writeImage({
    identity: identityOf(input, base, plan.hotEnd),
    abi: [abiRecord(input)],
    selfChecks,
    strings: text,
    roots: tables.roots,
    suffixes: tables.suffixes,
    folders: tables.folders,
    folderHash: tables.folderHash,
    entries: tables.entries,
    entryHash: tables.entryHash,
    units: unitTable(units, plan, relocations),
    names: nameWords(laidOutNames),
    nameBlocks: nameBlockTable(laidOutNames, plan),
    ...pure,
    relocations: relocations.bytes,
    meta,
    data: plan.data,
  });
  onProgress({ pass: "write", done: 1, total: 1 });

  return {
    bytes,
    report: {
      modules: modules.length,
      traced,
      excluded,
      held: input.held?.length ?? 0,
      folders: tables.folders.length,
      entries: tables.entries.length,
      names: names.entries.length,
      patterns: pures.patterns.length,
      sources: pures.sources.length,
      size: bytes.byteLength,
      dataSize: plan.data.byteLength,
      relocationsSize: relocations.bytes.byteLength,
      digest: hex(codecs.FileHeader.read(viewOf(bytes), 0).archive_digest),
    },
  };
}

/** What a base serves has its reason in the index, for whoever asks why it is not here. */
function markHeld({ held = [] }: BuildInput, index: readonly IndexedFolder[], contents: Map<IndexedEntry, EntryContent>): void {
  const tails = new Set(held.map(({ folder, tail }) => `${folder}\0${tail}`));
  for (const { path, entries } of index) {
    for (const entry of entries) if (tails.has(`${path}\0${entry.name}`) && !contents.has(entry)) contents.set(entry, { kind: "reason", reason: heldReason });
  }
}

/** The ABI data must be that of the target: an archive of another layout would be refused by every runtime. */
function checkTarget({ target, abi, traced, modules }: BuildInput): void {
  const fail = (why: string): PycdsError => new PycdsError("ARCHIVE_TARGET", "cannot build for this interpreter", why);
  const major = target.hexversion >>> 24;
  if (major !== abi.version.major || minorOf(target) !== abi.version.minor) throw fail(`layout data ${abi.id} is not for CPython ${major}.${minorOf(target)}`);
  if (target.platform !== abi.platform) throw fail(`layout data ${abi.id} is not for ${target.platform}`);
  if (target.flavour !== abi.flavour) throw fail(`layout data ${abi.id} is not for a ${target.flavour} build`);
  if ((target.pycMagic & 0xffff) !== abi.pycMagic) throw fail(`its .pyc files have magic number ${target.pycMagic & 0xffff}, layout data ${abi.id} is for ${abi.pycMagic}`);
  if (traced > modules.length) throw new Error(`${traced} of ${modules.length} modules cannot be traced`);
}

function identityOf({ target, abi, sealed }: BuildInput, preferredBase: bigint, hotEnd: number): Parameters<typeof writeImage>[0]["identity"] {
  const flags = { release: 0, debug: abiFlag.debug, freethreaded: abiFlag.freeThreaded }[target.flavour];
  return {
    requiredFeatures: (abi.hasCodeVersion ? features.codeVersion : 0n) | (sealed ? features.sealed : 0n),
    preferredBase,
    hexversion: target.hexversion,
    pycMagic: target.pycMagic,
    abiFlags: flags,
    optimize: target.optimize,
    platform: target.platform,
    cacheTag: target.cacheTag,
    layoutDigest: abi.digest,
    dataHotSize: Math.floor(hotEnd / 4096),
  };
}

function abiRecord({ abi }: BuildInput): RecordOf<"Abi"> {
  const code = abi.selfChecks.find(({ what, name }) => what === "basicsize" && name === "PyCode_Type");
  if (code === undefined) throw new Error(`${abi.id} has no self-check of PyCode_Type.__basicsize__`);
  return {
    type_offset: abi.field("PyObject", "ob_type").offset,
    code_basicsize: code.offset,
    small_int_min: abi.smallInts.min,
    small_int_max: abi.smallInts.max,
    gc_header_size: abi.gcHeaderSize,
    reserved: 0,
  };
}

function selfCheckTable({ abi }: BuildInput, strings: StringTable): RecordOf<"SelfCheck">[] {
  return abi.selfChecks.map(({ subject, what, offset, name }) => ({
    subject: selfCheckSubject[subject],
    what: selfCheckWhat[what],
    offset,
    name: strings.add(name).ref,
  }));
}

interface RelocationSection {
  readonly bytes: Uint8Array;
  readonly ranges: readonly { readonly offset: number; readonly size: number }[];
}

function relocationSection(units: readonly LaidOutUnit[]): RelocationSection {
  const writer = new ByteWriter(1 << 16);
  const ranges = units.map(({ relocations }) => {
    const offset = writer.align(8);
    const stream = encodeRelocations(relocations);
    writer.bytes(stream);
    return { offset, size: stream.byteLength };
  });
  return { bytes: writer.done().slice(), ranges };
}

function unitTable(units: readonly LaidOutUnit[], plan: DataPlan, relocations: RelocationSection): RecordOf<"Unit">[] {
  return units.map((unit, number) => {
    const offset = plan.units[number] ?? 0;
    const range = relocations.ranges[number] ?? { offset: 0, size: 0 };
    const size = unit.bytes.byteLength;
    return {
      data_offset: BigInt(offset),
      data_size: size,
      root: unit.root,
      reloc_offset: BigInt(range.offset),
      reloc_size: range.size,
      flags: 0,
      digest: xxh3(plan.data.subarray(offset, offset + size), relocations.bytes.subarray(range.offset, range.offset + range.size)),
    };
  });
}

function nameWords({ locations }: LaidOutNames): Uint32Array {
  return Uint32Array.from(locations, (location) => (location.kind === "latin1" ? 0x80000000 + location.codePoint : location.offset / objectAlignment));
}

function nameBlockTable({ blocks }: LaidOutNames, plan: DataPlan): RecordOf<"NameBlock">[] {
  return blocks.map((block, number) => ({
    data_offset: BigInt(plan.blocks[number] ?? 0),
    data_size: block.bytes.byteLength,
    first_name: block.firstName,
    name_count: block.nameCount,
    reserved: 0,
    digest: xxh3(block.bytes),
  }));
}
