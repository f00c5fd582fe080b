/**
 * An installed archive for an interpreter whose addresses are constant (an
 * executable at a fixed address, facts/cpython.md §9): its units are used
 * without writing external slots. With hints of another build, damaged ones, or
 * an interpreter that is placed anew at each start, everything is relocated, and
 * programs see no difference.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codecs } from "../../src/image/codec.ts";
import { prelink, prelinkedUnits, withoutHints } from "../../src/image/prelink.ts";
import { openImage } from "../../src/image/reader.ts";
import { constantAddresses } from "../../src/cli/addresses.ts";
import { abiOf } from "../layout/live.ts";
import { tell } from "../support/matrix.ts";
import { allPythons, pythonEnvironment } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";
import { readEvents, World } from "../validity/world.ts";

/** Type objects have one address in each process: the interpreter is an executable that is not relocatable. */
function isFixed({ exe }: TestPython): boolean {
  return addressesOf(exe).has(1);
}

function addressesOf(exe: string): ReadonlyMap<number, bigint> {
  return constantAddresses({ env: pythonEnvironment() }, exe);
}

const served = allPythons().filter((python) => python.flavour === "release" && abiOf(python) !== undefined);
const fixed = served.filter(isFixed);
const movable = served.filter((python) => !isFixed(python)).slice(0, 1);
const oracle = "Relocation is skipped where all addresses are constant";

/** Every kind of external reference, and identities that only right pointers give. */
const tool = [
  "import json",
  "CONSTANTS = (None, True, False, ..., -5, 256, 0, '', 'x', b'', b'y', (), 1.5, 2j, (1, ('a', b'b')))",
  "def speak(x, *, y=('a', 1.5, b'z')):",
  "    return json.dumps([x in {'a', 'b', 3}, *map(str, y), len(CONSTANTS)])",
  "same = [CONSTANTS[5] is int('256'), CONSTANTS[7] is str(), CONSTANTS[11] is tuple(), type(CONSTANTS) is tuple, type(speak.__code__) is type(same_code.__code__)] if (same_code := (lambda: 0)) else 0",
  "",
].join("\n");
/** Sets are printed in the order of their hashes. */
const seed = { PYTHONHASHSEED: "0" };
const program = "import tool; print(tool.speak('a'), tool.same, tool.CONSTANTS, tool.speak.__code__.co_consts)";
const counted = `${program}\nimport pycds; s = pycds.status(); print(s['hit'], s['prelinked'])`;

it.skipIf(fixed.length === 0)("an interpreter here is an executable at a fixed address (Debian's is: apt-get install python3)", () => expect(fixed).not.toEqual([]));

