/**
 * The keyed hash of hash-based .pyc files: `_imp.source_hash(magic token, source)`
 * (Python/import.c), which is `_Py_KeyedHash` (Python/pyhash.c): SipHash with
 * k0 = key, k1 = 0; SipHash-1-3 since 3.11, SipHash-2-4 before.
 *
 * 64-bit words are pairs of 32-bit halves: BigInt would cost seconds for a
 * site-packages of checked-hash files.
 */

/** @param minor of CPython 3.minor */
export function sourceHash(source: Uint8Array, pycMagic: number, minor: number): bigint {
  return minor >= 11 ? siphash(1, 3, BigInt(pycMagic), source) : siphash(2, 4, BigInt(pycMagic), source);
}

function siphash(compressRounds: number, finalRounds: number, key: bigint, data: Uint8Array): bigint {
  const k0h = Number(key >> 32n) | 0;
  const k0l = Number(key & 0xffff_ffffn) | 0;
  // high and low halves of v0 … v3; k1 is 0
  let v0h = k0h ^ 0x736f6d65, v0l = k0l ^ 0x70736575;
  let v1h = 0x646f7261 | 0, v1l = 0x6e646f6d | 0;
  let v2h = k0h ^ 0x6c796765, v2l = k0l ^ 0x6e657261;
  let v3h = 0x74656462 | 0, v3l = 0x79746573 | 0;

  const rounds = (count: number): void => {
    for (let i = 0; i < count; i++) {
      let low: number, high: number;
      // v0 += v1; v2 += v3
      low = (v0l >>> 0) + (v1l >>> 0); v0h = (v0h + v1h + (low > 0xffff_ffff ? 1 : 0)) | 0; v0l = low | 0;
      low = (v2l >>> 0) + (v3l >>> 0); v2h = (v2h + v3h + (low > 0xffff_ffff ? 1 : 0)) | 0; v2l = low | 0;
      // v1 = rotl(v1, 13) ^ v0; v3 = rotl(v3, 16) ^ v2; v0 = rotl(v0, 32)
      high = (v1h << 13) | (v1l >>> 19); low = (v1l << 13) | (v1h >>> 19); v1h = high ^ v0h; v1l = low ^ v0l;
      high = (v3h << 16) | (v3l >>> 16); low = (v3l << 16) | (v3h >>> 16); v3h = high ^ v2h; v3l = low ^ v2l;
      high = v0h; v0h = v0l; v0l = high;
      // v2 += v1; v0 += v3
      low = (v2l >>> 0) + (v1l >>> 0); v2h = (v2h + v1h + (low > 0xffff_ffff ? 1 : 0)) | 0; v2l = low | 0;
      low = (v0l >>> 0) + (v3l >>> 0); v0h = (v0h + v3h + (low > 0xffff_ffff ? 1 : 0)) | 0; v0l = low | 0;
      // v1 = rotl(v1, 17) ^ v2; v3 = rotl(v3, 21) ^ v0; v2 = rotl(v2, 32)
      high = (v1h << 17) | (v1l >>> 15); low = (v1l << 17) | (v1h >>> 15); v1h = high ^ v2h; v1l = low ^ v2l;
      high = (v3h << 21) | (v3l >>> 11); low = (v3l << 21) | (v3h >>> 11); v3h = high ^ v0h; v3l = low ^ v0l;
      high = v2h; v2h = v2l; v2l = high;
    }
  };
  const absorb = (high: number, low: number): void => {
    v3h ^= high; v3l ^= low;
    rounds(compressRounds);
    v0h ^= high; v0l ^= low;
  };

  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const whole = data.byteLength & ~7;
  for (let at = 0; at < whole; at += 8) absorb(view.getInt32(at + 4, true), view.getInt32(at, true));
  const tail = new DataView(new ArrayBuffer(8));
  for (let at = whole; at < data.byteLength; at++) tail.setUint8(at - whole, view.getUint8(at));
  tail.setUint8(7, data.byteLength & 0xff);
  absorb(tail.getInt32(4, true), tail.getInt32(0, true));
  v2l ^= 0xff;
  rounds(finalRounds);
  const high = (v0h ^ v1h ^ v2h ^ v3h) >>> 0;
  const low = (v0l ^ v1l ^ v2l ^ v3l) >>> 0;
  return (BigInt(high) << 32n) | BigInt(low);
}
