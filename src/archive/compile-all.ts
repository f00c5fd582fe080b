/**
 * Compiles what no store has, on several threads: the others take batches, and
 * this one compiles too while they have enough to do.
 */
import type { Abi } from "../abi/types.ts";
import type { CompiledUnit } from "./build.ts";
import type { CompileBatch, CompilePool } from "./compile-pool.ts";
import { compileModule } from "./compile.ts";
import type { PycToCompile } from "./compile.ts";
import type { PlacedModule } from "./place.ts";
import { pycFileOf, unitKey } from "./pyc-file.ts";
import { heldUnit } from "./stored.ts";
import type { UnitStore } from "./stored.ts";
import type { UnitRecord } from "./record.ts";

/** A batch keeps a thread busy for some milliseconds. */
const batchBytes = 192 << 10;
/** Fewer modules than this are compiled here before another thread has started. */
export const worthThreads = 192;

/** @param pool other threads; started when there is enough to do, unless it has been already. Its owner ends it. */
export async function compileAll(
  placed: readonly PlacedModule[], abi: Abi, store: UnitStore, pool: CompilePool, progress: (done: number) => void,
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
  if (missing.size >= worthThreads) pool.start(abi.id);
  for (let batch = work.next(); batch !== undefined; batch = work.next()) {
    const { jobs, pycs } = batch;
    const finish = (records: readonly UnitRecord[]): void => jobs.forEach(([key, positions], index) => {
      const record = records[index];
      if (record !== undefined) keep(key, positions, record);
    });
    if (pool.offer(pycs, finish)) continue;
    finish(pycs.map((pyc) => compileModule(pyc, abi)));
    // answers of the other threads, and signals, come between two batches
    await new Promise((resolve) => setImmediate(resolve));
  }
  await pool.finished();
  return compiled.map((each) => {
    if (each === undefined) throw new Error("a module that nobody compiled");
    return each;
  });
}

type Job = readonly [key: string, positions: readonly number[]];

/** What is to be compiled, in batches. */
class Work {
  private readonly jobs: readonly Job[];
  private readonly placed: readonly PlacedModule[];
  private at = 0;

  constructor(jobs: readonly Job[], placed: readonly PlacedModule[]) {
    this.jobs = jobs;
    this.placed = placed;
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
