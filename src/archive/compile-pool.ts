/** The other threads of compile-all.ts. */
import { Worker } from "node:worker_threads";
import { abiData } from "../abi/load.ts";
import type { PycToCompile } from "./compile.ts";
import type { UnitRecord } from "./record.ts";

export interface CompileBatch {
  readonly number: number;
  readonly pycs: readonly PycToCompile[];
}

export interface BatchResult {
  readonly number: number;
  readonly records: readonly UnitRecord[];
}

/** Batches that wait at a thread, so that it never waits for us. */
const ahead = 2;
/** Nearly all that compiling makes is short-lived: room for it spares copying. */
const youngMiB = 64;
/** Whether this code can run in another thread: Node starts JavaScript there, no TypeScript. */
const workerFile = import.meta.url.endsWith(".js") ? new URL("compile-worker.js", import.meta.url) : undefined;

/** Threads that compile batches of .pyc files. None is needed: where there is no other thread, every offer is declined. */
export class CompilePool {
  private readonly threads: number;
  private workers: { readonly worker: Worker; waiting: number }[] = [];
  private readonly pending = new Map<number, (records: readonly UnitRecord[]) => void>();
  private last = 0;
  private failure: Error | undefined;
  private wake: () => void = () => undefined;

  /** @param threads besides the one that asks */
  constructor(threads: number) {
    this.threads = workerFile === undefined ? 0 : threads;
  }

  /** Starts the threads, once; a thread takes some 100 ms until it compiles. */
  start(abi: string): void {
    if (this.workers.length > 0 || workerFile === undefined || this.threads < 1) return;
    const data = abiData(abi);
    this.workers = Array.from({ length: this.threads }, () => {
      // stdin, stdout and stderr are the main thread's
      const each = { worker: new Worker(workerFile, { workerData: data, resourceLimits: { maxYoungGenerationSizeMb: youngMiB } }), waiting: 0 };
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
    if (this.workers.length === 0) return false;
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
    await Promise.all(this.workers.splice(0).map(async ({ worker }) => worker.terminate()));
  }
}
