/** The texts of ABI data: what its digest is taken over, and what stands in a file. */
import type { AbiData } from "./schema.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** Members in order of name, recursively; members that are undefined are left out. */
function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([name, member]) => [name, sorted(member)]));
}

/** The text that {@link Abi.digest} is taken over: sorted names, no white space. */
export function canonicalJson(data: AbiData): string {
  return JSON.stringify(sorted(data as Json));
}

/** The text of a data file: {@link canonicalJson} laid out for diffs, innermost objects on one line. */
export function fileJson(data: AbiData): string {
  return `${lines(sorted(data as Json), "")}\n`;
}

function lines(value: Json, indent: string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value);
  if (members.every(([, member]) => typeof member !== "object" || member === null)) {
    return JSON.stringify(value, null, 1).replace(/\n */g, " ");
  }
  const inner = `${indent}  `;
  const rows = members.map(([name, member]) => `${inner}${Array.isArray(value) ? "" : `${JSON.stringify(name)}: `}${lines(member, inner)}`);
  return Array.isArray(value) ? `[\n${rows.join(",\n")}\n${indent}]` : `{\n${rows.join(",\n")}\n${indent}}`;
}
