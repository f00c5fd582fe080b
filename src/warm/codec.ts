/** Codecs of the warm image's structs. */
import { codecOf } from "../image/codec.ts";
import type { RecordOfStruct } from "../image/codec.ts";
import { warmStructs } from "./schema.ts";

export const warmCodecs = {
  slot: codecOf(warmStructs.ImageSlot),
  state: codecOf(warmStructs.State),
  signal: codecOf(warmStructs.Signal),
  header: codecOf(warmStructs.Header),
  segment: codecOf(warmStructs.Segment),
  file: codecOf(warmStructs.File),
  hot: codecOf(warmStructs.Hot),
  folder: codecOf(warmStructs.Folder),
  stamp: codecOf(warmStructs.Stamp),
  variable: codecOf(warmStructs.Variable),
} as const;

export type WarmHeader = RecordOfStruct<typeof warmStructs.Header>;
export type WarmState = RecordOfStruct<typeof warmStructs.State>;
export type WarmSegment = RecordOfStruct<typeof warmStructs.Segment>;
export type WarmFile = RecordOfStruct<typeof warmStructs.File>;
export type WarmFolder = RecordOfStruct<typeof warmStructs.Folder>;
export type WarmStamp = RecordOfStruct<typeof warmStructs.Stamp>;
export type WarmVariable = RecordOfStruct<typeof warmStructs.Variable>;
