/** Numbers of a marshal stream: digits of long ints, floats as IEEE-754 bits or (versions 0 and 1) as text. */
import type { Cursor } from "./cursor.ts";

/** PyLong_MARSHAL_SHIFT (Python/marshal.c): bits in a digit. */
const digitBits = 15;
/** V8 refuses larger BigInts; CPython would read up to 2^31 - 1 digits. */
const maxIntBits = 1 << 30;

const quietNan = 0x7ff8000000000000n;
const infinity = 0x7ff0000000000000n;
const signBit = 0x8000000000000000n;
/** What PyOS_string_to_double takes (Python/pystrtod.c), without inf and nan. */
const decimal = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/;
const nonFinite = /^([+-]?)(?:(inf(?:inity)?)|nan)$/i;

/** The operand of `l` (Python/marshal.c, r_PyLong): i32 signed count, then 15-bit digits, least first, the last not 0. */
export function readLong(cursor: Cursor): bigint {
  const start = cursor.at;
  const signed = cursor.i32();
  if (signed === -0x80000000) throw cursor.fail("PYC_BAD_VALUE", "long int of out-of-range size", start);
  const count = Math.abs(signed);
  if (count === 0) return 0n;
  cursor.mustHold(count, 2, "long int", start);
  if (count * digitBits > maxIntBits) throw cursor.fail("PYC_BAD_VALUE", `long int of ${count} digits is too large for this reader`, start);

  const bytes = new Uint8Array(Math.ceil((count * digitBits) / 8));
  let at = bytes.length; // filled from the least significant end
  let pending = 0;
  let pendingBits = 0;
  for (let index = 0; index < count; index++) {
    const digitAt = cursor.at;
    const digit = cursor.u16();
    if (digit >= 1 << digitBits) throw cursor.fail("PYC_BAD_VALUE", `long int with digit ${digit}, at most 32767 is valid`, digitAt);
    if (digit === 0 && index === count - 1) throw cursor.fail("PYC_BAD_VALUE", "long int whose highest digit is 0", digitAt);
    pending |= digit << pendingBits;
    for (pendingBits += digitBits; pendingBits >= 8; pendingBits -= 8) {
      bytes[--at] = pending & 0xff;
      pending >>>= 8;
    }
  }
  if (pendingBits > 0) bytes[--at] = pending;
  const magnitude = BigInt(`0x${Buffer.from(bytes.buffer).toString("hex")}`);
  return signed < 0 ? -magnitude : magnitude;
}

/** The operand of `f`, twice that of `x` (r_float_str): u8 length, ASCII text; gives the bits of the nearest double. */
export function readFloatText(cursor: Cursor): bigint {
  const start = cursor.at;
  const data = cursor.take(cursor.u8());
  // CPython parses a C string: what follows a NUL is not seen.
  const [text = ""] = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1").split("\0", 1);
  const special = nonFinite.exec(text);
  if (special !== null) return (special[1] === "-" ? signBit : 0n) | (special[2] === undefined ? quietNan : infinity);
  if (!decimal.test(text)) throw cursor.fail("PYC_BAD_VALUE", `${JSON.stringify(text)} is not the text of a float`, start);
  return doubleBits(Number(text));
}

function doubleBits(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}
