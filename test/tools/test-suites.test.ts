import { describe, expect, it } from "vitest";
import { differing } from "../../tools/test-cpython/compare.ts";
import { pytestOutcomes } from "../../tools/test-suites/outcomes.ts";
import { pinOf } from "../../tools/test-suites/prepare.ts";
import { suites } from "../../tools/test-suites/suites.ts";

const ended = { status: 0, signal: null, timedOut: false };
const xml = (...cases: readonly string[]): string => `<?xml version="1.0"?><testsuites><testsuite name="pytest">${cases.join("")}</testsuite></testsuites>`;

describe("what pytest's JUnit file says", () => {
  it("gives each test its outcome", () => {
    const outcomes = pytestOutcomes(
      xml(
        '<testcase classname="tests.m" name="a" time="0.1" />',
        '<testcase classname="tests.m" name="b[&lt;x&gt;]" time="0.1"><failure message="m">t</failure></testcase>',
        '<testcase classname="tests.m" name="c"><skipped type="pytest.skip" message="m">t</skipped></testcase>',
        '<testcase classname="tests.m" name="d"><skipped type="pytest.xfail" message="m"></skipped></testcase>',
        '<testcase classname="tests.m" name="e"><error message="failed on setup">t</error></testcase>',
      ),
      { ...ended, status: 1 },
    );
    expect([...outcomes]).toEqual([["tests.m::a", "ok"], ["tests.m::b[<x>]", "failed"], ["tests.m::c", "skipped"], ["tests.m::d", "expected failure"], ["tests.m::e", "error"]]);
  });

  it("keeps tests of one name apart, and leaves out addresses", () => {
    const one = pytestOutcomes(xml('<testcase classname="m" name="a[&lt;o at 0x7f0012345678&gt;]"/>', '<testcase classname="m" name="a[&lt;o at 0x7f0012345679&gt;]"><failure/></testcase>'), ended);
    const two = pytestOutcomes(xml('<testcase classname="m" name="a[&lt;o at 0x7e0012345678&gt;]"/>', '<testcase classname="m" name="a[&lt;o at 0x7e0012345679&gt;]"/>'), ended);
    expect(one.size).toBe(2);
    expect(differing(one, two)).toEqual(["m::a[<o at 0x…>] #2"]);
  });

  it.each([
    [{ ...ended, signal: "SIGSEGV", status: null }, "ended: SIGSEGV"],
    [{ ...ended, timedOut: true }, "ended: time limit"],
    [{ ...ended, status: 2 }, "ended: status 2"],
  ])("says how a run ended that is not one: %o", (ending, outcome) => {
    expect(pytestOutcomes(xml(), ending).get("(process)")).toBe(outcome);
    expect(pytestOutcomes(undefined, ended).get("(process)")).toBe("ended: status 0");
  });
});

it("every suite's package is pinned", () => {
  expect(suites.length).toBeGreaterThanOrEqual(8);
  for (const { name } of suites) expect(pinOf(name)).toMatch(/^\d/);
});
