/** What pytest's JUnit file says, test by test. */
import type { Ending, Outcome, Outcomes } from "../test-cpython/outcomes.ts";
import { decode, processName } from "../test-cpython/outcomes.ts";

/** Statuses of pytest that its tests' outcomes explain: all passed, some failed. (pytest: ExitCode) */
const ordinary: ReadonlySet<number | null> = new Set([0, 1]);

/** Test → outcome; what a test's name holds of an address is left out, since it differs from run to run. */
export function pytestOutcomes(xml: string | undefined, { status, signal, timedOut }: Ending): Outcomes {
  const outcomes = new Map<string, Outcome>();
  if (timedOut) outcomes.set(processName, "ended: time limit");
  else if (signal !== null) outcomes.set(processName, `ended: ${signal}`);
  else if (xml === undefined || !ordinary.has(status)) outcomes.set(processName, `ended: status ${status ?? "unknown"}`);
  for (const [, attributes = "", body = ""] of (xml ?? "").matchAll(/<testcase\b((?:"[^"]*"|[^">])*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const value = (name: string): string => decode(new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
    const name = `${value("classname")}::${value("name")}`.replace(/\b0x[0-9a-f]{6,}/g, "0x…");
    let key = name;
    for (let n = 2; outcomes.has(key); n++) key = `${name} #${n}`;
    outcomes.set(key, outcomeOf(body));
  }
  return outcomes;
}

function outcomeOf(body: string): Outcome {
  if (/<error\b/.test(body)) return "error";
  if (/<failure\b/.test(body)) return "failed";
  const skipped = /<skipped\b([^>]*)/.exec(body)?.[1];
  if (skipped === undefined) return "ok";
  return skipped.includes("pytest.xfail") ? "expected failure" : "skipped";
}
