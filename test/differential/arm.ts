/**
 * The ways in which a case is run. The first is stock, which every other is
 * compared with: an installed archive, and a warm image (restored.ts).
 */
import { readEvents } from "../validity/world.ts";
import type { Events } from "../validity/world.ts";
import type { TestPython } from "../support/pythons.ts";
import type { Case } from "./case.ts";
import type { Start } from "./restored.ts";
import { must } from "./stage.ts";
import type { Outcome, Stage } from "./stage.ts";

export interface Arm {
  readonly name: string;
  /** Why it cannot be had with this interpreter, or undefined. */
  lacks?(python: TestPython): string | undefined;
  play(stage: Stage, one: Case): Promise<Played>;
}

export interface Played {
  readonly outcome: Outcome;
  /** What PYCDS_LOG told of an archive. */
  readonly events?: Events;
  /** What it told of a warm image. */
  readonly start?: Start;
}

export const stock: Arm = {
  name: "stock",
  async play(stage, one) {
    return { outcome: await stage.play(one, (python) => python, {}) };
  },
};

/** Plain `python` of a venv after `pycds install`, as in production. */
export const installed: Arm = {
  name: "installed",
  async play(stage, one) {
    const log = stage.file("log");
    const outcome = await stage.play(one, (python) => python, { PYCDSARCHIVE: stage.archives(one), PYCDS_LOG: log });
    return { outcome, events: readEvents(log) };
  },
};

/** Traces the cases in an installed venv, and builds the archive of all that they import. Leaves the runtime installed. */
export async function traceAndBuild(stage: Stage, cases: readonly Case[]): Promise<void> {
  must("install the runtime", await stage.pycds(["install", "--venv", stage.venv]));
  const traces: string[] = [];
  const trace = async (one: Case, change: string | undefined): Promise<string> => {
    const file = stage.file("trace");
    await stage.play({ ...one, change }, (python) => python, { PYCDSMODE: "TRACE", PYCDSLIST: file });
    return file;
  };
  for (const one of cases) {
    if (one.refused !== undefined) continue; // nothing to serve
    if (one.older !== undefined) {
      const older = await trace(one, one.older);
      await stage.reset(one, one.older);
      await stage.build([older], stage.olderArchive(one));
    }
    traces.push(await trace(one, undefined));
  }
  // a build looks at files as they are before any change
  for (const one of cases) await stage.reset(one);
  await stage.build(traces, stage.archive);
}
