/**
 * Runs every case of a group in stock and in the other arms, and compares all
 * that can be seen from outside, and sys.modules. PYCDS_DIFFERENTIAL=a,b runs
 * those cases only; PYCDS_DIFFERENTIAL_SHOW=1 prints what stock printed.
 */
import { constants } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { served } from "../support/served.ts";
import type { Events } from "../validity/world.ts";
import { installed, stock, traceAndBuild } from "./arm.ts";
import type { Arm, Played } from "./arm.ts";
import { casesOf } from "./case.ts";
import type { Case, Group } from "./case.ts";
import { masked } from "./mask.ts";
import { restored } from "./restored.ts";
import type { Start } from "./restored.ts";
import { Stage } from "./stage.ts";
import type { Ended } from "./process.ts";
import type { Outcome } from "./stage.ts";
import { lacksTools } from "./tools.ts";

const everything = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1";
const showing = process.env["PYCDS_DIFFERENTIAL_SHOW"] === "1";
const asked = process.env["PYCDS_DIFFERENTIAL"]?.split(",");

export async function differential(group: Group): Promise<void> {
  const interpreters = served();
  // of a usual run's interpreters, the newest release build is the one that packages are installed for
  const last = interpreters.filter(({ python }) => python?.flavour === "release").at(-1);
  const all = casesOf(group).filter(({ name }) => asked === undefined || asked.includes(name));
  for (const interpreter of interpreters) {
    const { name, python } = interpreter;
    const minor = python?.minor ?? 0;
    const mine = all.filter(({ versions: [from, to] }) => minor >= from && minor <= to);
    const packages = mine.some(({ needs }) => needs.length > 0);
    const lacking = python === undefined || !packages ? undefined : everything || interpreter === last ? await lacksTools(python.exe) : "only with the newest interpreter, unless PYCDS_TEST_ALL_PYTHONS=1";
    const reasonNot = (one: Case): string | undefined => {
      if (one.threaded !== undefined && python?.flavour === "freethreaded") return one.threaded;
      if (one.needs.length > 0 && lacking !== undefined) return `no ${one.needs.join(", ")}: ${lacking}`;
      return !everything && one.heavy !== undefined && asked === undefined ? `${one.heavy}: PYCDS_TEST_ALL_PYTHONS=1` : undefined;
    };
    const cases = mine.filter((one) => reasonNot(one) === undefined);
    // a usual run restores one interpreter, the one that packages are installed for
    const noImages = python === undefined ? undefined : everything || interpreter === last ? restored.lacks?.(python) : "only the newest interpreter, unless PYCDS_TEST_ALL_PYTHONS=1";

    describe.skipIf(python === undefined || cases.length === 0)(name, () => {
      let stage: Stage | undefined;
      const stockPlays = new Map<Case, Played>();
      const restoredPlays = new Map<Case, Promise<Played>>();
      beforeAll(async () => {
        if (python === undefined) return;
        stage = await Stage.open(python, cases, cases.some(({ needs }) => needs.length > 0));
        // stock first, and images: nothing of ours is in the venv yet
        for (const one of cases) {
          stockPlays.set(one, await stock.play(stage, one));
          if (noImages !== undefined) continue;
          const play = restored.play(stage, one);
          restoredPlays.set(one, play);
          await play.catch(() => undefined); // its test fails with it
        }
        await traceAndBuild(stage, cases);
      }, 900_000);
      afterAll(() => stage?.remove());

      for (const one of mine.filter((each) => reasonNot(each) !== undefined)) it.skip(`${one.title} [${one.name}] (${reasonNot(one)})`, () => undefined);

      for (const why of noImages === undefined ? [] : [noImages]) it.skip(`restored: ${why}`, () => undefined);

      for (const one of cases) {
        it.for(noImages === undefined ? [installed, restored] : [installed])(`${one.title} [${one.name}] $name`, { timeout: 240_000 }, async (arm: Arm, { skip }) => {
          const expected = stockPlays.get(one);
          if (stage === undefined || expected === undefined) throw new Error("stock was not run");
          // what a machine does not allow is known only there
          const forbidden = /^SKIP: (.*)$/m.exec(expected.outcome.stdout)?.[1];
          skip(forbidden !== undefined, forbidden);
          if (showing) console.log(expected.outcome.stdout, expected.outcome.stderr, expected.outcome.status, expected.outcome.modules.length);
          checkStock(one, expected.outcome);
          const played = await (arm === restored ? restoredPlays.get(one) : arm.play(stage, one));
          if (played === undefined) throw new Error(`${arm.name} was not run`);
          compare(one, played.outcome, expected.outcome, arm === restored ? one.imageMasks : []);
          if (showing && played.events !== undefined) console.log(played.events);
          if (played.events !== undefined) checkEvents(one, played.events);
          if (played.start !== undefined) checkStart(one, played.start);
        });
      }
    });
  }
}

