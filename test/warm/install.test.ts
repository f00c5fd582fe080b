/** Images in the place of an environment's commands, and the originals back byte for byte. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, pycdsIn, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[0] : undefined;

describe.skipIf(python === undefined)(`warm install${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const env = pythonEnvironment();
  let directory: string;
  let venv: string;
  let command: string;
  let original: Buffer;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-install-")));
    venv = join(directory, "venv");
    execFileSync(python?.exe ?? "", ["-m", "venv", "--without-pip", venv], { env });
    command = join(venv, "bin/tool");
    writeFileSync(command, `#!${venv}/bin/python\nimport json\nimport sys\nif __name__ == "__main__":\n    sys.exit(print(json.dumps(sys.argv), sys.prefix, sys.path[0]))\n`, { mode: 0o751 });
    original = readFileSync(command);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const warm = (...args: string[]) => pycdsIn(["warm", ...args], { env, cwd: directory });
  const tool = (more: Record<string, string> = {}) => spawnSync(command, ["a"], { encoding: "utf8", env: { ...env, ...more } });

  it("installs, serves, starts the original where the image is refused, and uninstalls", () => {
    const stock = tool().stdout;
    for (let round = 0; round < 2; round++) expect(warm("install", "--venv", "venv", "tool")).toMatchObject({ status: 0, stderr: "" });
    expect(tool({ PYCDS: "on" })).toMatchObject({ status: 0, stdout: stock, stderr: "" });
    // the original is started by the name that it is kept under
    const refused = stock.replaceAll(/\/bin\/tool/g, "/bin/.pycds-warm/tool").replace(/\/bin$/m, "/bin/.pycds-warm");
    expect(tool({ PYTHONUTF8: "1", PYCDS_LOG: "stderr" })).toMatchObject({ status: 0, stdout: refused, stderr: expect.stringContaining("pycds: refused") as string });
    expect(warm("uninstall", "--venv", "venv")).toMatchObject({ status: 0, stdout: "1 command put back: tool\n" });
    expect(readFileSync(command)).toEqual(original);
    expect(statSync(command).mode & 0o777).toBe(0o751);
    expect(readdirSync(join(venv, "bin")).filter((name) => name.startsWith(".pycds"))).toEqual([]);
    expect(warm("uninstall", "--venv", "venv", "tool")).toMatchObject({ status: 2 });
  });

  it("a command that was written over the image (pip install -U) stays, and the older original is dropped", () => {
    const kept = join(venv, "bin/.pycds-warm");
    const newer = original.toString().replace("sys.argv)", "sys.argv), 'newer'");
    const overwrite = (): void => {
      rmSync(command); // as pip does; the image itself may be running
      writeFileSync(command, newer, { mode: 0o755 });
    };
    expect(warm("install", "--venv", "venv", "tool")).toMatchObject({ status: 0 });
    overwrite();
    expect(warm("uninstall", "--venv", "venv")).toMatchObject({ status: 0, stdout: "0 commands put back; no image any more, left as they are: tool\n" });
    expect(readFileSync(command, "utf8")).toBe(newer);
    expect(existsSync(kept)).toBe(false);

    writeFileSync(command, original);
    expect(warm("install", "--venv", "venv", "tool")).toMatchObject({ status: 0 });
    overwrite();
    expect(warm("install", "--venv", "venv", "tool")).toMatchObject({ status: 0 });
    expect(tool({ PYCDS: "on" })).toMatchObject({ status: 0, stdout: expect.stringContaining("newer") as string });
    expect(readFileSync(join(kept, "tool"), "utf8")).toBe(newer);
    // without its command the kept original is the only copy
    rmSync(command);
    expect(warm("uninstall", "--venv", "venv", "tool")).toMatchObject({ status: 0, stdout: "1 command put back: tool\n" });
    expect(readFileSync(command, "utf8")).toBe(newer);
  });

  it("leaves the command as it was when there can be no image", () => {
    writeFileSync(join(venv, "bin/bad"), `#!${venv}/bin/python\nraise SystemExit("no")\n`, { mode: 0o755 });
    const before = readFileSync(join(venv, "bin/bad"));
    expect(warm("install", "--venv", "venv", "--park", "bad")).toMatchObject({ status: 2 });
    expect(readFileSync(join(venv, "bin/bad"))).toEqual(before);
    expect(existsSync(join(venv, "bin/.pycds-warm"))).toBe(false);
    expect(warm("install", "--venv", "venv", "no-such")).toMatchObject({ status: 2, stderr: expect.stringContaining("the environment has no such command") as string });
  });
});
