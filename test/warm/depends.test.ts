/** What an image depends on besides its modules' files: what lies beside the program, what site reads, what changed while it was built. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, pycdsIn, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;

describe.skipIf(python === undefined)(`what an image depends on${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let env: Record<string, string>;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-depends-")));
    env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib"), HOME: directory };
    mkdirSync(join(directory, "lib/pack"), { recursive: true });
    writeFileSync(join(directory, "lib/found.py"), "try:\n    import not_there\nexcept ImportError:\n    not_there = None\nimport spaces.inside, json\n");
    mkdirSync(join(directory, "lib/spaces"));
    writeFileSync(join(directory, "lib/spaces/inside.py"), "");
    writeFileSync(join(directory, "lib/pack/__init__.py"), "try:\n    from . import fast\nexcept ImportError:\n    fast = None\n");
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const build = (image: string, args: readonly string[], cwd = directory): void => expect(createImage(image, args, { env, cwd })).toMatchObject({ status: 0, stderr: "" });
  const start = (file: string, args: readonly string[], cwd = directory, more: Record<string, string> = {}) => {
    const { status, stdout, stderr } = spawnSync(file, args, { cwd, encoding: "utf8", env: { ...env, PYCDS_LOG: "stderr", ...more } });
    return { status, stdout, stderr };
  };

  describe("modules beside the program", () => {
    let image: string;
    let beside: string;
    beforeAll(() => {
      image = join(directory, "image");
      build(image, ["--preload", "found,json", "--", exe]);
    });
    const place = (...files: readonly string[]): string => {
      beside = mkdtempSync(join(directory, "beside-"));
      for (const file of files) {
        mkdirSync(dirname(join(beside, file)), { recursive: true });
        writeFileSync(join(beside, file), file.endsWith("__init__.py") || !file.includes("/") ? "def dumps(value): return 'shadowed'\n" : "");
      }
      writeFileSync(join(beside, "script.py"), "import json, sys\ntry: import not_there\nexcept ImportError: not_there = None\nprint(json.dumps(1), not_there is not None)\n");
      return beside;
    };
    const ways: readonly (readonly [string, () => { args: string[]; cwd: string }])[] = [
      ["a script", () => ({ args: [join(beside, "script.py")], cwd: directory })],
      ["a link to a script", () => { symlinkSync(join(beside, "script.py"), `${beside}-link`); return { args: [`${beside}-link`], cwd: directory }; }],
      ["-c", () => ({ args: ["-c", readFileSync(join(beside, "script.py"), "utf8")], cwd: beside })],
      ["-m", () => ({ args: ["-m", "script"], cwd: beside })],
      ["a folder", () => { copyFileSync(join(beside, "script.py"), join(beside, "__main__.py")); return { args: [beside], cwd: directory }; }],
    ];
    describe.each(ways)("%s", (_name, way) => {
      it.each([
        ["a module", "json.py", "json.py"], ["a package", "json/__init__.py", "json"], ["a name that was missing", "not_there.py", "not_there.py"],
        ["a folder for a name that was missing", "not_there/x.txt", "not_there"], ["a part of a namespace package", "spaces/x.txt", "spaces"],
      ])("%s wins, as in stock", (_what, file, name) => {
        place(file);
        const { args, cwd } = way();
        const stock = start(exe, args, cwd);
        expect(stock.status).toBe(0);
        expect(start(image, args, cwd)).toEqual({ ...stock, stderr: `pycds: refused ${image}: beside the program is a module that its imports would find: ${name}\n` });
      });
      it("what is no module does not matter", () => {
        place("json/data.txt", "json.txt", "json.d.py", "decoder.py", "os.py", "sys.py");
        const { args, cwd } = way();
        expect(start(image, args, cwd)).toEqual({ ...start(exe, args, cwd), stderr: `pycds: restored ${image}\n` });
      });
    });
    it("a zip file is a folder too", () => {
      place("json.py");
      copyFileSync(join(beside, "script.py"), join(beside, "__main__.py"));
      const zip = join(directory, "program.zip");
      execFileSync(exe, ["-m", "zipapp", beside, "-o", zip], { env, cwd: "/" });
      expect(start(image, [zip])).toEqual({ ...start(exe, [zip]), stderr: `pycds: refused ${image}: a zip file could hold modules that its imports would find: ${zip}\n` });
    });
    it("a program of -m knows its folder", () => {
      place("other.py", "program.py");
      writeFileSync(join(beside, "program.py"), "import json\nif __name__ == '__main__':\n    import sys\n    print(json.dumps(1), sys.path[0])\n");
      const own = join(directory, "own");
      build(own, ["--", exe, "-m", "program"], beside);
      expect(start(own, [], beside)).toEqual({ ...start(exe, ["-m", "program"], beside), stderr: `pycds: restored ${own}\n` });
      expect(start(own, []).stderr).toMatch(`pycds: refused ${own}: it was built in another folder, where its modules are: ${beside}\n`);
      // one that lies elsewhere runs anywhere, but for what is there
      writeFileSync(join(directory, "lib/program2.py"), readFileSync(join(beside, "program.py")));
      const any = join(directory, "any");
      build(any, ["--", exe, "-m", "program2"]);
      expect(start(any, [], beside)).toEqual({ ...start(exe, ["-m", "program2"], beside), stderr: `pycds: restored ${any}\n` });
      place("json.py");
      expect(start(any, [], beside)).toEqual({ ...start(exe, ["-m", "program2"], beside), stderr: `pycds: refused ${any}: beside the program is a module that its imports would find: json.py\n` });
      rmSync(join(directory, "lib/program2.py"));
    });
  });

  it("a package's new module", () => {
    const image = join(directory, "pack");
    build(image, ["--preload", "pack", "--", exe]);
    const args = ["-c", "import pack; print(pack.fast is not None)"];
    expect(start(image, args)).toEqual({ status: 0, stdout: "False\n", stderr: `pycds: restored ${image}\n` });
    writeFileSync(join(directory, "lib/pack/fast.py"), "");
    expect(start(image, args)).toEqual({ status: 0, stdout: "True\n", stderr: `pycds: refused ${image}: a file has changed: ${join(directory, "lib/pack")}\n` });
    rmSync(join(directory, "lib/pack/fast.py"));
  });

  it("pyvenv.cfg, .pth files, a user site that did not exist", () => {
    const venv = join(directory, "venv");
    execFileSync(exe, ["-m", "venv", "--without-pip", "--system-site-packages", venv], { env });
    const site = execFileSync(join(venv, "bin/python"), ["-c", "import site; print(site.getsitepackages()[0])"], { encoding: "utf8", env }).trim();
    const user = execFileSync(join(venv, "bin/python"), ["-c", "import site; print(site.getusersitepackages())"], { encoding: "utf8", env }).trim();
    expect(user.startsWith(directory)).toBe(true);
    const image = join(directory, "of-venv");
    writeFileSync(join(site, "one.pth"), "# nothing\n");
    utimesSync(join(site, "one.pth"), 1, 1);
    build(image, ["--preload", "json", "--", join(venv, "bin/python")]);
    const log = (): string => start(image, ["-c", ""]).stderr;
    expect(log()).toBe(`pycds: restored ${image}\n`);
    writeFileSync(join(site, "one.pth"), "import json\n");
    expect(log()).toBe(`pycds: refused ${image}: a file has changed: ${join(site, "one.pth")}\n`);
    writeFileSync(join(site, "one.pth"), "# nothing\n");
    utimesSync(join(site, "one.pth"), 1, 1);
    expect(log()).toBe(`pycds: restored ${image}\n`);
    writeFileSync(join(site, "two.pth"), "import json\n");
    expect(log()).toBe(`pycds: refused ${image}: a file has changed: ${site}\n`);
    rmSync(join(site, "two.pth"));
    mkdirSync(user, { recursive: true });
    expect(log()).toBe(`pycds: refused ${image}: a file has changed: ${user}\n`);
    rmSync(user, { recursive: true });
    expect(log()).toBe(`pycds: restored ${image}\n`);
    writeFileSync(join(venv, "pyvenv.cfg"), "include-system-site-packages = false\n");
    expect(log()).toBe(`pycds: refused ${image}: a file has changed: ${join(venv, "pyvenv.cfg")}\n`);
  });

  it.each([["its own file", "open(__file__, 'a').write('# more')"], ["a new file in a folder", "open(__file__ + '_new.py', 'w')"]])("a change while it is built: %s", (_name, edit) => {
    writeFileSync(join(directory, "lib/edits.py"), `${edit}\n`);
    const { status, stderr } = createImage(join(directory, "racy"), ["--preload", "edits", "--", exe], { env, cwd: directory });
    expect(stderr).toMatch(/files changed while it ran: .*\/lib\/edits\.py/);
    expect(status).toBe(2);
    for (const name of readdirSync(join(directory, "lib")).filter((one) => one.startsWith("edits"))) rmSync(join(directory, "lib", name));
  });

  it("a name that goes while it is built, and that no module in memory is of", () => {
    for (const [gone, name] of [["gone.py", "takes_file"], ["gone_folder", "takes_folder"]] as const) {
      const path = join(directory, "lib", gone);
      if (gone.endsWith(".py")) writeFileSync(path, "");
      else mkdirSync(path);
      writeFileSync(join(directory, "lib", `${name}.py`), `import os, shutil\nif os.path.exists(${JSON.stringify(path)}):\n    (shutil.rmtree if os.path.isdir(${JSON.stringify(path)}) else os.remove)(${JSON.stringify(path)})\n`);
      const create = () => createImage(join(directory, "went"), ["--preload", name, "--", exe], { env, cwd: directory });
      expect(create()).toMatchObject({ status: 2, stderr: expect.stringContaining(`files went while it ran: ${path}`) as string });
      rmSync(join(directory, "lib/__pycache__"), { recursive: true, force: true }); // what comes and goes beside modules says nothing
      expect(create()).toMatchObject({ status: 0, stderr: "" });
      rmSync(join(directory, "lib", `${name}.py`));
    }
  });

  it("a mapped file: a copy and a new link are the same, other contents are not, whatever their time", () => {
    const source = execFileSync(exe, ["-I", "-c", "import _json; print(_json.__file__)"], { encoding: "utf8" }).trim();
    const file = join(directory, "lib", source.slice(source.lastIndexOf("/") + 1));
    copyFileSync(source, file);
    utimesSync(file, 1, 1);
    const image = join(directory, "mapped");
    build(image, ["--sealed", "--preload", "_json", "--allow", "_json", "--", exe]);
    const log = (): string => start(image, ["-c", ""]).stderr;
    expect(log()).toBe(`pycds: restored ${image}\n`);
    linkSync(file, join(directory, "link"));
    expect(statSync(file).mtimeMs).toBe(1000);
    const compared = `pycds: restored ${image}: each start compares the contents of ${file} — pycds warm renew ${image}\n`;
    expect(log()).toBe(compared);
    expect(pycdsIn(["warm", "renew", "-q", image], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(log()).toBe(`pycds: restored ${image}\n`);
    const bytes = readFileSync(file);
    rmSync(file);
    writeFileSync(file, bytes);
    utimesSync(file, 1, 1);
    expect(log()).toBe(compared);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(file, bytes);
    utimesSync(file, 1, 1);
    expect(log()).toBe(`pycds: refused ${image}: a file has changed: ${file}\n`);
    expect(pycdsIn(["warm", "verify", image], { env, cwd: directory })).toMatchObject({ status: 1, stdout: `${image}: a file has changed: ${file}\n` });
    rmSync(file);
  });

  it("a larger stack limit is honoured", () => {
    const image = join(directory, "stack");
    const made = spawnSync("sh", ["-c", 'ulimit -S -s 2048; exec "$@"', "sh", process.execPath, join(import.meta.dirname, "../../bin/pycds"), "warm", "create", "-q", "-o", image, "--", exe], { cwd: directory, encoding: "utf8", env });
    expect(made).toMatchObject({ status: 0, stderr: "" });
    const code = `import resource
at = int(open("/proc/self/stat").read().rpartition(")")[2].split()[25])
for line in open("/proc/self/maps"):
    low, high = (int(one, 16) for one in line.split()[0].split("-"))
    if low <= at < high: print((high - low) >> 10)`;
    for (const [limit, least, most] of [["2048", 2048, 2048], ["1024", 2048, 2048], ["65536", 65536, 65536], ["unlimited", 65536, Infinity]] as const) {
      const { stdout, stderr, status } = spawnSync("sh", ["-c", `ulimit -S -s ${limit} || exit 7; exec "$@"`, "sh", image, "-c", code], { cwd: directory, encoding: "utf8", env: { ...env, PYCDS: "on" } });
      if (status === 7) continue; // the hard limit of this machine
      expect(stderr).toBe("");
      expect(Number(stdout)).toBeGreaterThanOrEqual(least);
      expect(Number(stdout)).toBeLessThanOrEqual(most);
    }
  });
});
