/**
 * A restored interpreter is stock's: the launcher's command lines give the same
 * stdout, stderr and status with a warm image in the interpreter's place. The image
 * has nothing preloaded, so that even sys.modules must be the same. Those that an
 * image refuses (options, another environment) show that the normal start follows.
 */
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cases } from "../launch/cases.ts";
import type { Case } from "../launch/cases.ts";
import { makePrograms, masked, plainEnvironment, run } from "../launch/support.ts";
import { cannotWarm, createImage, warmMinors, warmPythons } from "./support.ts";

const missing = cannotWarm();
const found = missing === undefined ? warmPythons() : [];

/** What an image differs in by design: the interpreter that it restores has been found already. */
const different = new Set(["other argv[0]", "venv", "venv by PATH", "venv by relative path", "console script", "shim"]);
/** Started the normal way, with a reason. */
const refused = /^(script on stdin|empty stdin|-i$|unknown|-c without|-W without|--version|-V|-h|--help|bad |all options|-I$|-E$|-S$|-OO|-x |-X |C locale|POSIX locale|-v$|state, many|os.abort)/;

describe.skipIf(missing !== undefined)(`restored as stock${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  for (const minor of warmMinors.filter((each) => !found.some((one) => one.minor === each))) it.skip(`CPython 3.${minor} is not installed`, () => undefined);

  // both ends on one version; what they share is CPython's own
  const arms = found.flatMap((one) => (one === (found[1] ?? found[0]) ? ["exact", "fast", "quick"] : ["exact"]).map((mode) => ({ ...one, mode })));
  describe.each(arms)("$exe, --exit $mode", ({ exe, mode }) => {
    let directory: string;
    let image: string;
    beforeAll(() => {
      directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-test-")));
      makePrograms(directory, exe);
      image = join(directory, "image");
      const built = createImage(image, ["--exit", mode, "--", exe], { env: plainEnvironment(""), cwd: directory });
      expect(built).toMatchObject({ status: 0, stderr: "" });
    });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    it.each(cases.filter(({ name }) => !different.has(name)))("$name", async (test: Case) => {
      const expand = (argument: string, program: string): string => argument.replaceAll("DIR", directory).replace(/^PY$/, program);
      const environment = { ...plainEnvironment(""), ...test.environment };
      const command = { cwd: directory, ...(test.stdin === undefined ? {} : { stdin: test.stdin }) };
      const stock = await run({ ...command, environment, argv: test.argv.map((word) => expand(word, exe)) });
      const warm = await run({ ...command, environment, argv: test.argv.map((word) => expand(word, image)) });
      expect(masked(warm)).toEqual(masked(stock));

      const log = join(directory, "log");
      rmSync(log, { force: true });
      await run({ ...command, environment: { ...environment, PYCDS_LOG: log }, argv: test.argv.map((word) => expand(word, image)) });
      const lines = readFileSync(log, "utf8").trim().split("\n");
      expect(lines[0]).toMatch(refused.test(test.name) ? /^pycds: refused / : /^pycds: restored /);
    });
  });
});
