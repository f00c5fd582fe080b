/** The archive-wide table of interned names. */
import type { StrValue } from "../pyc/value.ts";

export interface NameEntry {
  readonly value: StrValue;
  /**
   * Set for a one-character Latin-1 name: the interpreter already has the
   * object, so none is laid out.
   */
  readonly latin1: number | undefined;
}

/** The code point of a one-character Latin-1 string, else undefined. */
export function latin1CodePoint(value: StrValue): number | undefined {
  return value.length === 1 && value.width === 1 ? value.data[0] : undefined;
}

/** Names in order of first use; equal text is one name, whatever object it came from. */
export class NameTable {
  private readonly byText = new Map<string, number>();
  /** Most are references to one value: no text is made for those. */
  private readonly byValue = new Map<StrValue, number>();
  private readonly list: NameEntry[] = [];

  get entries(): readonly NameEntry[] {
    return this.list;
  }

  /** Index of a name, added when it is new. */
  index(value: StrValue): number {
    const same = this.byValue.get(value);
    if (same !== undefined) return same;
    const index = this.indexOfText(value);
    this.byValue.set(value, index);
    return index;
  }

  private indexOfText(value: StrValue): number {
    const text = `${value.width}${Buffer.from(value.data.buffer, value.data.byteOffset, value.data.byteLength).toString("latin1")}`;
    const known = this.byText.get(text);
    if (known !== undefined) return known;
    const index = this.list.length;
    this.list.push({ value, latin1: latin1CodePoint(value) });
    this.byText.set(text, index);
    return index;
  }
}
