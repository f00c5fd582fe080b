/** How formats are described: structures of numbers, little-endian, naturally aligned without padding. */

export type FieldType = "u8" | "u16" | "u32" | "i32" | "u64" | "i64" | { readonly bytes: number };

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly doc: string;
}

export interface Struct {
  readonly name: string;
  readonly doc: string;
  readonly fields: readonly Field[];
}

/** Keeps the literal types of name and type, from which {@link RecordOf} in codec.ts derives the records. */
export const f = <const N extends string, const T extends FieldType>(name: N, type: T, doc: string): { readonly name: N; readonly type: T; readonly doc: string } => ({
  name, type, doc,
});

export function fieldSize(type: FieldType): number {
  if (typeof type !== "string") return type.bytes;
  switch (type) {
    case "u8":
      return 1;
    case "u16":
      return 2;
    case "u32":
    case "i32":
      return 4;
    case "u64":
    case "i64":
      return 8;
  }
}

/** Offset of each field and the size of the struct; fields must be naturally aligned without padding. */
export function layoutOf(struct: Struct): { readonly offsets: ReadonlyMap<string, number>; readonly size: number } {
  const offsets = new Map<string, number>();
  let at = 0;
  let widest = 1;
  for (const field of struct.fields) {
    const size = fieldSize(field.type);
    const alignment = typeof field.type === "string" ? size : 1;
    if (at % alignment !== 0) throw new Error(`${struct.name}.${field.name} is not aligned: offset ${at}`);
    offsets.set(field.name, at);
    at += size;
    widest = Math.max(widest, alignment);
  }
  if (at % widest !== 0) throw new Error(`${struct.name} needs ${widest - (at % widest)} bytes of explicit padding`);
  return { offsets, size: at };
}
