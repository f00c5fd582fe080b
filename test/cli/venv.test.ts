/** install, status, uninstall and doctor as commands; the room's own tests are in test/venv. */
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { knownAbis } from "../../src/abi/load.ts";
import { pythons } from "../support/pythons.ts";
import { makeWorld } from "./support.ts";

// interpreters and the command line are started many times, on machines of any speed
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const world = makeWorld("venv");
afterAll(() => world.remove());
const supported = pythons().filter(({ version }) => knownAbis().some((id) => id.startsWith(`cpython-${version}-`)));

function tree(folder: string): Record<string, string> {
  const files = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(files.map((entry) => join(entry.parentPath, entry.name)).toSorted().map((file) => [file, `${statSync(file).mode} ${readFileSync(file).toString("base64")}`]));
}

describe.each(supported)("CPython $version ($exe)", ({ exe, version }) => {
  const venv = join(world.work, `venv-${version}-${exe.length}`);
  const python = join(venv, "bin", "python");
  const log = join(world.work, "log");
  const served = (): string => {
    rmSync(log, { force: true });
    execFileSync(python, ["-c", "import wave"], { env: { ...world.env, PYCDS_LOG: log } });
    return readFileSync(log, { encoding: "utf8", flag: "a+" }).trimEnd().split("\n").at(-1) ?? "";
  };
  const json = (...args: string[]): Record<string, unknown> => JSON.parse(world.pycds([...args, "--json"]).stdout) as Record<string, unknown>;

  it("installs, is used, and is gone again without a trace", () => {
    execFileSync(exe, ["-m", "venv", "--without-pip", venv]);
    expect(served()).toBe("");
    const before = tree(venv);
    expect(json("status", "--venv", venv)).toMatchObject({ state: "absent" });
    expect(world.pycds(["trace", "-o", "v.trace", "--", python, "-c", "import wave"]).status).toBe(0);
    expect(world.pycds(["build", "--trace", "v.trace", "--venv", venv, "-o", "v.pycds"]).status).toBe(0);

    expect(world.pycds(["install", "--venv", venv, "-a", "v.pycds"])).toMatchObject({ status: 0, stderr: "" });
    expect(served()).toMatch(/^pycds: summary hit=[1-9]\d* miss=0 stale=0 archive=.*\/pycds\.data\/default\.pycds$/);
    expect(json("status", "--venv", venv)).toMatchObject({ state: "installed", archive: { state: "intact" } });
    const doctor = world.pycds(["doctor", "--venv", venv]);
    expect(doctor).toMatchObject({ status: 0, stderr: "" });
    expect(doctor.stdout).toMatch(/^ok {3}installation: installed in /m);

    const { archive } = json("status", "--venv", venv) as { archive: { path: string } };
    const [site] = (json("status", "--venv", venv) as { site: string }).site.split("\n");
    writeFileSync(join(site ?? "", archive.path), "changed");
    expect(world.pycds(["status", "--venv", venv]).status).toBe(1);
    expect(world.pycds(["doctor", "--venv", venv]).status).toBe(1);

    expect(world.pycds(["uninstall", "--venv", venv]).status).toBe(0);
    expect(tree(venv)).toEqual(before);
    expect(world.pycds(["uninstall", "--venv", venv])).toMatchObject({ status: 0, stdout: expect.stringContaining("nothing is installed") as unknown });
  });

  it("installs the runtime alone; PYCDSARCHIVE names an archive; run leaves it to the launcher", () => {
    expect(world.pycds(["install", "--venv", venv, "-q"])).toMatchObject({ status: 0, stdout: "", stderr: "" });
    rmSync(log, { force: true });
    execFileSync(python, ["-c", "import wave"], { env: { ...world.env, PYCDS_LOG: log, PYCDSARCHIVE: join(world.work, "v.pycds") } });
    expect(readFileSync(log, "utf8")).toMatch(/summary hit=[1-9]/);
    for (let round = 0; round < 2; round++) {
      rmSync(log, { force: true });
      expect(world.pycds(["run", "--", python, "-c", "import wave, _pycds; print('ok')"], { PYCDS_LOG: log })).toMatchObject({ status: 0, stdout: "ok\n", stderr: "" });
    }
    expect(readFileSync(log, "utf8")).toContain(`archive=${world.cache}/pycds/`);
    expect(world.pycds(["uninstall", "--venv", venv, "-q"])).toMatchObject({ status: 0, stdout: "", stderr: "" });
  });
});
