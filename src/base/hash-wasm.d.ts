/** One algorithm of hash-wasm: its index decodes all of them at each start. */
declare module "hash-wasm/dist/xxhash3.umd.min.js" {
  const hashes: Pick<typeof import("hash-wasm"), "createXXHash3">;
  export default hashes;
}
