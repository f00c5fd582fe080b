/** The unit cache and the threads: the same bytes with and without, damage found, nothing half-written. */
import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, chownSync, closeSync, copyFileSync, mkdirSync, openSync, readFileSync, readSync, readdirSync, readlinkSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { buildArchive, linkArchive, planArchive } from "../../src/archive/build.ts";
import { compileAll } from "../../src/archive/compile-all.ts";
import { compileModule } from "../../src/archive/compile.ts";
import { CompilePool } from "../../src/archive/compile-pool.ts";
import { contentKey, pycFileOf } from "../../src/archive/pyc-file.ts";
import { NameNumbers } from "../../src/archive/record.ts";
import type { BuildInput } from "../../src/archive/types.ts";
import { DamagedCache } from "../../src/archive/stored.ts";
import type { StoredUnit } from "../../src/archive/stored.ts";
import { UnitCache } from "../../src/archive/unit-cache.ts";
import { xxh3 } from "../../src/base/digest.ts";
import { builtPycds } from "../support/built.ts";
import { pythonEnvironment, pythons } from "../support/pythons.ts";
import { sampleTree, scratch, treeInput, writeTree } from "./input.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const python = pythons().find(({ minor }) => minor >= 11 && minor <= 13);

/** Where a link leads; nothing where it is gone. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

describe("names", () => {
  it("are one by text, width and ASCII bit, in order of first use, however many", () => {
    const names = new NameNumbers();
    const seen = new Map<string, number>();
    for (let round = 0; round < 30_000; round++) {
      const text = `name_${(round * 7919) % 9000}${round % 3 === 0 ? "\u00e9" : ""}`;
      const bytes = Buffer.from(`xx${text}`, "latin1");
      const word = text.length * 8 + (round % 3 === 0 ? 0 : 1);
      const known = seen.get(text) ?? seen.size;
      seen.set(text, known);
      expect(names.number(bytes, 2, word)).toBe(known);
    }
    expect(Array.from({ length: names.length }, (_, index) => Buffer.from(names.at(index).value.data).toString("latin1"))).toEqual([...seen.keys()]);
    expect(names.number(Buffer.from("ab"), 0, 2 * 8 + 1)).not.toBe(names.number(Buffer.from("ab"), 0, 2 * 8 + 2));
  });
});

describe.skipIf(python === undefined)("the unit cache (needs CPython 3.11 to 3.13)", () => {
  const folder = scratch();
  afterAll(() => folder.remove());
  let input: BuildInput;
  let wanted: Uint8Array;
  let count = 0;

  beforeAll(() => {
    if (python === undefined) return;
    const sharing = Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`share_${n}.py`, `common_${n % 5} = a_common.attribute_${n % 3} + own_${n}\n`]));
    writeTree(join(folder.path, "tree"), { ...sampleTree, "twin_a.py": "x = 'same contents'\n", "twin_b.py": "x = 'same contents'\n", ...sharing });
    input = treeInput(python, join(folder.path, "tree"));
    wanted = buildArchive(input).bytes;
  });

  const fresh = (): string => {
    const path = join(folder.path, `cache-${count++}`);
    mkdirSync(path);
    return path;
  };
  const temporaries = new Set<string>();
  const opened = (path: string, maker = "maker"): UnitCache =>
    new UnitCache({ folder: path, maker, random: `r${count++}`, onTemporary: (file, exists) => void (exists ? temporaries.add(file) : temporaries.delete(file)) });
  const link = async (cache: UnitCache): Promise<Uint8Array> => {
    const plan = planArchive(input);
    const linked = linkArchive(plan, await compileAll(plan.placed, input.abi, cache, new CompilePool(0), () => undefined));
    const bytes = new Uint8Array(linked.size);
    await linked.emit({
      write: async (at, part) => {
        await new Promise((resolve) => setTimeout(resolve, at % 3)); // the order does not count
        bytes.set(part, at);
      },
    });
    return bytes;
  };
  const filled = async (): Promise<string> => {
    const path = fresh();
    const cache = opened(path);
    await link(cache);
    cache.publish();
    cache.close();
    return path;
  };
  const hits = (cache: UnitCache): number => input.modules.filter(({ pyc }) => pyc instanceof Uint8Array && cache.get(contentKey(pyc)) !== undefined).length;

  it("gives the bytes of a build without it, while it is filled, from it, and after one module changed", async () => {
    const path = fresh();
    const first = opened(path);
    expect(hits(first)).toBe(0);
    expect(Buffer.compare(await link(first), wanted)).toBe(0);
    first.publish();
    first.close();
    const second = opened(path);
    expect(hits(second)).toBe(input.modules.length);
    expect(Buffer.compare(await link(second), wanted)).toBe(0);
    second.publish();
    second.close();
    expect(readdirSync(path)).toHaveLength(1);
    expect(temporaries.size).toBe(0);
  });

  it("gives the same bytes when all heads are read ahead, and is closed while they are", async () => {
    const path = await filled();
    const cache = opened(path);
    cache.prefetch();
    await cache.prefetched();
    expect(Buffer.compare(await link(cache), wanted)).toBe(0);
    cache.close();
    const other = opened(path);
    other.prefetch();
    other.close();
  });

  it("gives the same bytes when units come from several packs, that have names in common", async () => {
    const path = fresh();
    const records = input.modules.map(({ pyc, pycFile, kind }) => ({ key: contentKey(pycFileOf(pyc).bytes()), record: compileModule({ bytes: pycFileOf(pyc).bytes(), file: pycFile, kind }, input.abi) }));
    for (const part of [0, 1, 2]) {
      const cache = opened(path);
      for (const [number, { key, record }] of records.entries()) if (number % 4 === part) cache.put(key, record);
      cache.publish();
      cache.close();
    }
    expect(readdirSync(path)).toHaveLength(3);
    const cache = opened(path);
    expect(Buffer.compare(await link(cache), wanted)).toBe(0);
    cache.publish();
    cache.close();
    const whole = opened(path);
    expect(hits(whole)).toBe(input.modules.length);
    expect(Buffer.compare(await link(whole), wanted)).toBe(0);
    whole.close();
  });

  it("keeps what another toolchain or layout made apart", async () => {
    const other = opened(await filled(), "other");
    expect(hits(other)).toBe(0);
    other.close();
  });

  it("does not look at the stamp in a .pyc's header", () => {
    const [pyc] = input.modules.map((module) => module.pyc);
    if (!(pyc instanceof Uint8Array)) throw new Error("no .pyc");
    const later = Uint8Array.from(pyc);
    later[9] = (later[9] ?? 0) ^ 0xff;
    expect(contentKey(later)).toBe(contentKey(pyc));
    later[20] = (later[20] ?? 0) ^ 0xff;
    expect(contentKey(later)).not.toBe(contentKey(pyc));
  });

  it("is nowhere believed where a byte changed: the unit is compiled again, or the damage named", async () => {
    const path = await filled();
    const [name = ""] = readdirSync(path);
    const sound = readFileSync(join(path, name));
    let named = 0;
    for (let at = 5; at < sound.byteLength; at += Math.ceil(sound.byteLength / 150)) {
      const damaged = Buffer.from(sound);
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      writeFileSync(join(path, name), damaged);
      const cache = opened(path);
      try {
        expect(Buffer.compare(await link(cache), wanted), `byte ${at}`).toBe(0);
      } catch (error) {
        expect(error, `byte ${at}`).toBeInstanceOf(DamagedCache);
        named += 1;
        cache.discard();
        expect(readdirSync(path).filter((each) => each.endsWith(".pack"))).toEqual([]);
      }
      cache.close();
    }
    expect(named).toBeGreaterThan(0);
  });

  it("is opened when packs are cut, empty or foreign, and deletes them", async () => {
    const path = await filled();
    const [name = ""] = readdirSync(path);
    for (const size of [0, 10, 24, 1000, statSync(join(path, name)).size - 1]) {
      copyFileSync(join(path, name), join(path, "maker-cut.pack"));
      truncateSync(join(path, "maker-cut.pack"), size);
      const cache = opened(path);
      expect(hits(cache)).toBe(input.modules.length);
      cache.close();
      expect(readdirSync(path)).toEqual([name]);
    }
  });

  it("stays small: the least recently used packs go, and what a killed build left", async () => {
    const path = await filled();
    const [name = ""] = readdirSync(path);
    const old = new Date(Date.now() - 3 * 24 * 3600 * 1000);
    for (let number = 0; number < 40; number++) {
      copyFileSync(join(path, name), join(path, `else-${number}.pack`));
      utimesSync(join(path, `else-${number}.pack`), new Date(old.getTime() + number * 1000), new Date(old.getTime() + number * 1000));
    }
    writeFileSync(join(path, "else-1.tmp"), "left over");
    utimesSync(join(path, "else-1.tmp"), old, old);
    utimesSync(join(path, name), old, old);
    const cache = opened(path);
    await link(cache);
    cache.publish();
    cache.close();
    const left = readdirSync(path);
    expect(left).toHaveLength(16);
    expect(left).toContain(name); // it was used
    expect(left).toContain("else-39.pack");
  });

  it("merges the packs of many builds: no unit is lost, and the largest pack is not written again", async () => {
    const path = await filled();
    const [large = ""] = readdirSync(path);
    const [first] = input.modules;
    if (first === undefined) throw new Error("no module");
    const record = compileModule({ bytes: pycFileOf(first.pyc).bytes(), file: first.pycFile, kind: first.kind }, input.abi);
    const key = (number: number): string => String(number).padStart(32, "0");
    const dataOf = (unit: StoredUnit | undefined): Uint8Array => {
      if (unit === undefined || unit.data instanceof Uint8Array) throw new Error("a unit that is in no pack");
      const bytes = Buffer.alloc(unit.head.dataSize);
      readSync(unit.data.fd, bytes, 0, bytes.byteLength, unit.data.offset);
      expect(xxh3(bytes)).toBe(unit.data.digest);
      return bytes;
    };
    for (let number = 0; number < 30; number++) {
      const cache = opened(path);
      for (let earlier = 0; earlier < number; earlier++) expect(Buffer.compare(dataOf(cache.get(key(earlier))), record.data)).toBe(0);
      expect(hits(cache)).toBe(input.modules.length);
      cache.put(key(number), record);
      cache.publish();
      cache.close();
      expect(readdirSync(path).length).toBeLessThanOrEqual(8);
      expect(readdirSync(path)).toContain(large);
    }
    expect(temporaries.size).toBe(0);
  });

  it("takes a read error for a miss, at its opening and later", async () => {
    const path = await filled();
    const [name = ""] = readdirSync(path);
    mkdirSync(join(path, "maker-folder.pack"));
    const cache = opened(path);
    expect(readdirSync(path)).toEqual([name]);
    // a folder takes the pack's descriptor: reading it is an error
    const fd = readdirSync("/proc/self/fd").find((each) => linkOf(`/proc/self/fd/${each}`).endsWith(name)) ?? "";
    closeSync(Number(fd));
    const others: number[] = [];
    for (let taken = openSync(path, "r"); taken !== Number(fd); taken = openSync(path, "r")) others.push(taken);
    for (const each of others) closeSync(each);
    expect(hits(cache)).toBe(0);
    expect(Buffer.compare(await link(cache), wanted)).toBe(0);
    cache.close();
  });

  it("serves two builds at a time", async () => {
    const path = fresh();
    const one = opened(path);
    const two = opened(path);
    const both = await Promise.all([link(one), link(two)]);
    one.publish();
    two.publish();
    one.close();
    two.close();
    for (const bytes of both) expect(Buffer.compare(bytes, wanted)).toBe(0);
    const after = opened(path);
    expect(Buffer.compare(await link(after), wanted)).toBe(0);
    after.close();
  });
});

describe.skipIf(python === undefined)("pycds build with threads and the cache (needs CPython 3.11 to 3.13)", () => {
  const folder = scratch();
  afterAll(() => folder.remove());
  const cache = join(folder.path, "cache");
  const tree = join(folder.path, "tree");
  const env = (more: object = {}): NodeJS.ProcessEnv => ({ ...pythonEnvironment(), XDG_CACHE_HOME: cache, ...more });
  const trace = join(folder.path, "t.trace");
  const pycds = (args: readonly string[], more: object = {}): void => {
    const { status, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: "utf8", env: env(more) });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  };
  const build = (name: string, more: object = {}): Buffer => {
    pycds(["build", "-q", "--trace", trace, "-o", join(folder.path, name)], more);
    return readFileSync(join(folder.path, name));
  };

  let bin = "";

  beforeAll(async () => {
    if (python === undefined) return;
    bin = await builtPycds();
    const lines = Array.from({ length: 40 }, (_, n) => `def f${n}(a, b=${n}): return (a.x${n}, 'text ${n}', b)`).join("\n");
    const names = Array.from({ length: 260 }, (_, n) => `m${n}`);
    writeTree(tree, { ...Object.fromEntries(names.map((name) => [`${name}.py`, `${lines}\nn = '${name}'\n`])), "app.py": names.map((name) => `import ${name}`).join("\n") });
    spawnSync(python.exe, ["-m", "compileall", "-q", tree], { env: env() });
    pycds(["trace", "-o", trace, "--", python.exe, join(tree, "app.py")]);
  });

  it("gives the bytes of one without, from the second build on too", () => {
    const without = build("without.pycds", { PYCDS_UNIT_CACHE: "off" });
    expect(build("first.pycds").equals(without)).toBe(true);
    expect(readdirSync(join(cache, "pycds/units")).filter((name) => name.endsWith(".pack"))).toHaveLength(1);
    expect(build("second.pycds").equals(without)).toBe(true);
    // a pack that is damaged where only the last pass reads is done without
    const [pack = ""] = readdirSync(join(cache, "pycds/units")).filter((name) => name.endsWith(".pack"));
    const bytes = readFileSync(join(cache, "pycds/units", pack));
    for (let at = 3000; at < bytes.byteLength - 200_000; at += 5000) bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(join(cache, "pycds/units", pack), bytes);
    expect(build("third.pycds").equals(without)).toBe(true);
    // and so is a folder that can't be used
    appendFileSync(join(folder.path, "file"), "");
    expect(build("fourth.pycds", { XDG_CACHE_HOME: join(folder.path, "file") }).equals(without)).toBe(true);
  });

  it("neither reads nor writes a folder that others may write, or that is another user's", () => {
    const shared = join(folder.path, "shared");
    const units = join(shared, "pycds/units");
    build("shared.pycds", { XDG_CACHE_HOME: shared });
    const kept = readdirSync(units).toSorted();
    expect(kept.length).toBeGreaterThan(1);
    const forge = (): void => {
      for (const name of kept) appendFileSync(join(units, name), "others were here"); // which a build that opens them would delete
    };
    forge();
    for (const path of [units, join(shared, "pycds")]) {
      for (const mode of [0o770, 0o707]) {
        chmodSync(path, mode);
        build("not-shared.pycds", { XDG_CACHE_HOME: shared });
        chmodSync(path, 0o700);
      }
      if (process.getuid?.() !== 0) continue;
      chownSync(path, 65534, 65534);
      build("not-shared.pycds", { XDG_CACHE_HOME: shared });
      chownSync(path, 0, 0);
    }
    expect(readdirSync(units).toSorted()).toEqual(kept);
    build("ours-again.pycds", { XDG_CACHE_HOME: shared });
    expect(readdirSync(units).toSorted()).not.toEqual(kept);
  });

  it("hears Ctrl-C while it writes the archive: the rest is not written", () => {
    // the signal comes with the first bytes of the archive, whose writing takes for ever: it is heard meanwhile, and no other file is written in its place
    const hook = join(folder.path, "hook.cjs");
    const count = join(folder.path, "written");
    writeFileSync(hook, `
const fs = require("node:fs"), write = fs.write;
let after = -1;
fs.write = (fd, bytes, offset, length, ...rest) => {
  if (!fs.readlinkSync("/proc/self/fd/" + fd).includes("ctrl-c.pycds")) return write(fd, bytes, offset, length, ...rest);
  if (after < 0) process.kill(process.pid, "SIGINT");
  after += length;
  fs.writeFileSync(process.env.PYCDS_TEST_COUNT, String(after));
  setInterval(() => undefined, 1000);
};
require("node:module").syncBuiltinESMExports();
`);
    const done = spawnSync(process.execPath, ["--require", hook, bin, "build", "-q", "--trace", trace, "-o", join(folder.path, "ctrl-c.pycds")], { encoding: "utf8", env: env({ PYCDS_TEST_COUNT: count }) });
    expect([done.signal, done.stdout, done.stderr]).toEqual(["SIGINT", "", ""]);
    expect(readdirSync(folder.path).filter((name) => name.includes("ctrl-c"))).toEqual([]);
    expect(Number(readFileSync(count, "utf8"))).toBeLessThan(build("whole.pycds").byteLength); // what waits in memory is bounded
  });

  it("leaves nothing half-written when it is interrupted", async () => {
    const other = join(folder.path, "other");
    const output = join(folder.path, "interrupted.pycds");
    for (const delay of [150, 400, 800]) {
      const child = spawn(process.execPath, [bin, "build", "-q", "--trace", trace, "-o", output], { env: env({ XDG_CACHE_HOME: other }), stdio: "ignore" });
      const ended = new Promise((resolve) => child.on("close", resolve));
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGINT");
      await ended;
      const left = [...readdirSync(folder.path), ...(readdirSync(folder.path).includes("other") ? readdirSync(other, { recursive: true, encoding: "utf8" }) : [])];
      expect(left.filter((name) => name.endsWith(".tmp"))).toEqual([]);
    }
    build("interrupted.pycds", { XDG_CACHE_HOME: other });
    expect(readFileSync(output).equals(build("again.pycds", { PYCDS_UNIT_CACHE: "off" }))).toBe(true);
  });
});
