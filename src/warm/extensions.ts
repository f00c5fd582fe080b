/**
 * Extension modules that are known to survive a fork frozen in time. An extension
 * may keep what a restore must not repeat (a random generator that does not notice
 * a fork, a descriptor, an address of the kernel's), so only what has been tried is
 * taken without being asked for. How each was tried: docs/warm.md.
 */
import type { WarmFacts } from "./facts.ts";

/** Top-level names of modules, besides the standard library's. */
export const checkedExtensions: ReadonlySet<string> = new Set([
  "_cffi_backend", "_yaml", "aiohttp", "bcrypt", "charset_normalizer", "cryptography", "frozenlist", "greenlet", "grpc", "lxml", "markupsafe", "msgpack",
  "multidict", "nacl", "numpy", "orjson", "pandas", "PIL", "propcache", "psutil", "psycopg_binary", "pydantic_core", "regex", "sqlalchemy", "uvloop", "yaml",
  "yarl", "zmq", "zstandard",
]);

/** The name under site-packages that a file belongs to: its package, or the module itself. */
function topOf(file: string): string | undefined {
  const inside = /\/(?:site|dist)-packages\/(?!.*\/(?:site|dist)-packages\/)(.*)$/.exec(file)?.[1];
  return inside?.split("/", 1)[0]?.replace(/\..*$/, "");
}

/** The extension modules of a process that are neither the standard library's, nor checked, nor allowed; by package. */
export function unknownExtensions(facts: WarmFacts, allowed: readonly string[]): { name: string; file: string }[] {
  const taken = new Set(allowed);
  const extensions = facts.modules.filter(([, file]) => file.endsWith(".so"));
  const found = new Map<string, string>();
  for (const [module, file] of extensions) {
    const top = topOf(file);
    if (top === undefined && file.startsWith(`${facts.stdlib}/`)) continue;
    const name = top ?? module.split(".", 1)[0] ?? module;
    if (checkedExtensions.has(name) || taken.has(name) || isMypycHelper(name, file, extensions, taken)) continue;
    if (!found.has(name)) found.set(name, file);
  }
  return [...found].map(([name, file]) => ({ name, file }));
}

/** mypyc puts the shared part of a package beside it, named by a digest: HASH__mypyc. */
function isMypycHelper(name: string, file: string, extensions: WarmFacts["modules"], taken: ReadonlySet<string>): boolean {
  if (!/^[0-9a-f]+__mypyc$/.test(name)) return false;
  return extensions.every(([, other]) => {
    const top = topOf(other);
    return other === file || top === undefined || checkedExtensions.has(top) || taken.has(top) || /^[0-9a-f]+__mypyc$/.test(top);
  });
}
