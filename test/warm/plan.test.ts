/** Mappings of one library are joined only where nothing else changes than that constants lie beside code. */
import { expect, it } from "vitest";
import { joinOriginals } from "../../src/warm/plan.ts";
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
