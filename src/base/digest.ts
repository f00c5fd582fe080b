/** Digests: XXH3-64 against damage (the runtime checks it), SHA-256 for identity. */
import { createHash } from "node:crypto";
import { createXXHash3 } from "hash-wasm";

const hasher = await createXXHash3();

/** XXH3-64, seed 0: the same value as XXH3_64bits() in native/vendor/xxhash.h. */
export function xxh3(...parts: readonly Uint8Array[]): bigint {
  hasher.init();
  for (const part of parts) hasher.update(part);
  return BigInt(`0x${hasher.digest("hex")}`);
}

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** XXH3-64 of what comes in pieces. */
export async function xxh3Stream(): Promise<{ update(bytes: Uint8Array): void; digest(): bigint }> {
  const own = await createXXHash3();
  own.init();
  return { update: (bytes) => void own.update(bytes), digest: () => BigInt(`0x${own.digest("hex")}`) };
}
