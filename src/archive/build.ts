/**
 * Builds an archive. Reads like a linker's main: index the folders, place the
 * modules in them, compile each to a unit, lay out the names, assign addresses,
 * write relocations, digest, and put the file together.
 *
 * The bytes depend on the BuildInput alone, and not on the order in which a
 * folder's names or the folders themselves were listed.
 */
import { ByteWriter } from "../base/bytes.ts";
import { hex, sha256, xxh3 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { encodeTable } from "../image/codec.ts";
import type { RecordOf } from "../image/codec.ts";
import { encodeMeta } from "../image/meta.ts";
import { abiFlag, features, nameLatin1, objectAlignment, selfCheckSubject, selfCheckWhat } from "../image/schema.ts";
import { requestAddresses, withNames } from "../image/slots.ts";
import { StringTable } from "../image/strings.ts";
import { encodeSections, finishImage, layOutImage } from "../image/writer.ts";
import type { ImageIdentity, ImageOutput, ImageSink, WholeSections } from "../image/writer.ts";
import { layOutNames } from "../layout/names.ts";
import type { LaidOutNames } from "../layout/names.ts";
import { abiRecord, shapeOf } from "./abi-record.ts";
import { heldReason } from "./bases.ts";
import { chooseBase, planData } from "./addresses.ts";
import type { DataPlan } from "./addresses.ts";
import { compileModule, minorOf } from "./compile.ts";
import { describeArchive } from "./describe.ts";
import type { ExcludedInput } from "./describe.ts";
import { emitUnits } from "./emit.ts";
import { indexTables } from "./index-tables.ts";
import type { EntryContent } from "./index-tables.ts";
import { indexFolders } from "./path-index.ts";
import type { IndexedEntry, IndexedFolder } from "./path-index.ts";
import { placeModules } from "./place.ts";
import type { PlacedModule } from "./place.ts";
import { compilePures, pureTables } from "./pures.ts";
import { pycFileOf, unitKey } from "./pyc-file.ts";
import { NameNumbers } from "./record.ts";
import { heldUnit } from "./stored.ts";
import type { StoredUnit } from "./stored.ts";
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

/** What a module was compiled to, and the name of its contents. */
export interface CompiledUnit {
  readonly key: string;
  readonly unit: StoredUnit;
}

/** A module whose code is archived; its place in the list is its unit's number. */
export interface CompiledModule extends PlacedModule {
  readonly key: string;
  readonly unit: StoredUnit;
}

type OnProgress = (progress: BuildProgress) => void;

/** An archive in memory, compiled here and now. */
export function buildArchive(input: BuildInput, onProgress: OnProgress = () => undefined): BuiltArchive {
  const plan = planArchive(input, onProgress);
  const compiled = plan.placed.map(({ module }, position): CompiledUnit => {
    onProgress({ pass: "compile", done: position, total: plan.placed.length });
    const pyc = pycFileOf(module.pyc);
    return { key: unitKey(pyc, module.kind), unit: heldUnit(compileModule({ bytes: pyc.bytes(), file: module.pycFile, kind: module.kind }, input.abi)) };
  });
  return linkArchive(plan, compiled, onProgress).inMemory();
}

export interface ArchivePlan {
  readonly input: BuildInput;
  readonly index: readonly IndexedFolder[];
  /** In layout order. */
  readonly placed: readonly PlacedModule[];
  readonly excluded: readonly ExcludedInput[];
}

/** First passes: which modules are compiled, in which order. */
export function planArchive(input: BuildInput, onProgress: OnProgress = () => undefined): ArchivePlan {
  checkTarget(input);
  onProgress({ pass: "index", done: 0, total: input.folders.length });
  const index = indexFolders(input.folders, input.target.suffixes);
  const { placed, excluded: misplaced } = placeModules(input.modules, input.traced, index);
  return { input, index, placed, excluded: [...input.excluded, ...misplaced.map(({ module, reason }) => ({ name: module.name, reason }))] };
}

export interface LinkedArchive {
  /** Bytes of the file. */
  readonly size: number;
  /** Writes it. The sink has all of it when this resolves, and asks for nothing when it rejects. */
  emit(sink: ImageSink): Promise<BuildReport>;
  /** Of units that are held in memory. */
  inMemory(): BuiltArchive;
}

/**
 * Last passes, when all is compiled: names are numbered, addresses assigned;
 * then, unit by unit, addresses written and digests taken. Units are read one
 * at a time, so that memory is needed for what is small of each.
 *
 * @param compiled one for each of plan.placed
 */
export function linkArchive(plan: ArchivePlan, compiled: readonly CompiledUnit[], onProgress: OnProgress = () => undefined): LinkedArchive {
  const { input, index } = plan;
  const contents = new Map<IndexedEntry, EntryContent>();
  const modules: CompiledModule[] = [];
  const excluded: ExcludedInput[] = [...plan.excluded];
  plan.placed.forEach((each, position) => {
    const made = compiled[position];
    if (made === undefined) throw new Error(`${each.module.name} was not compiled`);
    const { reason } = made.unit.head;
    if (reason !== undefined) {
      contents.set(each.entry, { kind: "reason", reason });
      for (const name of [each.module.name, ...each.aliases]) excluded.push({ name, reason, file: each.module.pycFile });
      return;
    }
    contents.set(each.entry, { kind: "unit", unit: modules.length, stamp: each.module.stamp, compiled: each.module.compiled === true });
    modules.push({ ...each, ...made });
  });
  markHeld(input, index, contents);
  const traced = modules.filter((module) => module.traced).length;
  const pures = compilePures(input.pures, input.abi);
  const units = [...modules, ...pures.sources].map(({ unit }) => unit);

  onProgress({ pass: "names", done: 0, total: units.length });
  const names = NameNumbers.for(units.map(({ head }) => head));
  const streams = new Streams(units.reduce((sum, { head }) => sum + head.relocations.byteLength + 4 * head.nameCount + 8, 0));
  const numbered = ({ head }: StoredUnit): Uint8Array => {
    const firstNew = names.length;
    return withNames(head.relocations, head.numberNames(names), firstNew);
  };
  // names are faulted in by blocks: what each start executes, the lines of .pth files, needs the first one only
  const early = new Map(pures.sources.flatMap(({ input: { source }, unit }) => (/^import[ \t]/.test(source) ? [[unit, numbered(unit)] as const] : [])));
  for (const unit of units) streams.add(early.get(unit) ?? numbered(unit));
  const laidOutNames = layOutNames(names, input.abi);

  onProgress({ pass: "addresses", done: 0, total: units.length });
  const data = planData(units.map(({ head }) => head.dataSize), traced, laidOutNames.blocks.map(({ bytes }) => bytes.byteLength));
  const strings = new StringTable();
  const selfChecks = selfCheckTable(input, strings);
  const pure = pureTables(pures, modules.length);
  const tables = indexTables(input, index, contents, strings);
  const meta = encodeMeta(describeArchive(input, modules, excluded, tables.entryIndex));
  const text = strings.done();
  const keys = Buffer.from(modules.map(({ key }) => key).join(""), "latin1");
  const base = chooseBase(
    sha256(keys, text, encodeTable("Folder", tables.folders), encodeTable("Entry", tables.entries), pure.pureData, meta, input.abi.digest),
    data.size,
  );

  const parts = (unitRows: readonly RecordOf<"Unit">[]): WholeSections => encodeSections({
    abi: [abiRecord(input.abi)],
    selfChecks,
    strings: text,
    roots: tables.roots,
    suffixes: tables.suffixes,
    folders: tables.folders,
    folderHash: tables.folderHash,
    entries: tables.entries,
    entryHash: tables.entryHash,
    units: unitRows,
    names: nameHalves(laidOutNames),
    nameBlocks: nameBlockTable(laidOutNames, data),
    ...pure,
    meta,
  });
  const blank = parts(units.map(() => noUnit));
  const sizes = { ...mapValues(blank, (bytes) => bytes.byteLength), relocations: streams.size, data: data.size };
  const layout = layOutImage(sizes, input.target.platform);

  const rows: RecordOf<"Unit">[] = [];
  const shape = shapeOf(input.abi);
  const link = (number: number, bytes: Uint8Array): void => {
    const unit = units[number];
    if (unit === undefined) throw new Error(`no unit ${number}`);
    const offset = data.units[number] ?? 0;
    const stream = streams.at(number);
    requestAddresses(stream.bytes, bytes, Number(base) + offset, shape);
    rows[number] = {
      data_offset: BigInt(offset), data_size: unit.head.dataSize, root: unit.head.root, reloc_offset: BigInt(stream.offset), reloc_size: stream.bytes.byteLength, flags: 0,
      digest: xxh3(bytes, stream.bytes),
    };
  };
  const { offset: dataAt } = layout.places.data;
  const places = data.units.map((offset) => dataAt + offset);
  const show = (done: number): void => onProgress({ pass: "write", done, total: units.length });
  /** All but the units. */
  const finish = (output: ImageOutput): BuildReport => {
    laidOutNames.blocks.forEach(({ bytes }, number) => output.write(dataAt + (data.blocks[number] ?? 0), bytes));
    output.write(layout.places.relocations.offset, streams.done());
    const digest = finishImage(output, layout, identityOf(input, base, data.hotEnd), { ...blank, units: encodeTable("Unit", rows) });
    show(units.length);
    return {
      modules: modules.length,
      traced,
      excluded,
      held: input.held?.length ?? 0,
      folders: tables.folders.length,
      entries: tables.entries.length,
      names: names.length,
      patterns: pures.patterns.length,
      sources: pures.sources.length,
      size: layout.size,
      dataSize: data.size,
      relocationsSize: streams.size,
      digest: hex(digest),
    };
  };
  const emit = async (sink: ImageSink): Promise<BuildReport> => {
    await emitUnits({ units, places, link }, sink, show);
    const writes: Promise<void>[] = [];
    const report = finish({ write: (at, bytes) => void writes.push(sink.write(at, bytes)) });
    await Promise.all(writes);
    return report;
  };
  const inMemory = (): BuiltArchive => {
    const bytes = new Uint8Array(layout.size);
    for (const [number, { data: from }] of units.entries()) {
      if (!(from instanceof Uint8Array)) throw new Error("a unit that is not held in memory");
      const place = places[number] ?? 0;
      bytes.set(from, place);
      link(number, bytes.subarray(place, place + from.byteLength));
    }
    return { bytes, report: finish({ write: (at, part) => bytes.set(part, at) }) };
  };
  return { size: layout.size, emit, inMemory };
}

/** A row of the right size, until digests are known. */
const noUnit: RecordOf<"Unit"> = { data_offset: 0n, data_size: 0, root: 0, reloc_offset: 0n, reloc_size: 0, flags: 0, digest: 0n };

function mapValues<K extends string, A, B>(record: Readonly<Record<K, A>>, of: (value: A) => B): Record<K, B> {
  return Object.fromEntries(Object.entries<A>(record).map(([key, value]) => [key, of(value)])) as Record<K, B>;
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

function identityOf({ target, abi, sealed, digest, relocatable }: BuildInput, preferredBase: bigint, hotEnd: number): ImageIdentity {
  const flags = { release: 0, debug: abiFlag.debug, freethreaded: abiFlag.freeThreaded }[target.flavour];
  return {
    requiredFeatures: (abi.hasCodeVersion ? features.codeVersion : 0n) | (sealed ? features.sealed : 0n) | (digest ? features.contents : 0n) | (relocatable === true ? features.relocatable : 0n),
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

function selfCheckTable({ abi }: BuildInput, strings: StringTable): RecordOf<"SelfCheck">[] {
  return abi.selfChecks.map(({ subject, what, offset, name }) => ({
    subject: selfCheckSubject[subject],
    what: selfCheckWhat[what],
    offset,
    name: strings.add(name).ref,
  }));
}

/** The relocations section: streams of the units, in order. */
class Streams {
  private readonly writer: ByteWriter;
  private readonly places: { readonly offset: number; readonly size: number }[] = [];

  /** @param expected bytes */
  constructor(expected: number) {
    this.writer = new ByteWriter(expected);
  }

  get size(): number {
    return this.writer.length;
  }

  add(stream: Uint8Array): void {
    const offset = this.writer.align(8);
    this.writer.bytes(stream);
    this.places.push({ offset, size: stream.byteLength });
  }

  /** A view. */
  at(unit: number): { readonly offset: number; readonly bytes: Uint8Array } {
    const place = this.places[unit];
    if (place === undefined) throw new Error(`no stream of unit ${unit}`);
    return { offset: place.offset, bytes: this.writer.done().subarray(place.offset, place.offset + place.size) };
  }

  done(): Uint8Array {
    return this.writer.done();
  }
}

function nameHalves({ locations }: LaidOutNames): Uint16Array {
  const halves = new Uint16Array(locations.length);
  for (let index = 0; index < halves.length; index++) {
    const location = locations[index] ?? 0;
    halves[index] = location < 0 ? nameLatin1 - 1 - location : location / objectAlignment;
  }
  return halves;
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
