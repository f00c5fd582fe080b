/** One algorithm of hash-wasm: its index decodes all of them at each start. */
declare module "hash-wasm/dist/xxhash3.umd.min.js" {
  import type { createXXHash3 } from "hash-wasm";

  const hashes: { readonly createXXHash3: typeof createXXHash3 };
  export default hashes;
}