describe.each([...fixed.map((python) => ({ python, constant: true })), ...movable.map((python) => ({ python, constant: false }))])("$python.release, addresses constant: $constant ($python.exe)", ({ python, constant }) => {
  let world: World;
  let venvPython = "";
  let installed = "";
  const run = (code: string): ReturnType<World["spawn"]> => world.spawn([venvPython, "-c", code], { PYCDS: "on", ...seed });
  /** Served modules, and how many of them needed no external relocation. */
  const counts = (): readonly number[] => (run(counted).stdout.trim().split("\n").at(-1) ?? "").split(" ").map(Number);

  beforeAll(() => {
    world = new World(python.exe);
    world.write("lib/tool.py", tool);
    world.must(world.spawn([python.exe, "-m", "venv", "--without-pip", world.path("venv")]));
    venvPython = world.path("venv/bin/python");
    world.must(world.spawn([venvPython, "-c", program]));
    world.must(world.cli(["trace", "-o", world.path("app.trace"), "--", venvPython, "-c", program]));
    world.must(world.cli(["build", "--trace", world.path("app.trace"), "-o", world.path("app.pycds")]));
  });
  afterAll(() => world.remove());

  it("install writes the hints of this interpreter, if it has any; the archive stays that archive", () => {
    const stock = world.spawn([venvPython, "-c", program], seed);
    expect(stock).toMatchObject({ status: 0, stderr: "" });
    expect(stock.stdout).toContain("[True, True, True, True, True]");
    world.must(world.cli(["install", "--venv", world.path("venv"), "-a", world.path("app.pycds")]));
    const folder = world.path("venv/lib");
    installed = join(folder, readdirSync(folder)[0] ?? "", "site-packages/pycds.data/default.pycds");
    const [built, here] = [readFileSync(world.path("app.pycds")), readFileSync(installed)];
    const image = openImage(here, installed);
    // With 3.9 and 3.10 small ints and one-character strings are on the heap: units that have some are not prelinked.
    if (constant && python.minor >= 11) expect(prelinkedUnits(image)).toBe(image.units.length);
    if (!constant) expect(Buffer.compare(here, built)).toBe(0);
    expect(Buffer.compare(withoutHints(image), built)).toBe(0);
    expect(world.cli(["verify", installed])).toMatchObject({ status: 0 });
    expect(world.cli(["diff", world.path("app.pycds"), installed])).toMatchObject({ status: 0 });
    expect(run(program)).toEqual(stock);
  });

  it("units are used as they lie in the file, when all is where it was", ({ task }) => {
    const [hits = 0, prelinked = -1] = counts();
    expect(hits).toBeGreaterThan(3);
    if (!constant) expect(prelinked).toBe(0);
    else if (python.minor >= 11) expect(prelinked).toBe(hits);
    tell(task, { oracle, minor: python.minor, text: `${python.version} (${python.release}, ${python.exe}): ${prelinked} of ${hits} units used without external relocation${constant ? "" : "; its addresses are not constant"}` });
  });

  it.runIf(constant)("one address that differs: that unit is relocated, and nothing else changes", () => {
    const stock = run(program);
    const sound = readFileSync(installed);
    const image = openImage(sound, installed);
    const right = addressesOf(venvPython);
    // Types and a singleton in turn, as after an update of the interpreter; then all of them. (The type of code objects has no hint: image/shapes.ts.)
    const changes = [1, 3, 16].map((number) => new Map([...right].map(([each, address]) => [each, each === number ? address + 64n : address])));
    for (const addresses of [...changes, new Map([...right].map(([each, address]) => [each, address + 64n]))]) {
      writeFileSync(installed, prelink(image, addresses).bytes);
      expect(world.cli(["verify", installed])).toMatchObject({ status: 0 });
      expect(run(program)).toEqual(stock);
      const [hits = 0, prelinked = -1] = counts();
      expect(prelinked).toBeLessThan(hits);
    }
    writeFileSync(installed, prelink(image, new Map([...right].map(([each, address]) => [each, address + 64n]))).bytes);
    expect(counts()[1]).toBe(0);
    writeFileSync(installed, sound);
    if (python.minor >= 11) expect(counts()[1]).toBe(counts()[0]);
  });

  it.runIf(constant)("a damaged hint is damage: the module comes from stock", () => {
    const stock = run(program);
    const sound = readFileSync(installed);
    const image = openImage(sound, installed);
    const bytes = Buffer.from(sound);
    // The first group's hint of the first unit that tool's run uses: any byte of it.
    for (const unit of image.units) {
      const at = image.sections.relocations.offset + Number(unit.reloc_offset) + codecs.Relocations.size + codecs.RelocationGroup.offsetOf("hint");
      bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    }
    writeFileSync(installed, bytes);
    expect(world.cli(["verify", installed])).toMatchObject({ status: 1 });
    const log = world.path("damaged.log");
    const outcome = world.spawn([venvPython, "-c", program], { PYCDS_LOG: log, ...seed });
    expect(outcome).toEqual({ ...stock, stderr: "" });
    const events = readEvents(log);
    expect([events.hit, events.stale.length > 3]).toEqual([[], true]);
    writeFileSync(installed, sound);
  });
});
