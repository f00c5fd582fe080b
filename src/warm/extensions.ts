/**
 * Extension modules that are known to survive a fork frozen in time. An extension
 * may keep what a restore must not repeat (a random generator that does not notice
 * a fork, a descriptor, an address of the kernel's), so only what has been tried is
 * taken without being asked for. How each was tried: docs/warm.md.
 */
import { realpathSync } from "node:fs";
import { basename } from "node:path";
import { linkageOf } from "./elf.ts";
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

/** The C library's own, which it loads by itself: name services, character sets, unwinding. */
const ofTheCLibrary = /^(?:ld-linux-|libc\.|libm\.|libmvec\.|libdl\.|libpthread\.|librt\.|libutil\.|libresolv\.|libnss_|libnsl\.|libgcc_s\.)/;

/**
 * Libraries that neither the interpreter nor an extension module is linked with: the
 * program loaded them itself, through ctypes, cffi or a plug-in of its own.
 * @param mapped files that code is mapped from
 * @param own the interpreter, and our libraries
 */
export function unknownLibraries(facts: WarmFacts, mapped: readonly string[], own: readonly string[], allowed: readonly string[]): { name: string; file: string }[] {
  const taken = new Set(allowed);
  const byName = new Map<string, string[]>();
  for (const file of mapped) for (const name of new Set([basename(file), linkageOf(file)?.soname ?? ""])) byName.set(name, [...(byName.get(name) ?? []), file]);
  const known = new Set<string>();
  const queue = [...own, facts.executable, ...facts.modules.map(([, file]) => file).filter((file) => file.endsWith(".so"))].map(realPath);
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (known.has(file)) continue;
    known.add(file);
    queue.push(...(linkageOf(file)?.needed ?? []).flatMap((name) => byName.get(basename(name)) ?? []));
  }
  const found = new Map<string, string>();
  for (const file of mapped) {
    if (known.has(file) || ofTheCLibrary.test(basename(file)) || /\/gconv\/[^/]+\.so$/.test(file)) continue;
    const name = topOf(file) ?? basename(file).replace(/\.so(?:\..*)?$/, "");
    if (!checkedExtensions.has(name) && !taken.has(name) && !found.has(name)) found.set(name, file);
  }
  return [...found].map(([name, file]) => ({ name, file }));
}

/** Extension modules are named by the path that they were imported by, mappings by where that leads. */
function realPath(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file;
  }
}

/** mypyc puts the shared part of a package beside it, named by a digest: HASH__mypyc. */
function isMypycHelper(name: string, file: string, extensions: WarmFacts["modules"], taken: ReadonlySet<string>): boolean {
  if (!/^[0-9a-f]+__mypyc$/.test(name)) return false;
  return extensions.every(([, other]) => {
    const top = topOf(other);
    return other === file || top === undefined || checkedExtensions.has(top) || taken.has(top) || /^[0-9a-f]+__mypyc$/.test(top);
  });
}
