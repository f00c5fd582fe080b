/** From a parked process to an image: reads like a linker's main. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PycdsError } from "../base/errors.ts";
import { viewOf } from "../image/codec.ts";
import { warmCodecs } from "./codec.ts";
import type { WarmState } from "./codec.ts";
import { unknownExtensions, unknownLibraries } from "./extensions.ts";
import { readEnvironment, readFacts } from "./facts.ts";
import type { WarmFacts } from "./facts.ts";
import { embedSmall, joinOriginals, planImage } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { mappingsOf, withMemory } from "./process.ts";
import type { Mapping, ProcessMemory } from "./process.ts";
import { pageSize, segmentKind, signalCount, warmFlag } from "./schema.ts";
import { changedSince, collectStamps, collectVariables, nameDigests, pathConfigurations } from "./stamps.ts";
import type { FolderStamps } from "./stamps.ts";
import { writeImage } from "./write.ts";

export interface ImageRequest {
  /** The folder that the parked process wrote into (native/warm/warm.h). */
  readonly work: string;
  readonly restorer: Uint8Array;
  /** Absolute path of the program that is executed when the image is refused, and its first arguments. */
  readonly command: readonly string[];
  readonly allow: readonly string[];
  /** Our own libraries in the process: an image does not depend on the PyCDS that built it. */
  readonly embedded: readonly string[];
  /** A file whose place the image takes: it is about to change. */
  readonly replaces?: string;
  /** Further files that the image depends on. */
  readonly watch: readonly string[];
  readonly sealed: boolean;
  readonly owner: number;
  readonly created: number;
  readonly expires: number;
  readonly exit: string;
  readonly pycds: string;
  /** Values that must not be in an image unnoticed, by the names of their variables. */
  readonly secrets: Readonly<Record<string, string>>;
  /** A lock file and the command that builds the image again, or empty. */
  readonly renew: readonly string[];
  /** How it is built again, as data. */
  readonly origin: unknown;
}

export interface ImageResult {
  readonly facts: WarmFacts;
  readonly size: number;
  readonly memory: number;
  readonly dirty: number;
  readonly originals: number;
  readonly stamps: number;
  /** Variables whose values are in the image's memory. */
  readonly secrets: readonly string[];
}

export interface Parked {
  readonly pid: number;
  /** When the program was started, in nanoseconds since 1970. */
  readonly startedNs: bigint;
  readonly state: WarmState;
  readonly signals: Uint8Array;
}

/** What the parked process wrote about itself. */
export function readParked(work: string, startedNs: bigint): Parked {
  const file = join(work, "parked");
  const bytes = readFileSync(file);
  const size = warmCodecs.state.size + signalCount * warmCodecs.signal.size;
  if (bytes.byteLength !== size) throw new PycdsError("WARM_PARKED", "cannot image the process", `it wrote ${bytes.byteLength} bytes about itself, ${size} expected`, { file, next: "build pycds again: npm run build" });
  const state = warmCodecs.state.read(viewOf(bytes), 0);
  return { pid: state.pid, startedNs, state, signals: bytes.subarray(warmCodecs.state.size) };
}

/** Writes the image of the parked process through an empty file's descriptor. The process is left as it is. */
export async function makeImage(parked: Parked, request: ImageRequest, file: number): Promise<ImageResult> {
  const factsFile = join(request.work, "facts.json");
  const facts = readFacts(readFileSync(factsFile, "utf8"), factsFile);
  const mappings = mappingsOf(parked.pid);
  const code = new Set(mappings.filter(({ name, protection, deleted }) => name.startsWith("/") && (protection & 4) !== 0 && !deleted).map(({ name }) => name));
  checkExtensions(unknownExtensions(facts, request.allow), "extension modules");
  checkExtensions(unknownLibraries(facts, [...code], request.embedded, request.allow), "libraries by itself (ctypes, cffi, plug-ins)");
  const { variables, prefixed } = collectVariables(readEnvironment(readFileSync(join(request.work, "environment"), "utf8")), facts.reads);
  const mapped = new Set(mappings.map(({ name }) => name).filter((name) => name.startsWith("/")));
  // what is mapped has a stamp of its own, which sealed images keep
  const files = [...facts.modules.map(([, path]) => path), facts.executable, "/etc/localtime", ...request.watch].filter((path) => !mapped.has(path) && path !== request.replaces);
  const onPath = [...new Set([...facts.path, ...facts.site])];
  const folders = collectStamps([...files, ...pathConfigurations(onPath)], [...onPath, ...facts.packages]);
  checkUnchanged(folders, [...mapped], parked.startedNs, new Set([...request.watch, ...(request.replaces === undefined ? [] : [request.replaces])]));

  return withMemory(parked.pid, async (memory) => {
    const exact = planImage(mappings, memory, { pointer: Number(parked.state.rsp), limit: Number(parked.state.stack_limit) }, new Set(request.embedded));
    const plan = request.sealed ? embedSmall({ ...exact, segments: joinOriginals(exact.segments) }) : exact;
    const { erased, found } = findSecrets(plan, memory, request.secrets);
    const written = await writeImage(file, {
      restorer: request.restorer, plan, memory, state: parked.state, signals: parked.signals, folders, variables, prefixed,
      command: request.command, names: nameDigests(facts.names), folder: facts.folder, flags: flagsOf(facts, request), owner: request.owner,
      renew: request.renew, sizes: () => waitForSizes(request.work), created: request.created, expires: request.expires, erased, meta: metaOf(facts, request, plan, mappings),
    });
    return {
      facts, size: written.size, memory: written.memory, dirty: plan.dirtyPages * pageSize, secrets: found,
      originals: plan.segments.filter(({ kind }) => kind === segmentKind.original).length,
      stamps: folders.reduce((sum, { stamps }) => sum + stamps.length, 0),
    };
  });
}

