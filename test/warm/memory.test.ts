/**
 * Memory that imports made and a program gives back, moves or lets grow is as in stock,
 * though it is mapped from the image: decision 64, native/warm/memory.c, src/warm/plan.ts.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const all = missing === undefined ? warmPythons() : [];
const found = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? all : all.filter((_, index) => index === 1 || (index === 0 && all.length < 2));
const fixture = (name: string): string => fileURLToPath(new URL(`../../fixtures/warm/${name}`, import.meta.url));
const program = fixture("memory_program.py");

it.skipIf(missing === undefined)(`memory of restored processes: not here, ${missing ?? ""}`, () => undefined);

describe.each(found.map((python) => [python.exe, python] as const))("memory: %s", (exe) => {
  let directory: string;
  let image: string;
  let env: Record<string, string>;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-memory-")));
    mkdirSync(join(directory, "lib"));
    for (const name of ["memory_made.py", "memory_arenas.py"]) symlinkSync(fixture(name), join(directory, "lib", name));
    env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib"), PYTHONDONTWRITEBYTECODE: "1" };
    image = join(directory, "image");
    expect(createImage(image, ["--preload", "memory_made,memory_arenas", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const run = (which: string, name: string) => {
    const source = `import sys; sys.argv[:] = ["-c", ${JSON.stringify(name)}, ${JSON.stringify(join(directory, "file"))}]; exec(open(${JSON.stringify(program)}).read())`;
    const { status, signal, stdout, stderr } = spawnSync(which, ["-c", source], { cwd: directory, encoding: "utf8", env: { ...env, PYCDS: "on" } });
    return { status, signal, stdout, stderr };
  };

  it.each([
    ["given_back", /^\[120, 120, 0, /],
    ["again_and_again", /^\[50, /],
    ["file_in_its_place", /120, 120, 0, 0, 0, 0, 102, 102/],
    ["no_descriptor_is_free", /120, 120, 0, 0/],
    ["other_advice", /MADV_FREE\n[^]*\[120, 0, 0, 0, 0, 120/],
    ["grow", /^121 121 \{0\} /],
    ["blocks", /^(?:True\n)+$/],
    ["arenas", /^wrong \[0, 0, 0, 0\]\n$/],
    ["closed", /52428800/],
  ])("%s", (name, shows) => {
    const stock = run(exe, name);
    expect(stock).toMatchObject({ status: 0, stderr: "", stdout: expect.stringMatching(shows) as string });
    expect(run(image, name)).toEqual(stock);
  });
});
