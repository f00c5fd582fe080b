/**
 * Archived results of pure functions cannot be told from computed ones:
 * fixtures/pure/p_*.py print what a program can see of patterns, code objects,
 * warnings, errors, frames, events and caches; under stock and with an archive
 * that has their results they print the same.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openImage } from "../../src/image/reader.ts";
import { pureKind } from "../../src/image/schema.ts";
import { traceCommand } from "../../src/trace/command.ts";
import { builtPycds, checkout } from "../support/built.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import { served } from "../support/served.ts";

const fixtures = join(checkout, "fixtures/pure");
const probes = readdirSync(fixtures).flatMap((file) => (file.startsWith("p_") && file.endsWith(".py") ? [file.slice(0, -3)] : []));
const launcher = join(checkout, "build/native/pycds_launch.so");
const runtime = { gil: join(checkout, "build/native/_pycds.so"), freeThreaded: join(checkout, "build/native/_pycds_t.so") };

interface Ran {
  readonly status: number | null;
  readonly out: string;
  /** Served by the archive. */
  readonly sources: number;
  readonly patterns: number;
}

for (const { name, python } of served()) {
  describe.skipIf(python === undefined)(name, () => {
    const exe = python?.exe ?? "";
    const isFree = python?.flavour === "freethreaded";
    const scratch = mkdtempSync(join(tmpdir(), "pycds-pure-"));
    const at = (file: string): string => join(scratch, file);
    const environment = { ...pythonEnvironment(), PYTHONHASHSEED: "0", PYTHONDONTWRITEBYTECODE: "1" };
    afterAll(() => rmSync(scratch, { recursive: true, force: true }));

    beforeAll(async () => {
      const pycds = await builtPycds();
      // these put another re in place, of which nothing is recorded
      const last = ["p_audit_re", "p_reload"];
      const order = [...probes.filter((probe) => !last.includes(probe)), ...last];
      const traced = traceCommand({ command: [exe, join(fixtures, "run.py"), ...order], env: environment, launcher, runtime, trace: at("trace"), children: false });
      spawnSync(traced.argv[0] ?? "", traced.argv.slice(1), { env: traced.env });
      const built = spawnSync(process.execPath, [pycds, "build", "--trace", at("trace"), "-o", at("archive")], { encoding: "utf8", env: environment });
      expect(built.stderr).toBe("");
      const verified = spawnSync(process.execPath, [pycds, "verify", at("archive")], { encoding: "utf8", env: environment });
      expect(verified.stdout + verified.stderr).toContain(": sound");
    });

    function run(probe: string, args: readonly string[], archive: boolean, env: Readonly<Record<string, string>> = {}): Ran {
      const log = at(`log.${probe}`);
      rmSync(log, { force: true });
      const command = [exe, ...args, join(fixtures, "run.py"), probe];
      const launched = archive
        ? traceCommand({ command, env: { ...environment, ...env, PYCDS_LOG: log }, launcher, runtime, archives: [at("archive")], children: false })
        : { argv: command, env: environment };
      const { status, stdout, stderr } = spawnSync(launched.argv[0] ?? "", launched.argv.slice(1), { encoding: "utf8", env: launched.env });
      const events = archive ? readFileSync(log, "utf8") : "";
      if (archive && args.length === 0) expect(events).not.toContain("refused");
      const said = /pycds: pure sources=(\d+) patterns=(\d+)/.exec(events);
      return { status, out: withoutImporter(stdout + stderr), sources: Number(said?.[1] ?? 0), patterns: Number(said?.[2] ?? 0) };
    }

    const counts = { sources: 0, patterns: 0 };
    it.each(probes)("%s", (probe) => {
      const stock = run(probe, [], false);
      const archived = run(probe, [], true);
      expect(archived.out).toBe(stock.out);
      expect([stock.status, archived.status]).toEqual([0, 0]);
      expect(stock.out.length).toBeGreaterThan(10);
      counts.sources += archived.sources;
      counts.patterns += archived.patterns;
    });

    it(isFree ? "left all to stock: a free-threaded Python" : "served them", () => {
      if (isFree) return expect(counts).toEqual({ sources: 0, patterns: 0 });
      expect(counts.sources).toBeGreaterThan(90);
      return expect(counts.patterns).toBeGreaterThan(530);
    });

    it.each([["-O"], ["-OO"], ["-X", "no_debug_ranges"], ["-X", "dev"], ["-W", "error"], ["-b"]].map((args) => [args.join(" "), args] as const))("under %s", (_, args) => {
      for (const probe of ["p_levels", "p_warnings", "p_names"]) expect(run(probe, args, true).out).toBe(run(probe, args, false).out);
    });

    it("a damaged text, result or unit: stock's", () => {
      const sound = readFileSync(at("archive"));
      const image = openImage(sound, "archive");
      const bytes = Buffer.from(sound);
      const flip = (offset: number): void => {
        bytes[offset] = (bytes[offset] ?? 0) ^ 0x02;
      };
      for (const { kind, text, result } of image.pures) {
        const { pureData, data } = image.sections;
        const unit = kind > pureKind.bytesPattern ? image.units[result] : undefined;
        if (unit !== undefined) flip(data.offset + Number(unit.data_offset) + unit.data_size - 9);
        else if (text % 3 === 0) flip(pureData.offset + text);
        else flip(pureData.offset + result); // its flags: IGNORECASE
      }
      try {
        writeFileSync(at("archive"), bytes);
        for (const probe of ["p_code", "p_flags", "p_same", "p_cache"]) {
          const damaged = run(probe, [], true);
          expect(damaged.out).toBe(run(probe, [], false).out);
          expect(damaged.sources + damaged.patterns).toBe(0);
        }
      } finally {
        writeFileSync(at("archive"), sound);
      }
    });

    it("PYCDS_PURE=off: nothing is served", () => {
      const { out, sources, patterns } = run("p_flags", [], true, { PYCDS_PURE: "off" });
      expect(out).toBe(run("p_flags", [], false).out);
      expect(sources + patterns).toBe(0);
    });
  });
}

/** Frames of importlib show under stock and not under an archive, as documented (docs/decisions/0004). */
function withoutImporter(text: string): string {
  return text.replace(/^ {2}File "<frozen importlib[^\n]*\n(?: {4}[^\n]*\n)*/gm, "");
}
