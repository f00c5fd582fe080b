/**
 * What one run of a test module says, test by test: from the JUnit file that
 * `python -m test --junit-xml` writes, completed by the printed text. The file
 * lacks what has no test of its own (a failed or skipped class set-up), the name
 * of a test of which a sub-test failed, and in 3.12.1 what a decorator skips; it
 * is not written at all when the process dies. (CPython: Lib/test/libregrtest/testresult.py, class RegressionTestResult)
 */

/** How one test ended. */
export type Outcome = "ok" | "skipped" | "failed" | "error" | "expected failure" | "unexpected success" | "changed the environment" | `ended: ${string}`;

/** Test → outcome. A test that ran more than once has ` #2` and so on behind its name. */
export type Outcomes = ReadonlyMap<string, Outcome>;

/** How the process ended. */
export interface Ending {
  readonly status: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
}

/** The name under which the end of the whole process is compared. */
export const processName = "(process)";

/** Exit statuses of regrtest that its tests' outcomes explain: success, failed tests, altered environment, no tests ran. */
const ordinary: ReadonlySet<number | null> = new Set([0, 2, 3, 4]);

const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** Text of an XML attribute. */
export function decode(text: string): string {
  return text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code: string | undefined, name: string | undefined) => {
    return code === undefined ? (entities[name ?? ""] ?? whole) : String.fromCodePoint(Number(code));
  });
}

/** The tests of a JUnit file in their order. Nameless ones (see above) are left out. */
export function parseJunit(xml: string): { readonly name: string; readonly outcome: Outcome }[] {
  const tests: { name: string; outcome: Outcome }[] = [];
  for (const [, attributes = "", body = ""] of xml.matchAll(/<testcase\b((?:"[^"]*"|[^">])*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const name = /\bname="([^"]*)"/.exec(attributes)?.[1];
    if (name !== undefined) tests.push({ name: decode(name), outcome: outcomeOf(body) });
  }
  return tests;
}

function outcomeOf(body: string): Outcome {
  if (/<error\b/.test(body)) return "error";
  if (/<failure\b/.test(body)) return "failed";
  if (/<skipped\b/.test(body)) return "skipped";
  if (body.includes("UNEXPECTED_SUCCESS")) return "unexpected success";
  return /<output\b/.test(body) ? "expected failure" : "ok";
}

/** `ERROR: test_x (test.test_m.Case.test_x) (i=1)` over a traceback, as unittest prints it at the end. */
const failure = /^={70}\n(ERROR|FAIL): (\S+) \(([^)\n]+)\)(.*)$/gm;
/** `test_x (test.test_m.Case.test_x) ... skipped 'why'`, the test's description on a line of its own between them. */
const announced = /^(\w+) \(([^)\n]+)\)(?:\n[^\n]*?)? \.\.\. (skipped '|skipped "|ERROR$|FAIL$)/gm;

/** All outcomes of a run. `xml` is undefined when the process died before it wrote the file: then the end is all there is. */
export function outcomesOf(xml: string | undefined, text: string, ending: Ending): Outcomes {
  const outcomes = new Map<string, Outcome>();
  const end = endOf(ending, xml !== undefined);
  if (end !== undefined) outcomes.set(processName, end);
  if (xml === undefined) return outcomes;
  const add = (name: string, outcome: Outcome): void => {
    let key = name;
    for (let n = 2; outcomes.has(key); n++) key = `${name} #${n}`;
    outcomes.set(key, outcome);
  };
  for (const { name, outcome } of parseJunit(xml)) add(name, outcome);
  for (const [, name = "", owner = "", word = ""] of text.matchAll(announced)) {
    const test = testName(name, owner);
    if (!outcomes.has(test)) outcomes.set(test, word.startsWith("skipped") ? "skipped" : word === "FAIL" ? "failed" : "error");
  }
  for (const [, word, name = "", owner = "", rest = ""] of text.matchAll(failure)) {
    const test = testName(name, owner);
    if (!outcomes.has(test)) add(`${test}${rest}`, word === "FAIL" ? "failed" : "error");
  }
  if (/^\d+ tests? altered the execution environment/m.test(text)) add("(environment)", "changed the environment");
  return outcomes;
}

function testName(name: string, owner: string): string {
  if (/^(setUp|tearDown)(Class|Module)$/.test(name)) return `${name} (${owner})`;
  // until 3.10 the parentheses hold the class alone
  return owner.endsWith(`.${name}`) ? owner : `${owner}.${name}`;
}

function endOf({ status, signal, timedOut }: Ending, complete: boolean): Outcome | undefined {
  if (timedOut) return "ended: time limit";
  if (signal !== null) return `ended: ${signal}`;
  if (!complete || !ordinary.has(status)) return `ended: status ${status ?? "unknown"}${complete ? "" : ", no results written"}`;
  return undefined;
}

/** The test that was running when the process died: the last one that was announced and has no result. */
export function lastStarted(text: string): string | undefined {
  return [...text.matchAll(/^(\w+ \([\w.]+\))/gm)].at(-1)?.[1];
}
