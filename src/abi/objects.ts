/** Bodies of scalar objects that depend on the version: the str state word, ints, which strings are interned. */
import type { AbiData } from "./schema.ts";

/** Value `value` in the field that `mask` covers. */
function inMask(mask: number, value: number): number {
  // mask & -mask: its lowest bit, so this is a shift by the number of zeros below.
  return (value * (mask & -mask)) >>> 0;
}

/** @returns the u32 state of a compact, not interned str (Include/cpython/unicodeobject.h: PyASCIIObject.state) */
export function strStateRule(data: AbiData): (width: 1 | 2 | 4, ascii: boolean) => number {
  const bits = data.strState;
  /*
   * 3.14+: finalisation makes immortal interned strings mortal and frees them (Objects/unicodeobject.c:
   * _PyUnicode_ClearInterned), and any of ours may become one, by sys.intern or as an attribute's name. unicode_dealloc
   * leaves a statically allocated string alone. Before that nothing is freed, and 3.12 tells static strings apart when it interns.
   */
  const fixed = data.version.minor >= 14 ? (bits.statically_allocated ?? 0) : 0;
  return (width, ascii) => {
    if (ascii && width !== 1) throw new Error(`an ASCII str of width ${width}`);
    // `ready` (to 3.11): the object is complete.
    return (inMask(bits.kind, width) | inMask(bits.compact, 1) | inMask(bits.ascii, ascii ? 1 : 0) | (bits.ready ?? 0) | fixed) >>> 0;
  };
}

/** @returns bytes from the size word on: ob_size with the sign (to 3.11) or lv_tag (3.12+), then 30-bit digits, least significant first */
export function intBodyRule(data: AbiData): (value: bigint) => { offset: number; bytes: Uint8Array } {
  const { fields } = data.structs.PyLongObject;
  const { tag, digitBits, digitSize } = data.int;
  const word = fields[tag === undefined ? "ob_size" : "lv_tag"];
  const digits = fields["ob_digit"];
  if (word === undefined || digits === undefined) throw new Error(`${data.id}: PyLongObject without size word or digits`);
  const start = digits.offset - word.offset;

  return (value) => {
    const list: number[] = [];
    const mask = (1n << BigInt(digitBits)) - 1n;
    for (let rest = value < 0n ? -value : value; rest > 0n; rest >>= BigInt(digitBits)) list.push(Number(rest & mask));
    // Objects/longobject.c: _PyLong_New always makes room for one digit, and 0 has it cleared.
    const bytes = new Uint8Array(start + Math.max(1, list.length) * digitSize);
    const view = new DataView(bytes.buffer);
    const count = BigInt(list.length);
    if (tag === undefined) {
      view.setBigInt64(0, value < 0n ? -count : count, true);
    } else {
      const sign = value === 0n ? tag.zero : value < 0n ? tag.negative : 0;
      view.setBigUint64(0, (count << BigInt(tag.sizeShift)) | BigInt(sign), true);
    }
    list.forEach((digit, index) => view.setUint32(start + index * digitSize, digit, true));
    return { offset: word.offset, bytes };
  };
}

/** Objects/codeobject.c: all_name_chars; free-threaded builds intern every constant (intern_constants). */
export function internRule(data: AbiData): (ascii: boolean, text: Uint8Array) => boolean {
  return (ascii, text) => data.internsAllConstants || (ascii && allNameBytes(text));
}

function allNameBytes(text: Uint8Array): boolean {
  for (let at = 0; at < text.length; at++) if (!isNameByte(text[at] ?? 0)) return false;
  return true;
}

function isNameByte(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x5f || (byte >= 0x61 && byte <= 0x7a);
}
