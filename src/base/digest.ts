/** Digests: XXH3-64 against damage (the runtime checks it), SHA-256 for identity. */
import hashes from "hash-wasm/dist/xxhash3.umd.min.js";

export { hex, sha256 } from "./sha256.ts";

const hasher = await hashes.createXXHash3();

/** XXH3-64, seed 0: the same value as XXH3_64bits() in native/vendor/xxhash.h. */
export function xxh3(...parts: readonly Uint8Array[]): bigint {
  hasher.init();
  for (const part of parts) hasher.update(part);
  // canonical form: big-endian
  const digest = hasher.digest("binary");
  return new DataView(digest.buffer, digest.byteOffset, digest.byteLength).getBigUint64(0, false);
}

/** XXH3-64 of what comes in pieces. */
export async function xxh3Stream(): Promise<{ update(bytes: Uint8Array): void; digest(): bigint }> {
  const own = await hashes.createXXHash3();
  own.init();
  return { update: (bytes) => void own.update(bytes), digest: () => BigInt(`0x${own.digest("hex")}`) };
}
