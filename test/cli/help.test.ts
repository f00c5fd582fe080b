/** `--help` of every command (design.md, "Interfaces"). */
import { afterAll, describe, expect, it, vi } from "vitest";
import { makeWorld } from "./support.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const world = makeWorld("help");
afterAll(() => world.remove());

const commands = ["run", "trace", "build", "install", "uninstall", "status", "inspect", "verify", "diff", "why", "doctor", "bench"];
/** Those that print results. */
const withJson = commands.filter((command) => command !== "run" && command !== "trace");

describe("pycds --help", () => {
  it("lists every command", () => {
    const { status, stdout, stderr } = world.pycds(["--help"]);
    expect([status, stderr]).toEqual([0, ""]);
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
  });

  it.each(commands)("%s", (command) => {
    const { status, stdout, stderr } = world.pycds([command, "--help"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`Usage: pycds ${command} `);
    expect(stdout).toMatch(new RegExp(`\\nExamples:\\n  pycds ${command}\\b`));
    expect(stdout).toContain("--quiet");
    expect(stdout).toContain("--debug");
    expect(stdout.includes("--json")).toBe(withJson.includes(command));
  });

  it("--version is that of package.json", () => {
    expect(world.pycds(["--version"]).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