/** The parked process's parent measures while its memory is read. An image without sizes is one, too. */
async function waitForSizes(work: string): Promise<Uint8Array> {
  const file = join(work, "sizes.json");
  for (const until = Date.now() + longestMeasuring; !existsSync(file) && Date.now() < until;) await new Promise((wake) => setTimeout(wake, 2));
  return existsSync(file) ? readFileSync(file) : Buffer.from("{}");
}

const longestMeasuring = 20_000;

function flagsOf(facts: WarmFacts, request: ImageRequest): number {
  return (request.sealed ? warmFlag.sealed : 0) | (facts.interpreter ? warmFlag.interpreter : 0) | (facts.safePath ? warmFlag.safePath : 0) |
    (facts.folder === null ? 0 : warmFlag.currentFolder) | (facts.needsFolder ? warmFlag.needsFolder : 0);
}

/** The kernel's clock for files goes in ticks of up to 10 ms. */
const tickNs = 10_000_000n;

/** What was edited while it was imported may be in memory as it was before, and have a stamp of how it is now. */
function checkUnchanged(folders: readonly FolderStamps[], mapped: readonly string[], startedNs: bigint, except: ReadonlySet<string>): void {
  const changed = changedSince([...folders, ...collectStamps(mapped, [])], startedNs - tickNs, except);
  if (changed.length === 0) return;
  throw new PycdsError("WARM_RACY", "cannot image the process", `files changed while it ran: ${changed.slice(0, 8).join(", ")}`, { next: "build it again" });
}

function checkExtensions(unknown: readonly { readonly name: string }[], kind: string): void {
  if (unknown.length === 0) return;
  const names = unknown.map(({ name }) => name);
  throw new PycdsError("WARM_EXTENSION", "cannot image the process", `it loaded ${kind} that have not been checked: ${names.join(", ")}`, {
    next: `if what they keep survives os.fork(), add ${names.map((name) => `--allow ${name}`).join(" ")}`,
  });
}

/** Where in the parked process's memory are values that the user would not want in a file? On the stack, where the kernel put them, they are erased. */
function findSecrets(plan: Plan, memory: ProcessMemory, secrets: Readonly<Record<string, string>>): { erased: { address: number; size: number }[]; found: string[] } {
  const erased: { address: number; size: number }[] = [];
  const found = new Set<string>();
  const values = Object.entries(secrets).map(([name, value]) => ({ name, value: Buffer.from(value) })).filter(({ value }) => value.byteLength >= 8);
  if (values.length === 0) return { erased, found: [] };
  const scan = (address: number, size: number, onStack: boolean): void => {
    const bytes = Buffer.alloc(size);
    memory.read(address, bytes);
    for (const { name, value } of values) {
      for (let at = bytes.indexOf(value); at >= 0; at = bytes.indexOf(value, at + 1)) {
        if (onStack) erased.push({ address: address + at, size: value.byteLength });
        else found.add(name);
      }
    }
  };
  scan(plan.stack.saved, plan.stack.high - plan.stack.saved, true);
  for (const { kind, address, size } of plan.segments) if (kind === segmentKind.image || kind === segmentKind.copied) scan(address, size, false);
  return { erased, found: [...found].sort() };
}

function metaOf(facts: WarmFacts, request: ImageRequest, plan: Plan, mappings: readonly Mapping[]): unknown {
  return {
    pycds: request.pycds, request: request.origin, python: facts.version, executable: facts.executable, prefix: facts.prefix, exit: request.exit,
    modules: facts.modules.map(([name]) => name).sort(), generators: facts.generators,
    dirtyBytes: plan.dirtyPages * pageSize,
    mappings: mappings.filter(({ name }) => name !== "[vsyscall]").map(({ name, start, end, protection }) => ({ name, address: start, size: end - start, protection })),
  };
}
