/** An image is refused wherever a normal start could give something else, and the program then starts the normal way. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { warmCodecs } from "../../src/warm/codec.ts";
import { plainEnvironment } from "../launch/support.ts";
import { cannotWarm, createImage, forgeImage, pycdsIn, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;
const root = process.geteuid?.() === 0;

/** Whether a set-user-ID program gets its owner's rights here. */
function canSetUid(): boolean {
  const directory = mkdtempSync(join(tmpdir(), "pycds-setuid-"));
  try {
    const id = spawnSync("sh", ["-c", "command -v id"], { encoding: "utf8" }).stdout.trim();
    if (!existsSync(id)) return false;
    const copy = join(directory, "id");
    copyFileSync(id, copy);
    chmodSync(copy, 0o4755);
    chmodSync(directory, 0o755);
    return spawnSync(copy, ["-u"], { uid: 65534, gid: 65534, cwd: "/", encoding: "utf8" }).stdout === "0\n";
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 0x55;
}

describe.skipIf(python === undefined)(`validity of an image${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let image: string;
  let env: Record<string, string>;
  const build = (to: string, ...options: string[]): void => expect(createImage(to, [...options, "--", exe, "code/app.py"], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-valid-")));
    env = { ...plainEnvironment(""), READ_AT_IMPORT: "1" };
    mkdirSync(join(directory, "code"));
    writeFileSync(join(directory, "code/helper.py"), "import os\nVALUE = os.environ['READ_AT_IMPORT'] + str(os.getenv('NOT_SET'))\n");
    writeFileSync(join(directory, "code/app.py"), "import helper\nprint('ran', helper.VALUE)\n");
    image = join(directory, "image");
    build(image);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const start = (file: string, more: Record<string, string> = {}, wrapper: readonly string[] = []): { status: number | null; stdout: string; stderr: string } => {
    const words = [...wrapper, file];
    return spawnSync(words[0] ?? file, words.slice(1), { cwd: directory, encoding: "utf8", env: { ...env, PYCDS_LOG: "stderr", ...more }, input: "" });
  };
  const refusal = (file: string, reason: string, more: Record<string, string> = {}): void => {
    const { status, stderr, stdout } = start(file, more);
    expect(stderr).toBe(`pycds: refused ${file}: ${reason}\n`);
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringMatching(/^ran /) as string });
    const strict = start(file, { ...more, PYCDS: "on" });
    expect(strict).toEqual(expect.objectContaining({ status: 2, stdout: "", stderr: `pycds: error: cannot restore (${file}) — ${reason} — build the image again, or set PYCDS=auto\n` }));
  };

  it("is used as it was built", () => {
    expect(start(image)).toMatchObject({ status: 0, stdout: "ran 1None\n", stderr: `pycds: restored ${image}\n` });
    expect(start(image, { UNRELATED: "x", PWD: "/", SHLVL: "7" }).stderr).toBe(`pycds: restored ${image}\n`);
    expect(pycdsIn(["warm", "verify", image], { env, cwd: directory })).toMatchObject({ status: 0, stdout: `${image}: valid\n` });
  });
  it("PYCDS=off starts the normal way, and says nothing", () => {
    expect(start(image, { PYCDS: "off" })).toMatchObject({ status: 0, stdout: "ran 1None\n", stderr: "" });
  });

  it.each([
    ["a variable that an import read", { READ_AT_IMPORT: "2" }, "READ_AT_IMPORT"],
    ["a variable that an import missed", { NOT_SET: "2" }, "NOT_SET"],
    ["LANG", { LANG: "C" }, "LANG"],
    ["HOME", { HOME: "/" }, "HOME"],
    ["PYTHONHASHSEED", { PYTHONHASHSEED: "1" }, "PYTHONHASHSEED"],
    ["a new PYTHON variable", { PYTHONDEVMODE: "1" }, "another variable of PYTHON*, LC_*, LD_*, GLIBC_* or MALLOC_*"],
    ["a new LC_ variable", { LC_ALL: "C" }, "another variable of PYTHON*, LC_*, LD_*, GLIBC_* or MALLOC_*"],
  ])("environment: %s", (_name, more, what) => {
    refusal(image, `the environment differs: ${what}`, more as Record<string, string>);
  });

  it("a module's file changed", () => {
    const file = join(directory, "code/helper.py");
    const copy = join(directory, "copy");
    copyFileSync(file, copy);
    writeFileSync(file, "VALUE = 'new'\n");
    refusal(image, `a file has changed: ${file}`);
    expect(start(image).stdout).toBe("ran new\n");
    expect(pycdsIn(["warm", "verify", image], { env, cwd: directory })).toMatchObject({ status: 1, stdout: `${image}: a file has changed: ${file}\n` });
    copyFileSync(copy, file);
    build(image);
  });
  it("a module's file is gone", () => {
    const file = join(directory, "lib/gone.py");
    mkdirSync(join(directory, "lib"));
    writeFileSync(file, "");
    const watching = join(directory, "watching");
    build(watching, "--watch", file);
    rmSync(file);
    refusal(watching, `a file is gone: ${file}`);
    rmSync(join(directory, "lib"), { recursive: true });
    refusal(watching, `a file is gone: ${file}`);
  });
  it("a folder of sys.path has a new name that could be imported; other names do not matter", () => {
    for (const name of ["app.log", "data", ".hidden.py.swp"]) writeFileSync(join(directory, "code", name), "");
    mkdirSync(join(directory, "code/results.d"));
    expect(start(image).stderr).toBe(`pycds: restored ${image}\n`);
    expect(pycdsIn(["warm", "verify", image], { env, cwd: directory })).toMatchObject({ status: 0 });
    mkdirSync(join(directory, "code/package"));
    refusal(image, `a file has changed: ${join(directory, "code")}`);
    rmSync(join(directory, "code/package"), { recursive: true });
    expect(start(image).stderr).toBe(`pycds: restored ${image}\n`);
    writeFileSync(join(directory, "code/another.py"), "");
    refusal(image, `a file has changed: ${join(directory, "code")}`);
    build(image);
  });
  it("sealed: module files are not looked at, mapped files are", () => {
    const sealed = join(directory, "sealed");
    build(sealed, "--sealed");
    utimesSync(join(directory, "code/helper.py"), 1, 1);
    expect(start(sealed).stderr).toBe(`pycds: restored ${sealed}\n`);
    const forged = join(directory, "forged");
    forgeImage(sealed, forged, (tables, header) => new DataView(tables.buffer, tables.byteOffset).setBigInt64(header.files_offset + warmCodecs.file.offsetOf("mtime_ns"), 1n, true));
    expect(start(forged).stderr).toMatch(/^pycds: refused .*\/forged: a file has changed: \//);
    expect(start(forged).stdout).toBe("ran 1None\n");
    // a library whose pages are in the image: another time; the same bytes with another inode; other bytes with the same size and time
    const embedded = (change: (view: DataView, at: number) => void): void => {
      forgeImage(sealed, forged, (tables, header) => {
        const view = new DataView(tables.buffer, tables.byteOffset);
        const at = Array.from({ length: header.file_count }, (_, index) => header.files_offset + index * warmCodecs.file.size).find((one) => warmCodecs.file.read(view, one).embedded === 1);
        change(view, at ?? expect.unreachable("no library is in the image"));
      });
    };
    embedded((view, at) => view.setBigInt64(at + warmCodecs.file.offsetOf("mtime_ns"), 1n, true));
    expect(start(forged).stderr).toMatch(/^pycds: refused .*\/forged: a file has changed: \//);
    embedded((view, at) => view.setBigUint64(at + warmCodecs.file.offsetOf("inode"), 1n, true));
    expect(start(forged).stderr).toMatch(/^pycds: restored .*\/forged: each start compares the contents of /);
    embedded((view, at) => {
      view.setBigInt64(at + warmCodecs.file.offsetOf("ctime_ns"), 1n, true);
      view.setBigUint64(at + warmCodecs.file.offsetOf("digest"), 1n, true);
    });
    expect(start(forged).stderr).toMatch(/^pycds: refused .*\/forged: a file has changed: \//);
    build(image);
  });

  const forge = (name: string, reason: string, change: Parameters<typeof forgeImage>[2]): void => {
    it(name, () => {
      const forged = join(directory, "forged");
      forgeImage(image, forged, change);
      refusal(forged, reason);
    });
  };
  forge("another processor", "the processor differs", (tables, { state_offset }) => flip(tables, state_offset + warmCodecs.state.offsetOf("cpu")));
  forge("another vDSO", "the kernel's vDSO differs", (tables, { vdso_offset }) => flip(tables, vdso_offset + 1000));
  // its own tables as the vDSO: longer than the kernel's, and different from the first page on
  forge("a larger vDSO than this kernel's", "the kernel's vDSO differs", (tables, { tables_size }) => {
    const view = new DataView(tables.buffer, tables.byteOffset);
    view.setUint32(warmCodecs.header.offsetOf("vdso_offset"), warmCodecs.header.size, true);
    view.setUint32(warmCodecs.header.offsetOf("vdso_size"), Number(tables_size) - Math.ceil(warmCodecs.header.size / 8) * 8, true);
  });
  forge("another user's image", "it was built for another user", (tables) => flip(tables, warmCodecs.header.offsetOf("owner")));
  forge("too old", "it is older than it may become (--rotate)", (tables) => new DataView(tables.buffer, tables.byteOffset).setBigInt64(warmCodecs.header.offsetOf("expires"), 1n, true));

  it("--rotate sets the age", () => {
    const rotated = join(directory, "rotated");
    build(rotated, "--rotate", "7d");
    const { created, expires } = JSON.parse(pycdsIn(["warm", "inspect", "--json", rotated], { env, cwd: directory }).stdout) as { created: string; expires: string };
    expect(Date.parse(expires) - Date.parse(created)).toBe(7 * 86400_000);
    expect(start(rotated).stderr).toBe(`pycds: restored ${rotated}\n`);
    expect(createImage(rotated, ["--rotate", "soon", "--", exe], { env, cwd: directory })).toMatchObject({ status: 2 });
  });
  it("is the owner's alone, and refused when others can write it", () => {
    const open = join(directory, "open");
    copyFileSync(image, open);
    chmodSync(open, 0o722);
    refusal(open, "others may write it");
  });
  it.skipIf(!root)("belongs to another user (needs root)", () => {
    const foreign = join(directory, "foreign");
    copyFileSync(image, foreign);
    chownSync(foreign, 65534, 65534);
    chmodSync(foreign, 0o755);
    // root may run it; it is still a file that somebody else decides about
    refusal(foreign, "it belongs to another user");
  });

  const setuid = root && canSetUid();
  it.skipIf(!setuid)("with another user's rights (AT_SECURE): an error, and neither a log nor a start (needs root, and a temporary folder without nosuid)", () => {
    const secure = join(directory, "secure");
    const log = join(directory, "secure.log");
    copyFileSync(image, secure);
    chmodSync(secure, 0o4755);
    chmodSync(directory, 0o755);
    for (const more of [{ PYCDS_LOG: log }, { PYCDS_LOG: "stderr", PYCDS: "off" }, { READ_AT_IMPORT: "2" }] as Record<string, string>[]) {
      const { status, stdout, stderr } = spawnSync(secure, { cwd: "/", uid: 65534, gid: 65534, encoding: "utf8", env: { ...env, ...more }, input: "" });
      expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: "", stderr: `pycds: error: cannot restore (${secure}) — it runs with another user's rights (AT_SECURE) — start it without set-user-ID, set-group-ID and file capabilities\n` });
    }
    expect(existsSync(log)).toBe(false);
    chmodSync(directory, 0o700);
  });
  it("the kernel does not give the heap its place: refused", () => {
    // seccomp: prctl(PR_SET_MM) fails with EPERM
    const source = `import ctypes, os, struct, sys
code = b"".join(struct.pack("=HBBI", *one) for one in [
    (0x20, 0, 0, 0), (0x15, 0, 3, 157), (0x20, 0, 0, 16), (0x15, 0, 1, 35), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)])
held = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(held)))
prctl = ctypes.CDLL(None).prctl
prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
assert prctl(38, 1, None, 0, 0) == 0 and prctl(22, 2, ctypes.addressof(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
`;
    const wrapper = join(directory, "no-set-mm");
    writeFileSync(wrapper, source);
    expect(start(image, {}, [exe, "-I", wrapper])).toEqual(expect.objectContaining({ status: 0, stdout: "ran 1None\n", stderr: `pycds: refused ${image}: the heap cannot have its place (PR_SET_MM_MAP)\n` }));
  });
  it("is not written over what it is made of", () => {
    const app = join(directory, "code/app.py");
    const before = readFileSync(app);
    symlinkSync(app, join(directory, "link"));
    const own = join(directory, "own");
    writeFileSync(own, `#!${exe}\nprint(1)\n`, { mode: 0o755 });
    for (const [output, ...words] of [["code/app.py", exe, "code/app.py"], ["link", exe, "code/app.py"], ["code/app.py", exe, "-B", "link"], ["own", "./own"]] as const) {
      expect(createImage(output, ["--", ...words], { env, cwd: directory })).toMatchObject({ status: 2, stderr: expect.stringContaining("the output is the program itself") as string });
    }
    expect(readFileSync(app)).toEqual(before);
    expect(readFileSync(own, "utf8")).toContain("print(1)");
  });
  it("what C code had buffered while it was built is not written by its starts", () => {
    mkdirSync(join(directory, "print"));
    writeFileSync(join(directory, "print/at_import.py"), "import ctypes\nctypes.CDLL(None).printf(b'buffered')\n");
    writeFileSync(join(directory, "print/app.py"), "import at_import\nprint('ran')\n");
    const printing = join(directory, "printing");
    expect(createImage(printing, ["--allow", "_ctypes", "--", exe, "print/app.py"], { env, cwd: directory })).toMatchObject({ status: 0, stdout: expect.stringContaining("buffered") as string });
    expect(start(printing)).toMatchObject({ status: 0, stdout: "ran\n", stderr: `pycds: restored ${printing}\n` });
  });
  it("the program that is parked ends with the command line", { timeout: 30_000 }, async () => {
    writeFileSync(join(directory, "waiting.py"), "import time\nprint('waits', flush=True)\ntime.sleep(600)\n");
    // SIGKILL: no handler of the command line's can have done it
    const line = spawn(process.execPath, [join(import.meta.dirname, "../../bin/pycds"), "warm", "create", "--park", "-o", "never", "--", exe, "waiting.py"], { env, cwd: directory, stdio: ["ignore", "pipe", "ignore"] });
    line.stdout.once("data", () => line.kill("SIGKILL"));
    // its standard output is closed when the last process that holds it has ended
    await once(line, "close");
    expect(line.signalCode).toBe("SIGKILL");
  });

  it.each([["cut off", (bytes: Buffer) => bytes.subarray(0, bytes.length - 4096), "it is cut off"],
    ["damaged", (bytes: Buffer) => { const at = bytes.indexOf("helper.py"); bytes[at] = 0x58; return bytes; }, "it is damaged"]] as const)("%s: an error", (name, change, why) => {
    const broken = join(directory, `broken-${name.replace(" ", "-")}`);
    writeFileSync(broken, change(Buffer.from(readFileSync(image))), { mode: 0o700 });
    expect(start(broken)).toMatchObject({ status: 2, stdout: "", stderr: `pycds: error: cannot restore (${broken}) — ${why} — build the image again\n` });
  });

  describe("address space", () => {
    const setarch = spawnSync("setarch", ["-R", "true"]).status === 0;
    it.skipIf(!setarch)("built and started without ASLR (needs setarch -R)", () => {
      const fixed = join(directory, "fixed");
      const { status } = spawnSync("setarch", ["-R", process.execPath, join(import.meta.dirname, "../../bin/pycds"), "warm", "create", "-q", "-o", fixed, "--", exe, "code/app.py"], { cwd: directory, env });
      expect(status).toBe(0);
      for (let round = 0; round < 3; round++) expect(start(fixed, {}, ["setarch", "-R"])).toMatchObject({ status: 0, stdout: "ran 1None\n", stderr: `pycds: restored ${fixed}\n` });
      expect(start(fixed)).toMatchObject({ stderr: `pycds: restored ${fixed}\n` });
    });
    it("many starts, none refused", { timeout: 120_000 }, () => {
      const rounds = Number(process.env["PYCDS_TEST_RESTORES"] ?? 200);
      const { stdout, status } = spawnSync("sh", ["-c", `i=0; while [ $i -lt ${rounds} ]; do "$0" || exit 9; i=$((i+1)); done`, image], { encoding: "utf8", env: { ...env, PYCDS: "on" }, cwd: directory });
      expect(status).toBe(0);
      expect(stdout).toBe("ran 1None\n".repeat(rounds));
    });
  });

  describe("what cannot be parked", () => {
    const refused = (name: string, source: string, why: RegExp, prepare?: () => void): void => {
      it(name, () => {
        prepare?.();
        writeFileSync(join(directory, "code/bad.py"), source);
        const output = join(directory, "bad");
        const { status, stderr } = createImage(output, ["--park", "--", exe, "code/bad.py"], { env, cwd: directory });
        expect(stderr).toMatch(why);
        expect(status).toBe(2);
      });
    };
    refused("a Python thread", "import threading, time, pycds\nthreading.Thread(target=time.sleep, args=(30,), daemon=True, name='mine').start()\npycds.park()\n", /1 threads run besides the main one: the Python thread 'mine'/);
    refused("an open file", "import pycds\nf = open(__file__)\npycds.park()\n", /files are open: \d+ \(.*bad\.py\)/);
    refused("shared writable memory", "import mmap, pycds\nm = mmap.mmap(-1, 4096)\npycds.park()\n", /mapped shared and writable/);
    refused("a trace function", "import sys, pycds\nsys.settrace(lambda *a: None)\npycds.park()\n", /a trace or profile function is set/);
    refused("an end before the mark", "print('nothing')\n", /the program ended before its mark — let it call pycds\.park\(\)/);
    refused("an exception before the mark", "1/0\n", /ZeroDivisionError[^]*before its mark/);
    refused("an extension module that was not checked", "import _json, pycds\npycds.park()\n", /have not been checked: _json — .*--allow _json/, () => {
      const source = spawnSync(exe, ["-I", "-c", "import _json; print(_json.__file__)"], { encoding: "utf8" }).stdout.trim();
      copyFileSync(source, join(directory, "code", source.slice(source.lastIndexOf("/") + 1)));
    });
    it("… unless it is allowed", () => {
      const output = join(directory, "allowed");
      expect(createImage(output, ["--park", "--allow", "_json", "--", exe, "code/bad.py"], { env, cwd: directory })).toMatchObject({ status: 0 });
    });
  });
});
