/** A thread of compile-all.ts: compiles batches of .pyc files until it is ended. */
import { parentPort, workerData } from "node:worker_threads";
import { makeAbi } from "../abi/make.ts";
import type { AbiData } from "../abi/schema.ts";
import { compileModule } from "./compile.ts";
import type { BatchResult, CompileBatch } from "./compile-pool.ts";

/** Checked by the main thread. */
const abi = makeAbi(workerData as AbiData);

parentPort?.on("message", ({ number, pycs }: CompileBatch) => {
  const records = pycs.map((pyc) => compileModule(pyc, abi));
  const result: BatchResult = { number, records };
  // handed over, not copied; a reason's empty data has a buffer that others share
  const buffers = records.flatMap(({ head, data }) => (data.byteLength === 0 ? [head.buffer] : [head.buffer, data.buffer]));
  parentPort?.postMessage(result, buffers as ArrayBuffer[]);
});
