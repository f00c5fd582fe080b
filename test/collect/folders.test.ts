/**
 * The racy rule of listings (facts/cpython.md §7, FileFinder compares a folder's
 * mtime only): a listing is good when a later change is sure to carry another mtime.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { listFolders, normalisedMtime, racyForNs } from "../../src/archive/collect-folders.ts";
import type { Clock } from "../../src/archive/collect-folders.ts";
import { listFolder, machineView } from "../../src/archive/collect-view.ts";
import type { TreeView } from "../../src/archive/collect-view.ts";

const ms = 1_000_000n;
const second = 1000n * ms;
const base = 1_700_000_000n * second + 123n * ms;

describe("racyForNs", () => {
  it.each([
    ["older than 50 ms", base, base + 50n * ms, 0n],
    ["just now", base, base, 50n * ms],
    ["20 ms ago", base, base + 20n * ms, 30n * ms],
    ["a moment in the future: the clocks differ a little", base, base - 10n * ms, 60n * ms],
    ["far in the future", base + 3600n * second, base, 0n],
    ["a whole second: perhaps a file system of seconds", base - 123n * ms, base, 927n * ms],
    ["a whole second, long ago", base - 123n * ms, base + 2n * second, 0n],
  ])("%s", (_, mtime, now, expected) => {
    expect(racyForNs(mtime, now)).toBe(expected);
  });
});

describe("normalisedMtime", () => {
  const folders = (...mtimes: readonly bigint[]): { mtimeNs: bigint }[] => mtimes.map((mtimeNs) => ({ mtimeNs }));
  const day = 1_700_000_000n * second;
  const different = Array.from({ length: 20 }, (_, number) => base + BigInt(number));
  it.each<readonly [string, { mtimeNs: bigint }[], string | undefined, bigint | undefined]>([
    ["an installed tree", folders(...different), undefined, undefined],
    ["folders unpacked with times of their own, some within a second", folders(day, day, day, day + second, day + second, ...different), undefined, undefined],
    ["folders made in one tick of the clock", folders(...Array.from({ length: 20 }, () => base)), undefined, undefined],
    ["the epoch", folders(0n, ...different), undefined, 0n],
    ["its first second", folders(...different, second), undefined, second],
    ["1980", folders(...different, 315_532_800n * second), undefined, 315_532_800n * second],
    ["SOURCE_DATE_EPOCH", folders(...different, day), "1700000000", day],
    ["another SOURCE_DATE_EPOCH", folders(...different, day), "1700000001", undefined],
    ["no number", folders(...different, 0x10n * second), "0x10", undefined],
    ["one time for all", folders(...Array.from({ length: 8 }, () => day), ...different.slice(0, 8)), undefined, day],
    ["one time for fewer than half", folders(...Array.from({ length: 8 }, () => day), ...different.slice(0, 9)), undefined, undefined],
  ])("%s", (_, input, epoch, expected) => {
    expect(normalisedMtime(input, epoch)).toBe(expected);
  });
});

/** A folder whose clock and contents the test turns. */
function world(): { view: TreeView; clock: Clock; now: () => bigint; slept: number[]; onList: (() => void)[]; names: string[]; touch: () => void; setMtime: (to: bigint) => void } {
  let now = base;
  let mtime = base - second;
  const names = ["a.py"];
  const slept: number[] = [];
  const onList: (() => void)[] = [];
  const tick = 4n * ms; // the kernel's clock: stamps are multiples of it
  const touch = (): void => {
    mtime = now - (now % tick);
  };
  return {
    names, slept, onList, touch, now: () => now,
    setMtime: (to) => {
      mtime = to;
    },
    clock: {
      nowNs: () => now,
      sleep: async (duration) => {
        slept.push(duration);
        now += BigInt(duration) * ms;
      },
    },
    view: {
      stat: (path) => (path === "/f" ? { kind: "directory", mtimeNs: mtime, ctimeNs: mtime, size: 0, id: "1:1" } : undefined),
      list: () => {
        const listed = names.map((name) => ({ name, directory: false }));
        onList.shift()?.();
        return listed;
      },
      read: () => undefined,
    },
  };
}

describe("listFolders", () => {
  it("takes a folder at rest at once", async () => {
    const { view, clock, slept } = world();
    const { folders, restless } = await listFolders(view, ["/f", "/f", "/none"], clock);
    expect(folders).toEqual([{ path: "/f", mtimeNs: base - second, names: [{ name: "a.py", directory: false }] }]);
    expect(restless).toEqual([]);
    expect(slept).toEqual([]);
  });

  it("waits for a young one, so that no later change can keep its mtime", async () => {
    const { view, clock, slept, names, touch, now, onList } = world();
    touch();
    // a file is added right after the first listing, in the same tick: the mtime does not show it
    onList.push(() => {
      names.push("b.py");
      touch();
    });
    const { folders } = await listFolders(view, ["/f"], clock);
    expect(folders[0]?.names.map(({ name }) => name)).toEqual(["a.py", "b.py"]);
    expect(slept.length).toBe(1);
    expect(now() - (folders[0]?.mtimeNs ?? 0n)).toBeGreaterThanOrEqual(50n * ms);
  });

  it("lists again when the folder changed while it was listed", async () => {
    const { view, clock, names, touch, onList } = world();
    onList.push(() => {
      names.push("b.py");
      touch();
    });
    const { folders } = await listFolders(view, ["/f"], clock);
    expect(folders[0]?.names).toHaveLength(2);
  });

  it("lists again when it changed meanwhile and the mtime was set back (tar, rsync)", async () => {
    const { view, clock, names, onList, setMtime } = world();
    onList.push(() => {
      names.push("b.py");
      setMtime(base - 7n * second);
    });
    const { folders } = await listFolders(view, ["/f"], clock);
    expect(folders[0]).toMatchObject({ mtimeNs: base - 7n * second, names: [{ name: "a.py" }, { name: "b.py" }] });
  });

  it("gives up a folder that never rests", async () => {
    const { view, clock, touch } = world();
    const busy: Clock = { nowNs: () => clock.nowNs(), sleep: async (duration) => {
      await clock.sleep(duration);
      touch();
    } };
    touch();
    expect(await listFolders(view, ["/f"], busy)).toEqual({ folders: [], restless: ["/f"] });
  });
});

describe("on this machine", () => {
  const root = mkdtempSync(join(tmpdir(), "pycds-folders-"));
  afterAll(() => {
    rmSync(root, { recursive: true });
  });

  it("a file added after the listing always changes the folder's mtime", async () => {
    for (let round = 0; round < 5; round++) {
      writeFileSync(join(root, `x${round}.py`), "");
      const { folders } = await listFolders(machineView, [root]);
      writeFileSync(join(root, `y${round}.py`), "");
      expect(machineView.stat(root)?.mtimeNs).not.toBe(folders[0]?.mtimeNs);
    }
  });

  it("has no listing for what is no folder", () => {
    expect(listFolder(join(root, "x0.py"))).toBeUndefined();
    expect(listFolder(join(root, "none"))).toBeUndefined();
  });
});
