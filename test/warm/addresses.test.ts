/**
 * Address spaces: without ASLR, with the kernel's other layouts, and with something where
 * the parked process had its memory. An image is restored or refused; it never crashes.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { warmCodecs } from "../../src/warm/codec.ts";
import type { WarmHeader, WarmSegment } from "../../src/warm/codec.ts";
import { pageSize, segmentKind } from "../../src/warm/schema.ts";
import { plainEnvironment } from "../launch/support.ts";
import { builtPycds } from "../support/built.ts";
import { cannotWarm, createImage, forgeImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;
const noAslr = spawnSync("setarch", ["-R", "true"]).status === 0;
const unlimited = spawnSync("sh", ["-c", "ulimit -s unlimited"]).status === 0;

describe.skipIf(python === undefined)(`addresses${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let image: string;
  const env = plainEnvironment("");
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-addresses-")));
    image = join(directory, "image");
    expect(createImage(image, ["--preload", "json,ssl", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const code = "import json, os, threading; t = threading.Thread(target=lambda: print(json.dumps([1]))); t.start(); t.join(); print(os.waitstatus_to_exitcode(os.waitpid(os.fork() or os._exit(3), 0)[1]), len(bytes(50_000_000)))";
  const answer = "[1]\n3 50000000\n";
  const start = (wrapper: readonly string[], file: string): { readonly status: number | null; readonly signal: string | null; readonly stdout: string; readonly log: string } => {
    const words = [...wrapper, file, "-c", code];
    const log = join(directory, "log");
    rmSync(log, { force: true });
    const { status, signal, stdout } = spawnSync(words[0] ?? "", words.slice(1), { cwd: directory, encoding: "utf8", env: { ...env, PYCDS_LOG: log } });
    return { status, signal, stdout, log: readFileSync(log, "utf8") };
  };

  /** Ways of starting a program that lay its address space out in another way. */
  const layouts: readonly { readonly name: string; readonly wrapper: readonly string[]; readonly can: boolean }[] = [
    { name: "the usual layout", wrapper: [], can: true },
    { name: "no ASLR (setarch -R)", wrapper: ["setarch", "-R"], can: noAslr },
    { name: "the legacy layout, from the bottom up (setarch -L)", wrapper: ["setarch", "-L"], can: noAslr },
    { name: "an unlimited stack, which means the legacy layout", wrapper: ["sh", "-c", 'ulimit -s unlimited; exec "$@"', "sh"], can: unlimited },
    { name: "an unlimited stack without ASLR", wrapper: ["sh", "-c", 'ulimit -s unlimited; exec setarch -R "$@"', "sh"], can: unlimited && noAslr },
    { name: "a stack of 256 MB", wrapper: ["sh", "-c", 'ulimit -s 262144; exec "$@"', "sh"], can: unlimited },
    { name: "a stack of 1 MB", wrapper: ["sh", "-c", 'ulimit -s 1024; exec "$@"', "sh"], can: true },
    { name: "addresses below 3 GB (setarch -3)", wrapper: ["setarch", "-3"], can: noAslr },
  ];
  describe.each(layouts)("built with $name", ({ wrapper, can }) => {
    it.skipIf(!can)("is restored in each", { timeout: 120_000 }, async () => {
      const built = join(directory, "built");
      const [program, ...words] = [...wrapper, process.execPath, await builtPycds(), "warm", "create", "-q", "-o", built, "--preload", "json", "--", exe];
      expect(spawnSync(program, words, { cwd: directory, env, encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
      // a stack may have too little room where another one was built in: that is refused, and stock's
      const noRoom = `pycds: refused ${built}: there is no room for a stack of this size\n`;
      for (const { name, wrapper: by } of layouts.filter((each) => each.can)) {
        const { log, ...ran } = start(by, built);
        expect([name, ran]).toEqual([name, { status: 0, signal: null, stdout: answer }]);
        expect([`pycds: restored ${built}\n`, ...(name === "a stack of 256 MB" ? [noRoom] : [])], name).toContain(log);
      }
    });
  });

  /** The segments of forged tables, with a function that changes one of them. */
  function change(tables: Uint8Array, header: WarmHeader, choose: (segment: WarmSegment, index: number, all: readonly WarmSegment[]) => Partial<WarmSegment> | undefined): void {
    const view = new DataView(tables.buffer, tables.byteOffset);
    const at = (index: number): number => header.segments_offset + index * warmCodecs.segment.size;
    const all = Array.from({ length: header.segment_count }, (_, index) => warmCodecs.segment.read(view, at(index)));
    all.forEach((segment, index) => {
      const to = choose(segment, index, all);
      if (to !== undefined) warmCodecs.segment.write(view, at(index), { ...segment, ...to });
    });
  }

  const firstOf = (kind: number) => (segment: WarmSegment, index: number, all: readonly WarmSegment[]): boolean => segment.kind === kind && all.findIndex((one) => one.kind === kind) === index;
  // the restorer's own program, its tables, its copy of the arguments; an address that is none
  const places: readonly [string, bigint][] = [["the restorer", 0x5a0000000000n], ["its tables", 0x5a1000000000n], ["its arguments", 0x5a2000000000n], ["the kernel's half", 0xffff800000000000n], ["no page's begin", 0x10000001n]];
  const kinds = [["a page of the image", segmentKind.image], ["a page of a file", segmentKind.original], ["zero pages", segmentKind.zero], ["the vDSO", segmentKind.vdso]] as const;
  const collisions = kinds.flatMap(([what, kind]) => places.map(([where, address]) => ({ what, kind, where, address })));
  it.each(collisions)("$what at $where: refused, and started the normal way", ({ kind, address }) => {
    const forged = join(directory, "forged");
    forgeImage(image, forged, (tables, header) => change(tables, header, (segment, index, all) => (firstOf(kind)(segment, index, all) ? { address } : undefined)));
    const { log, ...ran } = start([], forged);
    expect(ran).toEqual({ status: 0, signal: null, stdout: answer });
    expect(log).toMatch(/^pycds: refused .*\/forged: (?:an address is taken|memory cannot be mapped|the vDSO cannot be moved)/);
  });

  it("two segments at one address", () => {
    const forged = join(directory, "forged");
    forgeImage(image, forged, (tables, header) => change(tables, header, (segment, index, all) => (index === 1 ? { address: all[0]?.address ?? 0n, size: segment.size } : undefined)));
    expect(start([], forged)).toMatchObject({ status: 0, signal: null, stdout: answer, log: expect.stringMatching(/^pycds: refused .*: an address is taken/) as string });
  });

  it("the stack where something else lies", () => {
    const forged = join(directory, "forged");
    forgeImage(image, forged, (tables, header) => {
      const high = header.stack_high - header.stack_low + 0x5a0000000000n;
      const view = new DataView(tables.buffer, tables.byteOffset);
      view.setBigUint64(warmCodecs.header.offsetOf("stack_low"), 0x5a0000000000n, true);
      view.setBigUint64(warmCodecs.header.offsetOf("stack_high"), high, true);
      view.setBigUint64(warmCodecs.header.offsetOf("stack_saved"), high - BigInt(pageSize), true);
    });
    expect(start([], forged)).toMatchObject({ status: 0, signal: null, stdout: answer, log: expect.stringMatching(/^pycds: refused .*: an address is taken/) as string });
  });

  it("too little address space for the image: the normal start says so, as stock does", () => {
    const by = (program: string): unknown => {
      const { status, signal, stdout } = spawnSync("sh", ["-c", 'ulimit -v 6000; exec "$0" -c "print(1)"', program], { cwd: directory, encoding: "utf8", env });
      return { status, signal, stdout };
    };
    const stock = by(exe);
    expect(stock).not.toMatchObject({ status: 0 });
    expect(by(image)).toEqual(stock);
  });
});
