/** A pattern's archived result: PurePattern in schema.ts, as a value and as bytes. */
import { ByteWriter } from "../base/bytes.ts";
import { codecs, utf8, viewOf } from "./codec.ts";

/** What re's compiler calls _sre.compile with, besides the pattern itself. */
export interface PatternResult {
  /** The flags given and those written in the pattern. */
  readonly flags: number;
  readonly groups: number;
  readonly code: readonly number[];
  /** groupindex, in its order. */
  readonly names: readonly { readonly name: string; readonly group: number }[];
}

const encoder = new TextEncoder();
const headSize = codecs.PurePattern.size;
const groupSize = codecs.PureGroup.size;

export function encodePattern({ flags, groups, code, names }: PatternResult): Uint8Array {
  const writer = new ByteWriter(headSize + code.length * 4);
  for (const word of [flags, groups, code.length, names.length, ...code]) writer.u32(word);
  for (const { name, group } of names) {
    const bytes = encoder.encode(name);
    writer.u32(group);
    writer.u32(bytes.byteLength);
    writer.bytes(bytes);
    writer.align(4);
  }
  return writer.done().slice();
}

/** The result in `bytes`, or a clause that says what is wrong with them. */
export function decodePattern(bytes: Uint8Array): PatternResult | string {
  if (bytes.byteLength < headSize) return `${bytes.byteLength} bytes cannot hold a pattern`;
  const view = viewOf(bytes);
  const head = codecs.PurePattern.read(view, 0);
  let at = headSize + head.code_count * 4;
  if (at > bytes.byteLength) return `its code of ${head.code_count} words is cut`;
  const code = Array.from({ length: head.code_count }, (_, index) => view.getUint32(headSize + index * 4, true));
  const names: { name: string; group: number }[] = [];
  for (let index = 0; index < head.name_count; index++) {
    if (at + groupSize > bytes.byteLength) return `name ${index} is cut`;
    const { group, length } = codecs.PureGroup.read(view, at);
    at += groupSize;
    const name = at + length > bytes.byteLength ? undefined : utf8(bytes.subarray(at, at + length));
    if (name === undefined) return `name ${index} is cut or not UTF-8 text`;
    if (group === 0 || group > head.groups) return `name ${index} is that of group ${group}, there are ${head.groups}`;
    names.push({ name, group });
    at += length + (-length & 3);
  }
  if (at !== bytes.byteLength) return `it ends at ${at}, not at ${bytes.byteLength}`;
  return { flags: head.flags, groups: head.groups, code, names };
}
