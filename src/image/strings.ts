/** Builds the strings section: each text once, NUL-terminated. */
import { ByteWriter } from "../base/bytes.ts";
import { PycdsError } from "../base/errors.ts";

const encoder = new TextEncoder();

export interface StringReference {
  /** Offset in the strings section. */
  readonly ref: number;
  /** Bytes, without the NUL. */
  readonly length: number;
}

export class StringTable {
  private readonly known = new Map<string, StringReference>();
  private readonly writer = new ByteWriter();

  constructor() {
    // Reference 0 is the empty string, so that a zeroed field is harmless.
    this.add("");
  }

  add(text: string): StringReference {
    const found = this.known.get(text);
    if (found !== undefined) return found;
    const bytes = encoder.encode(text);
    if (bytes.includes(0)) throw new PycdsError("IMAGE_STRING", `cannot store ${JSON.stringify(text)}`, "it contains a NUL character");
    const reference: StringReference = { ref: this.writer.length, length: bytes.byteLength };
    this.writer.bytes(bytes);
    this.writer.u8(0);
    this.known.set(text, reference);
    return reference;
  }

  done(): Uint8Array {
    return this.writer.done().slice();
  }
}
