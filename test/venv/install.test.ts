/** install, uninstall and status on scratch folders: byte for byte, foreign files, damage, interruption. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { PycdsError } from "../../src/base/errors.ts";
import { install } from "../../src/venv/install.ts";
import { status } from "../../src/venv/status.ts";
import { uninstall } from "../../src/venv/uninstall.ts";
import { dieAt, makeInputs, onRename, packageDir, record, snapshot, withoutFlushing } from "./support.ts";
import type { Inputs } from "./support.ts";

let inputs: Inputs;
let before: Record<string, string>;
beforeEach(() => {
  inputs = makeInputs();
  before = snapshot(inputs.site);
});
afterEach(() => inputs.remove());

const runtimeOnly = () => install({ site: inputs.site, runtime: inputs.runtime, packageDir });
const withArchive = () => install({ site: inputs.site, runtime: inputs.runtime, packageDir, archive: inputs.archive });
const at = (path: string): string => join(inputs.site, path);
const names = (): string[] => Object.keys(snapshot(inputs.site)).filter((name) => !(name in before)).sort();

const ours = ["_pycds.pth", "_pycds.so", "pycds", "pycds/__init__.py", "pycds/install.json", "pycds/py.typed"];
const oursWithArchive = [...ours, "pycds.data", "pycds.data/default.pycds"].sort();

function fault(action: () => unknown): PycdsError {
  try {
    action();
  } catch (error) {
    if (error instanceof PycdsError) return error;
    throw error;
  }
  throw new Error("no error");
}

describe("install", () => {
  it("writes the runtime, the package and the .pth, and the archive only with one", () => {
    const first = runtimeOnly();
    expect(first.replaced).toBe(false);
    expect(names()).toEqual(ours);
    uninstall(inputs.site);
    const result = withArchive();
    expect(names()).toEqual(oursWithArchive);
    expect(result.files.map((file) => file.path).sort()).toEqual(oursWithArchive.filter((name) => !["pycds", "pycds.data", "pycds/install.json"].includes(name)));
    expect(readFileSync(at("pycds.data/default.pycds"))).toEqual(readFileSync(inputs.archive));
    expect(readFileSync(at("_pycds.so"))).toEqual(readFileSync(inputs.runtime));
    expect(readFileSync(at("pycds/__init__.py"))).toEqual(readFileSync(join(packageDir, "__init__.py")));
    expect(status(inputs.site)).toMatchObject({ state: "installed", faults: [], archive: { path: "pycds.data/default.pycds", state: "intact", size: statSync(inputs.archive).size } });
  });

  it("leaves everything else as it was", () => {
    withArchive();
    expect(snapshot(inputs.site)).toMatchObject(before);
  });

  it("makes nothing that others may write, whatever the umask", () => {
    const umask = process.umask(0);
    try {
      withArchive();
    } finally {
      process.umask(umask);
    }
    for (const name of names()) expect(statSync(at(name)).mode & 0o022, name).toBe(0);
  });

  it("flushes every file before the rename that makes it appear, and the folder after", () => {
    const calls = record(["openSync", "fsyncSync", "renameSync"], withArchive);
    const renames = calls.flatMap((call, index) => (call.startsWith("renameSync ") ? [[call.slice("renameSync ".length), index] as const] : []));
    expect(renames.length).toBeGreaterThanOrEqual(5);
    for (const [path, index] of renames) {
      expect(calls.slice(0, index).some((call) => call.startsWith(`fsyncSync ${path}`)), path).toBe(true);
      expect(calls.slice(index).some((call) => call === `fsyncSync ${inputs.site}` || call === `fsyncSync ${at("pycds")}`), path).toBe(true);
    }
  });

  it("again: the same files; without an archive the old one goes", () => {
    withArchive();
    const once = snapshot(inputs.site);
    expect(withArchive().replaced).toBe(true);
    expect(snapshot(inputs.site)).toEqual(once);
    runtimeOnly();
    expect(names()).toEqual(ours);
    expect(status(inputs.site)).toMatchObject({ state: "installed", archive: null });
    withArchive();
    expect(snapshot(inputs.site)).toEqual(once);
  });

  it("over an older version: its files go, so do its compiled ones", () => {
    const older = join(inputs.directory, "older");
    mkdirSync(older);
    for (const name of ["__init__.py", "gone.py"]) writeFileSync(join(older, name), "old = 1\n");
    writeFileSync(join(older, "notes.txt~"), "not installed");
    install({ site: inputs.site, runtime: inputs.runtime, packageDir: older });
    expect(names()).toContain("pycds/gone.py");
    mkdirSync(at("pycds/__pycache__"));
    for (const name of ["__init__.cpython-311.pyc", "gone.cpython-312.opt-2.pyc", "gone.cpython-312.pyc.14021"]) writeFileSync(at(`pycds/__pycache__/${name}`), "");
    withArchive();
    expect(names()).toEqual(oursWithArchive);
    expect(status(inputs.site).state).toBe("installed");
  });

  it.each([
    ["_pycds.pth", "file"],
    ["_pycds.so", "file"],
    ["_pycds.cpython-311-x86_64-linux-gnu.so", "file"],
    ["_pycds.abi3.so", "file"],
    ["_pycds.py", "file"],
    ["pycds.py", "file"],
    ["pycds/__init__.py", "file"],
    ["pycds.data/default.pycds", "file"],
    ["pycds.data/x", "file"],
    ["pycds", "folder"],
    ["_pycds", "folder"],
    ["pycds", "link"],
  ])("refuses when there is a foreign %s (%s), and changes nothing", (name, kind) => {
    if (name.includes("/")) mkdirSync(at(name.slice(0, name.indexOf("/"))));
    if (kind === "file") writeFileSync(at(name), "theirs");
    else if (kind === "folder") mkdirSync(at(name));
    else symlinkSync("other", at(name));
    const foreign = snapshot(inputs.site);
    const error = fault(withArchive);
    expect(error.code).toBe("SITE_FOREIGN_FILE");
    expect(error.line).toContain(name.split("/")[0]);
    expect(error.line).toMatch(/^cannot install \(.*\) — .* — .*$/);
    expect(snapshot(inputs.site)).toEqual(foreign);
    expect(uninstall(inputs.site)).toMatchObject({ wasInstalled: false, removed: [] });
    expect(snapshot(inputs.site)).toEqual(foreign);
  });

  it("does not mind names that only begin like ours", () => {
    writeFileSync(at("pycds_extra.py"), "");
    mkdirSync(at("pycds-1.0.dist-info"));
    expect(runtimeOnly().replaced).toBe(false);
  });

  it("refuses a folder in the place of one of its files", () => {
    withArchive();
    rmSync(at("_pycds.so"));
    mkdirSync(at("_pycds.so"));
    expect(fault(withArchive).line).toContain("_pycds.so");
  });

  it.each([
    ["a missing archive", () => ({ archive: "none" }), "INPUT_MISSING"],
    ["a folder as archive", () => ({ archive: inputs.directory }), "INPUT_NOT_FILE"],
    ["a FIFO as archive", () => (execFileSync("mkfifo", [join(inputs.directory, "fifo")]), { archive: join(inputs.directory, "fifo") }), "INPUT_NOT_FILE"],
    ["an empty archive", () => (writeFileSync(join(inputs.directory, "empty"), ""), { archive: join(inputs.directory, "empty") }), "ARCHIVE_FOREIGN"],
    ["another file as archive", () => ({ archive: inputs.runtime }), "ARCHIVE_FOREIGN"],
    ["a missing runtime", () => ({ runtime: "none" }), "INPUT_MISSING"],
    ["another file as runtime", () => ({ runtime: inputs.archive }), "RUNTIME_FOREIGN"],
    ["a missing package", () => ({ packageDir: "none" }), "PACKAGE_MISSING"],
    ["a folder that is no package", () => ({ packageDir: inputs.directory }), "PACKAGE_MISSING"],
    ["a missing site-packages", () => ({ site: join(inputs.directory, "none") }), "SITE_MISSING"],
  ])("refuses %s before it changes anything", (_name, change, code) => {
    const error = fault(() => install({ site: inputs.site, runtime: inputs.runtime, packageDir, archive: inputs.archive, ...change() }));
    expect(error.code).toBe(code);
    expect(error.next).toBeDefined();
    expect(error.exit).toBe(2);
    expect(snapshot(inputs.site)).toEqual(before);
  });

  it.skipIf(process.getuid?.() === 0)("refuses a folder that cannot be written to (not as root)", () => {
    chmodSync(inputs.site, 0o555);
    expect(fault(withArchive).code).toBe("SITE_READ_ONLY");
    chmodSync(inputs.site, 0o755);
  });
});

describe("uninstall", () => {
  it("restores names, kinds, modes and contents", () => {
    withArchive();
    expect(uninstall(inputs.site)).toMatchObject({ wasInstalled: true, changed: [], kept: [] });
    expect(snapshot(inputs.site)).toEqual(before);
    expect(status(inputs.site).state).toBe("absent");
    expect(uninstall(inputs.site)).toEqual({ site: inputs.site, wasInstalled: false, removed: [], changed: [], kept: [] });
  });

  it("takes what Python compiled from the package", () => {
    withArchive();
    mkdirSync(at("pycds/__pycache__"));
    for (const name of ["__init__.cpython-39.pyc", "__init__.cpython-313.opt-1.pyc"]) writeFileSync(at(`pycds/__pycache__/${name}`), "");
    uninstall(inputs.site);
    expect(snapshot(inputs.site)).toEqual(before);
  });

  it("takes damaged files too, and says so", () => {
    withArchive();
    writeFileSync(at("pycds.data/default.pycds"), "damaged");
    writeFileSync(at("_pycds.pth"), "");
    rmSync(at("_pycds.so"));
    expect(status(inputs.site)).toMatchObject({
      state: "damaged",
      faults: ["_pycds.so is missing", "pycds.data/default.pycds is changed", "_pycds.pth is changed"],
      archive: { state: "changed" },
    });
    expect(uninstall(inputs.site).changed.toSorted()).toEqual(["_pycds.pth", "pycds.data/default.pycds"]);
    expect(snapshot(inputs.site)).toEqual(before);
  });

  it("sees a change that keeps the size", () => {
    withArchive();
    const bytes = readFileSync(at("pycds.data/default.pycds"));
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    writeFileSync(at("pycds.data/default.pycds"), bytes);
    expect(status(inputs.site).faults).toEqual(["pycds.data/default.pycds is changed"]);
  });

  it("keeps what is not ours in our folders, and names it", () => {
    withArchive();
    writeFileSync(at("pycds.data/notes.txt"), "mine");
    mkdirSync(at("pycds/sub"));
    expect(uninstall(inputs.site).kept).toEqual(["pycds/sub", "pycds.data/notes.txt"]);
    expect(names()).toEqual(["pycds", "pycds.data", "pycds.data/notes.txt", "pycds/sub"]);
  });

  it("keeps another distribution that was installed over the package", () => {
    withArchive();
    writeFileSync(at("pycds/__init__.py"), "theirs = 1\n");
    writeFileSync(at("pycds/orm.py"), "theirs = 1\n");
    mkdirSync(at("pycds/__pycache__"));
    writeFileSync(at("pycds/__pycache__/orm.cpython-311.pyc"), "theirs");
    expect(uninstall(inputs.site).kept).toEqual(["pycds/__init__.py", "pycds/__pycache__", "pycds/orm.py"]);
    expect(names()).toEqual(["pycds", "pycds/__init__.py", "pycds/__pycache__", "pycds/__pycache__/orm.cpython-311.pyc", "pycds/orm.py"]);
  });

  it.each([
    ["cut", () => writeFileSync(at("pycds/install.json"), readFileSync(at("pycds/install.json")).subarray(0, 40))],
    ["of a future version", () => writeFileSync(at("pycds/install.json"), readFileSync(at("pycds/install.json"), "utf8").replace('"version": 1', '"version": 2'))],
    ["removed", () => rmSync(at("pycds/install.json"))],
    ["gone with the package", () => rmSync(at("pycds"), { recursive: true })],
  ])("recognises its files when the manifest is %s", (_name, damage) => {
    withArchive();
    const whole = snapshot(inputs.site);
    damage();
    expect(status(inputs.site).state).toBe("damaged");
    withArchive();
    expect(snapshot(inputs.site)).toEqual(whole);
    damage();
    expect(uninstall(inputs.site).wasInstalled).toBe(true);
    expect(snapshot(inputs.site)).toEqual(before);
  });

  it("does not follow a manifest out of its own names", () => {
    withArchive();
    const manifest = readFileSync(at("pycds/install.json"), "utf8");
    for (const path of ["other/__init__.py", "pycds/../a.pth", "../app.pycds", "pycds/install.json", "/etc/passwd"]) {
      writeFileSync(at("pycds/install.json"), manifest.replace("pycds/py.typed", path));
      expect(status(inputs.site).faults).toContain("its manifest cannot be read");
    }
    uninstall(inputs.site);
    expect(snapshot(inputs.site)).toEqual(before);
    expect(existsSync(inputs.archive)).toBe(true);
  });
});

describe("interruption at every step", { timeout: 60_000 }, () => {
  let putBack: () => void;
  beforeAll(() => {
    putBack = withoutFlushing();
  });
  afterAll(() => putBack());

  /** Activating and not complete, or a temporary name left: neither may be seen by Python for long. */
  const isWhole = (): boolean => ["_pycds.so", "pycds/__init__.py", "pycds.data/default.pycds"].every((name) => existsSync(at(name)));

  it.each([
    ["a first install", () => undefined, () => withArchive()],
    ["an install over another", () => runtimeOnly(), () => withArchive()],
    ["an install without the former archive", () => withArchive(), () => runtimeOnly()],
    ["an uninstall", () => withArchive(), () => uninstall(inputs.site)],
  ])("%s: install and uninstall both work afterwards", (name, prepare, action) => {
    let steps = 0;
    for (const repair of ["uninstall", "install"]) {
      for (let n = 1; ; n++) {
        prepare();
        const died = dieAt(n, action);
        if (died) {
          steps++;
          if (name === "a first install" && existsSync(at("_pycds.pth"))) expect(isWhole(), `step ${n}`).toBe(true);
          if (repair === "install") {
            withArchive();
            expect(names(), `step ${n}`).toEqual(oursWithArchive);
            expect(status(inputs.site).state).toBe("installed");
          }
        }
        uninstall(inputs.site);
        expect(snapshot(inputs.site), `step ${n}`).toEqual(before);
        if (!died) break;
      }
    }
    expect(steps).toBeGreaterThan(10);
  });

  it("an install that fails in the middle leaves nothing, and says why", () => {
    // a file that appears after the checks, where the archive's folder should be
    const appears = (path: unknown) => String(path).endsWith("_pycds.so") && writeFileSync(at("pycds.data"), "theirs");
    const error = fault(() => onRename(appears, withArchive));
    expect(error.code).toBe("INSTALL_FAILED");
    expect(error.line).toMatch(/^cannot install \(.*\) — .*not a directory.* — put that right, then install again; nothing was left behind$/);
    rmSync(at("pycds.data"));
    expect(snapshot(inputs.site)).toEqual(before);
  });
});