/** What was printed first, then the order of modules, then each of them: the first of these tells most. `more` masks these, too. */
function compare(one: Case, played: Outcome, expected: Outcome, more: readonly string[]): void {
  const masks = [...one.masks, ...more];
  const outputs = ({ status, signal, stdout, stderr }: Outcome): Ended => ({ status, signal, stdout: masked(stdout, masks), stderr: masked(stderr, masks) });
  expect(outputs(played)).toEqual(outputs(expected));
  const texts = (outcome: Outcome): string[] => modulesOf(one, outcome).map((text) => masked(text, more));
  const ours = texts(played);
  const stocks = texts(expected);
  const names = (all: readonly string[]): string[][] => all.map((text) => text.split("\n").map((line) => line.split(" {")[0] ?? ""));
  if (one.chance !== undefined) return expect(names(ours).flat().toSorted()).toEqual(names(stocks).flat().toSorted());
  expect(names(ours)).toEqual(names(stocks));
  const lines = (all: readonly string[]): string[] => all.flatMap((text) => text.split("\n"));
  const wanted = lines(stocks);
  for (const [at, line] of lines(ours).entries()) expect(line).toBe(wanted[at]);
}

const modulesOf = (one: Case, { modules, children }: Outcome): readonly string[] => (one.children === undefined ? [...modules, ...children] : modules);

/** Stock did what the case is about: two processes that fail alike prove nothing either. */
function checkStock(one: Case, { status, signal, stdout, stderr }: Outcome): void {
  const printed = stdout + stderr;
  expect(printed).not.toBe("");
  expect([signal === null ? status : -constants.signals[signal as NodeJS.Signals], printed]).toEqual([one.status, printed]);
  for (const text of one.prints) expect(printed).toMatch(text);
}

const nameOf = (line: string): string => line.split(":")[0] ?? "";

/** The archive did what the case says: a comparison proves nothing where it was not asked. */
function checkEvents(one: Case, events: Events): void {
  if (one.refused !== undefined) {
    expect(events.hit).toEqual([]);
    expect(events.refused.join("\n")).toMatch(one.refused);
    return;
  }
  const names = (lines: readonly string[]): string[] => [...new Set(lines.map(nameOf))].sort();
  expect(events.refused).toEqual([]);
  expect(events.hit.length).toBeGreaterThan(0);
  // with several archives in use a hit tells whose it is
  expect(events.hit.map(nameOf)).toEqual(expect.arrayContaining([...one.hits]));
  expect(names(events.stale)).toEqual([...one.stale].sort());
  if (!one.misses.includes("*")) expect(names(events.miss).filter((miss) => !one.misses.includes(miss))).toEqual([]);
}

/** A process was restored, unless the case says why it cannot be. */
function checkStart(one: Case, { refused }: Start): void {
  if (one.image === undefined) expect(refused).toBeUndefined();
  else expect(refused).toMatch(one.image);
}
