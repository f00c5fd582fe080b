/**
 * The .pyc file: 16 bytes of header (PEP 552), then one marshalled code object.
 *
 * Accepted and refused as importlib does (Lib/importlib/_bootstrap_external.py,
 * _classify_pyc and _compile_bytecode): flag bits above 1 are invalid;
 * check_source without hash-based means a timestamp .pyc; bytes behind the code
 * object are ignored, as marshal.loads ignores them.
 */
import { Cursor } from "./cursor.ts";
import { readMarshal } from "./marshal.ts";
import { describe } from "./text.ts";
import type { Pyc, PycValidity } from "./value.ts";

export interface PycOptions {
  /** Named in errors. */
  readonly file: string;
  /** u16 magic number of the target, e.g. 3495. */
  readonly expectMagic: number;
  /** The target is CPython 3.`minor`. */
  readonly minor: number;
}

const hashBased = 0b01;
const checkSource = 0b10;
/** Behind the u16: damaged when a .pyc went through a text-mode transfer. */
const lineEnd = 0x0a0d;

/** Final magic numbers (Lib/importlib/_bootstrap_external.py of each version). */
const magicOwners: ReadonlyMap<number, string> = new Map([
  [3413, "CPython 3.8"],
  [3425, "CPython 3.9"],
  [3439, "CPython 3.10"],
  [3495, "CPython 3.11"],
  [3531, "CPython 3.12"],
  [3571, "CPython 3.13"],
  [3627, "CPython 3.14"],
  [3666, "CPython 3.15"],
]);

/**
 * Reads the contents of a .pyc; the code's bytes and strings are views of `bytes`.
 * @throws PycdsError with a {@link PycErrorCode}, and nothing else, whatever the bytes are
 */
export function readPyc(bytes: Uint8Array, options: PycOptions): Pyc {
  const cursor = new Cursor(bytes, options.file, 0);
  if (bytes.byteLength === 0) throw cursor.fail("PYC_TRUNCATED", "the file is empty", 0);
  const magic = cursor.u16();
  const ending = cursor.u16();
  if (magic !== options.expectMagic || ending !== lineEnd) {
    const found = ending === lineEnd ? nameMagic(magic) : `bytes ${Buffer.from(bytes.subarray(0, 4)).toString("hex")}, which no .pyc begins with`;
    throw cursor.fail(
      "PYC_FOREIGN",
      `its magic number is ${found}; the target's is ${nameMagic(options.expectMagic)}`,
      0,
      "compile the source with the target interpreter (python -m compileall)",
    );
  }
  const validity = readValidity(cursor);
  const start = cursor.at;
  const { value } = readMarshal(bytes, { minor: options.minor, file: options.file, offset: start });
  if (value.kind !== "code") throw cursor.fail("PYC_BAD_VALUE", `it holds ${describe(value)}, not a code object`, start);
  return { magic, validity, code: value };
}

function readValidity(cursor: Cursor): PycValidity {
  const start = cursor.at;
  const flags = cursor.u32();
  if ((flags & ~(hashBased | checkSource)) !== 0) {
    throw cursor.fail("PYC_BAD_FLAGS", `flags 0x${flags.toString(16)}; only bits 0 and 1 are defined`, start);
  }
  if ((flags & hashBased) === 0) return { kind: "timestamp", mtime: cursor.u32(), size: cursor.u32() };
  return { kind: "hash", checked: (flags & checkSource) !== 0, hash: cursor.u64() };
}

function nameMagic(magic: number): string {
  const owner = magicOwners.get(magic);
  return owner === undefined ? String(magic) : `${magic} (${owner})`;
}
