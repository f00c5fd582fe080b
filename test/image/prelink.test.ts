/** Hints change where slots point, never what the archive is: taking them out gives the bytes that were built. */
import { describe, expect, it } from "vitest";
import { viewOf } from "../../src/image/codec.ts";
import { prelink, prelinkedUnits, withoutHints } from "../../src/image/prelink.ts";
import { openImage } from "../../src/image/reader.ts";
import { diff } from "../../src/inspect/diff.ts";
import { verifyFile } from "../../src/inspect/verify.ts";
import { resign, sampleImage } from "./sample.ts";

const addresses = new Map([[0, 0x8f_1000n], [3, 0x8f_2000n], [16, 0x8f_3000n], [300, 0x8f_4000n]]);
const built = sampleImage();
const open = (bytes: Uint8Array): ReturnType<typeof openImage> => openImage(bytes, "sample");

describe("address hints", () => {
  const { bytes, units } = prelink(open(built), addresses);

  it("are written into every slot and its group, and leave the archive sound and the same", () => {
    expect(units).toBe(3);
    const image = open(bytes);
    expect(prelinkedUnits(image)).toBe(3);
    const view = viewOf(image.section("data"));
    expect([8, 280, 32].map((slot) => view.getBigUint64(slot, true))).toEqual([0x8f_1000n, 0x8f_2000n, 0x8f_3000n]);
    expect(verifyFile(bytes, "sample").problems).toEqual([]);
    expect(image.header.archive_digest).toEqual(open(built).header.archive_digest);
    expect(diff(open(built), image).equal).toBe(true);
  });

  it("can be taken out again, and exchanged", () => {
    expect(prelinkedUnits(open(built))).toBe(0);
    expect(Buffer.compare(withoutHints(open(bytes)), built)).toBe(0);
    const other = new Map([...addresses].map(([number, address]) => [number, address + 0x10000n]));
    expect(Buffer.compare(prelink(open(prelink(open(built), other).bytes), addresses).bytes, bytes)).toBe(0);
  });

  it("are for a whole unit or not at all: one object without a constant address leaves it as it was", () => {
    for (const number of [0, 3, 16]) {
      const partly = prelink(open(built), new Map([...addresses].filter(([each]) => each !== number)));
      expect(partly.units).toBe(0);
      expect(Buffer.compare(partly.bytes, built)).toBe(0);
    }
  });

  it("do not change the bytes that they are made from, a Buffer's either", () => {
    const buffer = Buffer.from(built);
    prelink(open(buffer), addresses);
    expect(Buffer.compare(buffer, built)).toBe(0);
  });

  it("a slot that holds something else than its hint is found", () => {
    const wrong = resign(bytes, (_, view) => view.setBigUint64(open(bytes).sections.data.offset + 8, 0x8f_9000n, true));
    expect(verifyFile(wrong, "sample").problems.map(({ what }) => what)).toContain("unit 0: an external slot does not hold its group's hint");
  });
});
