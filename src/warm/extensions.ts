/**
 * Extension modules that are known to survive a fork frozen in time. An extension
 * may keep what a restore must not repeat (a random generator that does not notice
 * a fork, a descriptor, an address of the kernel's), so only what has been tried is
 * taken without being asked for. How each was tried: docs/warm.md.
 */
import type { WarmFacts } from "./facts.ts";

/** Top-level names of modules, besides the standard library's. */
export const checkedExtensions: ReadonlySet<string> = new Set([
  "_cffi_backend", "charset_normalizer", "cryptography", "greenlet", "markupsafe", "numpy", "pandas", "pydantic_core", "sqlalchemy", "yaml", "_yaml",
]);

/** The extension modules of a process that are neither the standard library's, nor checked, nor allowed. */
export function unknownExtensions(facts: WarmFacts, allowed: readonly string[]): { name: string; file: string }[] {
  const taken = new Set(allowed);
  const site = /\/(?:site|dist)-packages\//;
  const found = new Map<string, string>();
  for (const [name, file] of facts.modules) {
    const top = name.split(".", 1)[0] ?? name;
    if (!file.endsWith(".so") || (file.startsWith(`${facts.stdlib}/`) && !site.test(file)) || checkedExtensions.has(top) || taken.has(top)) continue;
    // mypyc names its shared part by a digest: HASH__mypyc, which lies beside the package's other modules
    const mypyc = /^[0-9a-f]+__mypyc$/.test(top);
    if (mypyc && facts.modules.some(([other, path]) => other !== name && path.startsWith(file.slice(0, file.lastIndexOf("/") + 1)) && path.includes("__mypyc"))) continue;
    if (!found.has(top)) found.set(top, file);
  }
  return [...found].map(([name, file]) => ({ name, file }));
}
