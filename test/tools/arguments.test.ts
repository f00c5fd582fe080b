/** A command line that is wrong: status 2 and one exact line that says what to do, before anything is begun. */
import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { checkout } from "../support/built.ts";

const uses = {
  "bench.ts": "npm run bench -- --rounds N --python EXE --vs stock,code-data-share --cases json,pass",
  "bench-warm.ts": "npm run bench:warm -- --python EXE … --rounds N --modules json,requests --only modules|commands --json FILE --output FILE",
  "bench-memory.ts": "npm run bench:memory -- --venv VENV … --import NAME --processes N --rounds N --results FILE",
  "bench-build.ts": "npm run bench:build -- --venv VENV … --import NAME --rounds N --results FILE --json",
  "test-suites/main.ts": "npm run test:suites -- 3.12 --suites attrs,click --rounds N --limit SECONDS --dir FOLDER --json --verbose",
  "test-cpython/main.ts": "npm run test:cpython -- 3.13 --tests test_import,test_code --restored --types check --rounds N --jobs N --limit SECONDS --dir FOLDER --json --verbose",
} as const;

const unknown = Object.entries(uses).map(([script, use]) => [script, ["--bogus"], `Unknown option '--bogus' — use: ${use}`] as const);
const numbers = Object.keys(uses).flatMap((script) => ["x", "0", "1.5", ""].map((text) => [script, [`--rounds=${text}`], `--rounds is "${text}" — give a whole number of 1 or more`] as const));

it.each([
  ...unknown, ...numbers,
  ["bench-memory.ts", [], `--venv is missing — use: ${uses["bench-memory.ts"]}`] as const,
  ["bench-build.ts", [], `--venv is missing — use: ${uses["bench-build.ts"]}`] as const,
  ["bench-memory.ts", ["--venv", "v", "--processes", "none"], '--processes is "none" — give a whole number of 1 or more'] as const,
  ["test-cpython/main.ts", ["--jobs", "-1"], undefined] as const,
  ["test-restores.ts", ["--count", "none"], '--count is "none" — give a whole number of 1 or more'] as const,
  ["test-restores.ts", ["--bogus"], "Unknown option '--bogus' — use: npm run test:restores -- --count N --python EXE … --preload NAMES --sealed --jobs N"] as const,
])("tools/%s %j", (script, args, said) => {
  const done = spawnSync(process.execPath, ["--import", "tsx", `tools/${script}`, ...args], { cwd: checkout, encoding: "utf8" });
  expect({ status: done.status, stdout: done.stdout }).toEqual({ status: 2, stdout: "" });
  if (said === undefined) expect(done.stderr).toMatch(/^pycds: error: cannot read the command line — .+ — use: npm run test:cpython [^\n]+\n$/);
  else expect(done.stderr).toBe(`pycds: error: cannot read the command line — ${said}\n`);
});
