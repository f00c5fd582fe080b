/** A .pyc as a build meets it: its head at once, the rest only when no compiled unit of the same contents is at hand. */
import { hex, sha256 } from "../base/digest.ts";

export interface PycFile {
  /** The first 16 bytes, or fewer. */
  readonly head: Uint8Array;
  /** The name of its contents. */
  key(): string;
  /** @throws PycdsError when it has changed since its head was read */
  bytes(): Uint8Array;
}

export const pycHeadSize = 16;

/**
 * The name of a .pyc's contents: what a unit depends on but for the layout data. The
 * stamp in its header (bytes 8 to 15) plays no part.
 */
export function contentKey(pyc: Uint8Array): string {
  return hex(sha256(pyc.subarray(0, 8), pyc.subarray(pycHeadSize)).subarray(0, 16));
}

/** The name of a module's unit: without a source its code keeps other file names (compile.ts). */
export function unitKey(pyc: PycFile, kind: "source" | "sourceless"): string {
  return kind === "source" ? pyc.key() : hex(sha256(Buffer.from(`${pyc.key()} without source`)).subarray(0, 16));
}

export function heldPyc(bytes: Uint8Array): PycFile {
  let key: string | undefined;
  return { head: bytes.subarray(0, pycHeadSize), key: () => (key ??= contentKey(bytes)), bytes: () => bytes };
}

export function pycFileOf(pyc: Uint8Array | PycFile): PycFile {
  return pyc instanceof Uint8Array ? heldPyc(pyc) : pyc;
}
