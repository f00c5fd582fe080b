/**
 * CPython str values to and from JavaScript text and UTF-8.
 *
 * CPython's str is a sequence of code points in which a lone surrogate is an
 * ordinary member; JavaScript's string is a sequence of UTF-16 units in which
 * two adjacent surrogates *are* an astral code point. So the two-code-point str
 * '\ud83d\ude00' (width 2) and the one-code-point str '\U0001f600' (width 4)
 * have the same JavaScript text: {@link strText} is for people and for paths,
 * never a key where exactness counts. {@link utf8} is exact: it gives the
 * surrogates of such a pair three bytes each, the astral code point four.
 */
import type { PyValue, StrValue } from "./value.ts";

/** An invalid UTF-8 sequence begins at `fault` (bytes from the start of the data). */
export interface Utf8Fault { readonly fault: number }

/** A str from one-byte code points (ASCII or Latin-1), as a view of `data`. */
export function strFromLatin1(data: Uint8Array, interned: boolean): StrValue {
  return { kind: "str", width: 1, length: data.byteLength, ascii: isAscii(data), data, interned };
}

/**
 * A str from UTF-8 in which encoded surrogates are let through, as
 * PyUnicode_DecodeUTF8(…, "surrogatepass") does; a view of `data` if it is ASCII.
 */
export function strFromUtf8(data: Uint8Array, interned: boolean): StrValue | Utf8Fault {
  if (isAscii(data)) return strFromLatin1(data, interned);
  const points = new Uint32Array(data.byteLength);
  let count = 0;
  for (let at = 0; at < data.byteLength; ) {
    const point = decodeAt(data, at);
    if (point < 0) return { fault: at };
    points[count++] = point;
    at += utf8Size(point);
  }
  return narrowest(points.subarray(0, count), interned);
}

/** A str from JavaScript text: a surrogate pair becomes one code point, a lone surrogate stays. Not interned. */
export function strFromText(text: string): StrValue {
  const points: number[] = [];
  // Iterating a string gives code points; a lone surrogate comes alone.
  for (const character of text) points.push(character.codePointAt(0) ?? 0);
  return narrowest(Uint32Array.from(points), false);
}

/** JavaScript text; lone surrogates are kept. Not injective: see the head of this file. */
export function strText(value: StrValue): string {
  const { data } = value;
  const buffer = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  switch (value.width) {
    case 1:
      return buffer.toString("latin1");
    case 2:
      return buffer.toString("utf16le");
    case 4: {
      let text = "";
      for (let at = 0; at < buffer.length; at += 4) text += String.fromCodePoint(buffer.readUInt32LE(at));
      return text;
    }
  }
}

/** UTF-8 with surrogates let through ("surrogatepass"); different str values give different bytes. */
export function utf8(value: StrValue): Uint8Array {
  if (value.ascii) return value.data;
  const points = codePoints(value);
  let size = 0;
  for (const point of points) size += utf8Size(point);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const point of points) {
    const tail = utf8Size(point) - 1;
    bytes[at++] = tail === 0 ? point : ((0xff00 >> (tail + 1)) & 0xff) | (point >> (6 * tail));
    for (let rest = tail - 1; rest >= 0; rest--) bytes[at++] = 0x80 | ((point >> (6 * rest)) & 0x3f);
  }
  return bytes;
}

/** A short account of a value for messages, e.g. `str 'spam'` or `tuple of 3`; never long, never recursive. */
export function describe(value: PyValue): string {
  switch (value.kind) {
    case "none":
      return "None";
    case "ellipsis":
      return "Ellipsis";
    case "stopiteration":
      return "StopIteration";
    case "bool":
      return value.value ? "True" : "False";
    case "int": {
      const text = value.value.toString(16);
      return text.length > 20 ? `int of ${text.length} hex digits` : `int ${value.value}`;
    }
    case "str": {
      const text = strText(value.length > 40 ? { ...value, data: value.data.subarray(0, 40 * value.width) } : value);
      return `str ${JSON.stringify(text)}${value.length > 40 ? "…" : ""}`;
    }
    case "bytes":
      return `bytes of ${value.data.byteLength}`;
    case "tuple":
    case "list":
    case "set":
    case "frozenset":
      return `${value.kind} of ${value.items.length}`;
    case "dict":
    case "frozendict":
      return `${value.kind} of ${value.entries.length}`;
    case "code":
      return `code object ${describe(value.name).slice(4)}`;
    case "float":
    case "complex":
    case "slice":
      return value.kind;
  }
}

function isAscii(data: Uint8Array): boolean {
  let all = 0;
  for (let at = 0; at < data.length; at++) all |= data[at] ?? 0;
  return all < 0x80;
}

function utf8Size(point: number): 1 | 2 | 3 | 4 {
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/** The code point of the UTF-8 sequence at `at`, or -1 if it is cut, overlong, out of range or not UTF-8. */
function decodeAt(data: Uint8Array, at: number): number {
  const first = data[at] ?? 0;
  if (first < 0x80) return first;
  const size = first >= 0xf5 ? 0 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (size === 0 || at + size > data.byteLength) return -1;
  let point = first & (0x7f >> size);
  for (let next = 1; next < size; next++) {
    const byte = data[at + next] ?? 0;
    if ((byte & 0xc0) !== 0x80) return -1;
    point = (point << 6) | (byte & 0x3f);
  }
  return point <= 0x10ffff && utf8Size(point) === size ? point : -1;
}

function codePoints(value: StrValue): Uint32Array {
  const view = new DataView(value.data.buffer, value.data.byteOffset, value.data.byteLength);
  const points = new Uint32Array(value.length);
  for (let index = 0; index < value.length; index++) {
    points[index] =
      value.width === 1 ? view.getUint8(index) : value.width === 2 ? view.getUint16(index * 2, true) : view.getUint32(index * 4, true);
  }
  return points;
}

/** CPython's canonical form: the narrowest unit that holds every code point (PyUnicode_FromKindAndData). */
function narrowest(points: Uint32Array, interned: boolean): StrValue {
  let highest = 0;
  for (const point of points) if (point > highest) highest = point;
  const width = highest < 0x100 ? 1 : highest < 0x10000 ? 2 : 4;
  const data = new Uint8Array(points.length * width);
  const view = new DataView(data.buffer);
  for (const [index, point] of points.entries()) {
    if (width === 1) view.setUint8(index, point);
    else if (width === 2) view.setUint16(index * 2, point, true);
    else view.setUint32(index * 4, point, true);
  }
  return { kind: "str", width, length: points.length, ascii: highest < 0x80, data, interned };
}
