/**
 * Compiles what no store has, on several threads: the others take batches, and
 * this one compiles too while they have enough to do.
 */
import { Worker } from "node:worker_threads";
import type { Abi } from "../abi/types.ts";
import type { CompiledUnit } from "./build.ts";
import { compileModule } from "./compile.ts";
import type { PycToCompile } from "./compile.ts";
import type { PlacedModule } from "./place.ts";
import { pycFileOf, unitKey } from "./pyc-file.ts";
import { heldUnit } from "./stored.ts";
import type { UnitStore } from "./stored.ts";
import type { UnitRecord } from "./record.ts";

export interface CompileBatch {
  readonly number: number;
  readonly pycs: readonly PycToCompile[];
}

export interface BatchResult {
  readonly number: number;
  readonly records: readonly UnitRecord[];
}

/** A batch keeps a thread busy for some milliseconds. */
const batchBytes = 192 << 10;
/** Batches that wait at a thread, so that it never waits for us. */
const ahead = 2;
/** Fewer bytes than this are compiled here before another thread has started. */
const worthThreads = 3 << 20;

/** Nearly all that compiling makes is short-lived: room for it spares copying. */
const youngMiB = 64;

/** Whether this code can run in another thread: Node starts JavaScript there, no TypeScript. */
const workerFile = import.meta.url.endsWith(".js") ? new URL("compile-worker.js", import.meta.url) : undefined;

/** @param threads besides this one */
export async function compileAll(
  placed: readonly PlacedModule[], abi: Abi, store: UnitStore, threads: number, progress: (done: number) => void,
): Promise<CompiledUnit[]> {
  const compiled: (CompiledUnit | undefined)[] = placed.map(() => undefined);
  const missing = new Map<string, number[]>();
  placed.forEach(({ module }, position) => {
    const key = unitKey(pycFileOf(module.pyc), module.kind);
    const unit = store.get(key);
    const same = missing.get(key);
    if (unit !== undefined) compiled[position] = { key, unit };
    else if (same === undefined) missing.set(key, [position]);
    else same.push(position);
  });

  let done = placed.length - [...missing.values()].reduce((sum, positions) => sum + positions.length, 0);
  const keep = (key: string, positions: readonly number[], record: UnitRecord): void => {
    // two files of equal contents are two units: each has addresses of its own
    for (const [number, position] of positions.entries()) {
      compiled[position] = { key, unit: number === 0 ? store.put(key, record) : heldUnit({ head: record.head.slice(), data: record.data.slice() }) };
    }
    done += positions.length;
    progress(done);
  };
  progress(done);
  const work = new Work([...missing], placed);
  const pool = workerFile === undefined || threads < 1 || work.bytes < worthThreads ? undefined : new Pool(workerFile, abi.id, threads);
  try {
    for (let batch = work.next(); batch !== undefined; batch = work.next()) {
      const { jobs, pycs } = batch;
      const finish = (records: readonly UnitRecord[]): void => jobs.forEach(([key, positions], index) => {
        const record = records[index];
        if (record !== undefined) keep(key, positions, record);
      });
      if (pool?.offer(pycs, finish) === true) continue;
      finish(pycs.map((pyc) => compileModule(pyc, abi)));
      // answers of the other threads, and signals, come between two batches
      await new Promise((resolve) => setImmediate(resolve));
    }
    await pool?.finished();
  } finally {
    await pool?.end();
  }
  return compiled.map((each) => {
    if (each === undefined) throw new Error("a module that nobody compiled");
    return each;
  });
}

type Job = readonly [key: string, positions: readonly number[]];

/** What is to be compiled, in batches. */
class Work {
  readonly bytes: number;
  private readonly jobs: readonly Job[];
  private readonly placed: readonly PlacedModule[];
  private at = 0;

  constructor(jobs: readonly Job[], placed: readonly PlacedModule[]) {
    this.jobs = jobs;
    this.placed = placed;
    // an estimate from what is at hand: remembered files are not read for it
    this.bytes = jobs.length * (16 << 10);
  }

  next(): { readonly jobs: readonly Job[]; readonly pycs: CompileBatch["pycs"] } | undefined {
    const jobs: Job[] = [];
    const pycs: PycToCompile[] = [];
    for (let size = 0; size < batchBytes && this.at < this.jobs.length; this.at++) {
      const job = this.jobs[this.at];
      const module = this.placed[job?.[1][0] ?? -1]?.module;
      if (job === undefined || module === undefined) throw new Error("a job without a module");
      const bytes = pycFileOf(module.pyc).bytes();
      jobs.push(job);
      pycs.push({ bytes, file: module.pycFile, kind: module.kind });
      size += bytes.byteLength;
    }
    return jobs.length === 0 ? undefined : { jobs, pycs };
  }
}

class Pool {
  private readonly workers: { readonly worker: Worker; waiting: number }[];
  private readonly pending = new Map<number, (records: readonly UnitRecord[]) => void>();
  private last = 0;
  private failure: Error | undefined;
  private wake: () => void = () => undefined;

  constructor(file: URL, abi: string, threads: number) {
    this.workers = Array.from({ length: threads }, () => {
      // stdin, stdout and stderr are the main thread's
      const each = { worker: new Worker(file, { workerData: abi, resourceLimits: { maxYoungGenerationSizeMb: youngMiB } }), waiting: 0 };
      each.worker.on("message", ({ number, records }: BatchResult) => {
        each.waiting -= 1;
        const finish = this.pending.get(number);
        this.pending.delete(number);
        try {
          finish?.(records);
        } catch (error) {
          this.failure ??= error instanceof Error ? error : new Error(String(error));
        }
        this.wake();
      });
      each.worker.on("error", (error: Error) => {
        this.failure ??= error;
        this.wake();
      });
      return each;
    });
  }

  /** Hands a batch to the thread with the least to do; false: all have enough. */
  offer(pycs: CompileBatch["pycs"], finish: (records: readonly UnitRecord[]) => void): boolean {
    this.check();
    const idlest = this.workers.reduce((a, b) => (b.waiting < a.waiting ? b : a));
    if (idlest.waiting >= ahead) return false;
    const number = this.last++;
    this.pending.set(number, finish);
    idlest.waiting += 1;
    const batch: CompileBatch = { number, pycs };
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread of Node, no window
    idlest.worker.postMessage(batch);
    return true;
  }

  async finished(): Promise<void> {
    while (this.pending.size > 0) {
      this.check();
      await new Promise<void>((resolve) => { this.wake = resolve; });
    }
    this.check();
  }

  private check(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  async end(): Promise<void> {
    await Promise.all(this.workers.map(async ({ worker }) => worker.terminate()));
  }
}
