/**
 * Stock against the other arm, test by test. A test that differs is run again in
 * both arms (main.ts); one whose outcome is not steady in stock alone says
 * nothing about ours.
 */
import { explanationOf } from "./explained.ts";
import { processName } from "./outcomes.ts";
import type { Outcomes } from "./outcomes.ts";
import type { Opposite } from "./prefix.ts";

/** Outcomes of one test over the rounds; `not run` where a round does not have it. */
export interface Difference {
  readonly test: string;
  readonly stock: readonly string[];
  readonly ours: readonly string[];
  /** Why it must be so (explained.ts). */
  readonly reason?: string;
}

export interface Comparison {
  /** Tests seen in any run. */
  readonly tests: number;
  readonly same: number;
  /** Defects, as long as nobody shows otherwise. */
  readonly different: readonly Difference[];
  /** Inherent differences, each with its reason. */
  readonly explained: readonly Difference[];
  /** Not steady in stock either. */
  readonly flaky: readonly Difference[];
}

const absent = "not run";

/** Names of the tests on which two runs differ. Of a process that died without results its end is what differs. */
export function differing(stock: Outcomes, ours: Outcomes): string[] {
  if ([stock, ours].some((run) => run.size === 1 && run.has(processName))) return stock.get(processName) === ours.get(processName) ? [] : [processName];
  return [...new Set([...stock.keys(), ...ours.keys()])].filter((test) => stock.get(test) !== ours.get(test));
}

/** Judges the rounds of one module; the first round of each arm decides what differs, the others whether it is steady. */
export function compare(module: string, version: string, stock: readonly Outcomes[], ours: readonly Outcomes[], arm: Opposite = "archived"): Comparison {
  const firstStock: Outcomes = stock[0] ?? new Map<string, never>();
  const firstOurs: Outcomes = ours[0] ?? new Map<string, never>();
  const tests = new Set([...firstStock.keys(), ...firstOurs.keys()]);
  const different: Difference[] = [];
  const explained: Difference[] = [];
  const flaky: Difference[] = [];
  for (const test of differing(firstStock, firstOurs)) {
    const difference = { test, stock: stock.map((run) => run.get(test) ?? absent), ours: ours.map((run) => run.get(test) ?? absent) };
    const reason = explanationOf(arm, module, version, difference);
    if (reason !== undefined) explained.push({ ...difference, reason });
    else if (new Set(difference.stock).size > 1) flaky.push(difference);
    else different.push(difference);
  }
  // of a process that died, what it had not come to is neither the same nor a difference of its own
  const same = [...tests].filter((test) => firstStock.get(test) === firstOurs.get(test)).length;
  return { tests: tests.size, same, different, explained, flaky };
}
