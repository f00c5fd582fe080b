/** The cases' manifests: a slip in one must not make a case prove less than it says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { casesOf, fixtures, groups, parseCase } from "./case.ts";
import type { Case } from "./case.ts";
import { masked, masks } from "./mask.ts";

const parse = (...lines: readonly string[]): ReturnType<typeof parseCase> => parseCase("ways", "name", "name.py", false, ["\"\"\"A bullet.\"\"\"", ...lines, ""].join("\n"));

describe("manifests", () => {
  it("reads what a case says of itself", () => {
    const one = parse("#: versions: 3.11-3.13", "#: run: -m app \"two words\" x", "#: env: A=B=C", "#: stdin: a\\nb\\n", "#: prints: ^x$", "#: prints: y", "#: misses: *");
    expect(one).toMatchObject({ title: "A bullet.", versions: [11, 13], run: ["-m", "app", "two words", "x"], env: { A: "B=C" }, stdin: "a\nb\n", misses: ["*"], status: 0, stale: [] });
    expect(one.prints).toEqual([/^x$/m, /y/m]);
    expect([parse("#: versions: 3.12").versions, parse("#: versions: -3.12").versions, parse("#: versions: 3.9-").versions, parse().versions]).toEqual([[12, 12], [0, 12], [9, Infinity], [9, Infinity]]);
    expect(parse("#: run: -i -c \"\"").run).toEqual(["-i", "-c", ""]);
  });

  it.each([["#: hit: plain", /unknown key "hit"/], ["#:hits: plain", /is not "#: key: value"/], ["#: versions: new", /is no range/]])("refuses %s", (line, why) => {
    expect(() => parse(line)).toThrow(why);
  });

  it("refuses a case without a title", () => {
    expect(() => parseCase("ways", "name", "name.py", false, "import sys\n")).toThrow(/docstring/);
  });

  const all = groups.flatMap((group) => casesOf(group));

  it("every case has a name of its own, known masks, and needs that are pinned", () => {
    const pins = readFileSync(join(fixtures, "tools.txt"), "utf8");
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
    expect(all.flatMap(({ masks: names, imageMasks }) => [...names, ...imageMasks]).filter((name) => masks[name] === undefined)).toEqual([]);
    expect(all.flatMap(({ needs }) => needs).filter((need) => !pins.includes(`\n${need}==`))).toEqual([]);
  });

  it("every case says what must be served, or that the archive must be refused", () => {
    expect(all.filter(({ hits, refused }) => hits.length === 0 && refused === undefined).map(({ name }) => name)).toEqual([]);
  });

  it("every documented difference is one that a case is masked for, and is in docs/differences.md", () => {
    const used = new Set(all.flatMap(({ masks: names, imageMasks }) => [...names, ...imageMasks]));
    expect(Object.keys(masks).filter((name) => !used.has(name))).toEqual([]);
    const doc = readFileSync(join(fixtures, "../../docs/differences.md"), "utf8");
    const namesOf = (one: Case): readonly string[] => [...one.masks, ...one.imageMasks];
    const unmentioned = Object.entries(masks).filter(([name, { kind }]) => kind === "differs" && !all.some((one) => namesOf(one).includes(name) && doc.includes(`${one.group}/${one.name}`)));
    expect(unmentioned.map(([name]) => name)).toEqual([]);
  });

  it("masks leave everything else as it was", () => {
    const line = "import time:       116 |        116 |   pkg.inner\nplain 116 | 116\n";
    expect(masked(line, ["importtime"])).toBe("import time: T | T |   pkg.inner\nplain 116 | 116\n");
    expect(() => masked("", ["no such"])).toThrow(/no mask/);
  });
});
