/** Pages that every start writes to: found in a start that stops, written into the image's table. */
import { readSync, writeSync } from "node:fs";
import { viewOf } from "../image/codec.ts";
import { warmCodecs } from "./codec.ts";
import { pageState, withMemory } from "./process.ts";
import { readWarm } from "./read.ts";
import type { HotRange } from "./read.ts";
import { hotCapacity, pageSize, segmentKind } from "./schema.ts";
import { tablesDigest } from "./write.ts";

/** Pages of the image's writable segments that a stopped process of it has copies of. @throws PycdsError WARM_MEMORY */
export async function findHotPages(pid: number, image: Uint8Array, file: string): Promise<HotRange[]> {
  const { segments } = readWarm(image, file);
  return withMemory(pid, async (memory) => {
    const found: HotRange[] = [];
    for (const { address, size, protection, kind } of segments) {
      if ((protection & 2) === 0 || kind === segmentKind.wipe || kind === segmentKind.vdso || kind === segmentKind.copied) continue;
      const states = memory.pages(Number(address), Number(size) / pageSize);
      for (let page = 0; page < states.length; page++) {
        if (states[page] !== pageState.own) continue;
        const first = page;
        while (page < states.length && states[page] === pageState.own) page++;
        found.push({ address: Number(address) + first * pageSize, pages: page - first });
      }
    }
    return found;
  });
}

/** Writes them into the image that a descriptor is open on, for reading and writing. Those beyond the table's room fault. */
export function writeHotPages(file: number, image: Uint8Array, name: string, ranges: readonly HotRange[]): void {
  const { base, header } = readWarm(image, name);
  const tables = new Uint8Array(Number(header.tables_size));
  for (let done = 0; done < tables.byteLength;) done += readSync(file, tables, done, tables.byteLength - done, base + done);
  const view = viewOf(tables);
  const kept = [...ranges].sort((a, b) => b.pages - a.pages).slice(0, hotCapacity).sort((a, b) => a.address - b.address);
  kept.forEach(({ address, pages }, index) => warmCodecs.hot.write(view, header.hot_offset + index * warmCodecs.hot.size, { address: BigInt(address), size: BigInt(pages * pageSize) }));
  view.setUint32(warmCodecs.header.offsetOf("hot_count"), kept.length, true);
  view.setBigUint64(warmCodecs.header.offsetOf("tables_digest"), tablesDigest(tables), true);
  for (let done = 0; done < tables.byteLength;) done += writeSync(file, tables, done, tables.byteLength - done, base + done);
}
