/** Mappings of one library are joined only where nothing else changes than that constants lie beside code; small libraries go into a sealed image. */
import { describe, expect, it } from "vitest";
import { embedSmall, joinOriginals } from "../../src/warm/plan.ts";
import type { Plan, PlannedSegment } from "../../src/warm/plan.ts";
import { segmentKind } from "../../src/warm/schema.ts";

const part = (address: number, pages: number, protection: number, offset: number, file = "/a.so") => ({ address: address * 4096, size: pages * 4096, protection, kind: segmentKind.original, file, offset: offset * 4096 });

it("joins neighbouring read-only parts of one file", () => {
  expect(joinOriginals([part(0, 1, 1, 0), part(1, 4, 5, 1), part(5, 2, 1, 5)])).toEqual([part(0, 7, 5, 0)]);
});
it.each([
  ["a gap in memory", part(2, 4, 5, 1)], ["a gap in the file", part(1, 4, 5, 2)], ["another file", part(1, 4, 5, 1, "/b.so")], ["a writable part", part(1, 4, 3, 1)], ["a part without access", part(1, 4, 0, 1)],
])("but not across %s", (_name, second) => {
  expect(joinOriginals([part(0, 1, 1, 0), second])).toEqual([part(0, 1, 1, 0), second]);
});

describe("small libraries", () => {
  const image = (address: number, pages: number, protection: number, more: Partial<PlannedSegment> = {}): PlannedSegment => ({ address: address * 4096, size: pages * 4096, protection, kind: segmentKind.image, ...more });
  const plan = (segments: readonly PlannedSegment[], dirtyPages: number): Plan => ({ segments, dirtyPages, embedded: [], vdso: undefined, stack: { low: 0, high: 0, saved: 0, floor: 0 } });

  it("are in the image, the smallest first, up to a tenth of what is there anyway; code shares a mapping with what was relocated, never with what can be written", () => {
    const small = [part(0, 5, 5, 0), image(5, 1, 1), image(6, 1, 3)];
    const large = [part(10, 6, 5, 0, "/b.so"), image(16, 1, 1)];
    const { segments, embedded } = embedSmall(plan([...large, ...small], 100));
    expect(embedded).toEqual(["/a.so"]);
    expect(segments).toEqual([...large, image(0, 6, 5), image(6, 1, 3)]);
  });
  it("all of a library or nothing of it", () => {
    const parts = [part(0, 2, 5, 0), part(4, 9, 1, 4)];
    expect(embedSmall(plan(parts, 100))).toEqual(plan(parts, 100));
    expect(embedSmall(plan(parts, 110))).toMatchObject({ embedded: ["/a.so"], segments: [image(0, 2, 5), image(4, 9, 1)] });
  });
  it("what was anonymous memory stays by itself: given back, it is zero, and a library is not", () => {
    const parts = [part(0, 2, 5, 0), image(2, 1, 1, { anonymous: true })];
    expect(embedSmall(plan(parts, 100)).segments).toEqual([image(0, 2, 5), parts[1]]);
  });
  it("data files stay what they are, and blocks that stand apart are not joined", () => {
    const kept = [part(0, 1, 1, 0, "/data"), image(1, 1, 1, { apart: true }), image(2, 1, 1), image(3, 1, 0)];
    expect(embedSmall(plan(kept, 1000))).toEqual(plan(kept, 1000));
  });
});
