/**
 * The launched program is stock's: every command line of cases.ts gives the same
 * stdout, stderr and status with and without the launcher, on every interpreter.
 * Guards facts/warm-image.md, "Ending in Python's own main".
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cases } from "./cases.ts";
import type { Case } from "./cases.ts";
import { buildScratch, compiler, interpreters, launchEnvironment, makePrograms, masked, plainEnvironment, run, startLine, startsIn } from "./support.ts";
import type { Scratch } from "./support.ts";

const { found, absent } = interpreters();

describe.skipIf(compiler === undefined)("launched as stock (needs a C compiler)", () => {
  let scratch: Scratch;
  beforeAll(() => {
    scratch = buildScratch();
  }, 60_000);
  afterAll(() => scratch.remove());

  for (const version of absent) it.skip(`CPython ${version} is not installed`, () => undefined);

  describe.each(found)("$exe", ({ exe, minor, flavour }) => {
    let directory: string;
    beforeAll(() => {
      directory = join(scratch.directory, exe.replaceAll("/", "_"));
      mkdirSync(directory);
      makePrograms(directory, exe);
    }, 60_000);

    const expand = (argument: string): string => argument.replaceAll("DIR", directory).replace(/^PY$/, exe).replace(/^VENV$/, join(directory, "venv/bin/python"));

    it.each(cases)("$name", { timeout: 60_000 }, async (test: Case) => {
      const log = join(directory, "starts.log");
      rmSync(log, { force: true });
      const environment = { ...plainEnvironment(log), ...test.environment };
      const command = { argv: test.argv.map(expand), cwd: directory, ...(test.stdin === undefined ? {} : { stdin: test.stdin }) };
      const stock = await run({ ...command, environment });
      expect(startsIn(log)).toEqual([]);
      const launched = await run({ ...command, environment: launchEnvironment(scratch, environment) });
      expect(masked(launched)).toEqual(masked(stock));
      // an option that only later versions refuse is one with a program to run in earlier ones
      // (and one that cannot find its library by a made-up argv[0] has none either)
      const started = !/^Fatal Python error: (?:init|Failed to import encodings)/m.test(stock.stderr);
      const starts = !started ? 0 : test.name === "bad -X frozen_modules" && minor >= 11 ? 0 : (test.starts ?? 1);
      expect(startsIn(log)).toEqual(Array.from({ length: starts }, () => startLine(flavour)));
    });
  });
});
