/** Is a description of structs whole? Members that nobody listed show as holes. */
import type { AbiData } from "./schema.ts";
import { policy } from "./policy.ts";
import type { StructName } from "./types.ts";

const wordSize = 8;

/** Every fault, one line each: missing structs, overlaps, and holes that alignment does not explain. */
export function layoutFaults(data: AbiData): string[] {
  const faults: string[] = [];
  for (const name of Object.keys(policy) as StructName[]) {
    const struct = data.structs[name];
    const fields = Object.entries(struct.fields).sort(([, a], [, b]) => a.offset - b.offset || a.size - b.size);
    let end = 0;
    for (const [field, { offset, size, kind }] of fields) {
      const alignment = kind === "inline" ? wordSize : Math.min(size, wordSize);
      if (offset < end) faults.push(`${name}.${field} at ${offset} overlaps what ends at ${end}`);
      if (offset - end >= alignment) faults.push(`${name}: ${offset - end} bytes before ${field} that no field explains`);
      end = Math.max(end, offset + size);
    }
    if (end > struct.size) faults.push(`${name}: ${end} bytes of fields in a struct of ${struct.size}`);
    // Trailing data is declared with one element, at most a word with its padding; else there is only padding.
    const trailing = fields.some(([, { kind, size }]) => kind === "inline" && size === 0);
    if (struct.size - end >= (trailing ? wordSize + 1 : wordSize)) faults.push(`${name}: ${struct.size - end} bytes at the end that no field explains`);
  }
  return faults;
}
