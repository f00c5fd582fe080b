/** What imports change of their process outside its memory, and what they leave to its starter, is as in stock. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const python = missing === undefined ? warmPythons()[1] ?? warmPythons()[0] : undefined;

describe.skipIf(python === undefined)(`what imports did to their process${missing === undefined ? "" : `: not here, ${missing}`}`, () => {
  const exe = python?.exe ?? "";
  let directory: string;
  let env: Record<string, string>;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-kept-")));
    for (const name of ["lib", "there", "start"]) mkdirSync(join(directory, name));
    env = { ...pythonEnvironment(), PYTHONPATH: join(directory, "lib"), PYCDS: "on" };
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const run = (program: string, words: readonly string[], wrapper: readonly string[] = []) => {
    const [file = "", ...rest] = [...wrapper, program, ...words];
    const { status, signal, stdout, stderr } = spawnSync(file, rest, { cwd: join(directory, "start"), encoding: "utf8", env });
    return { status, signal, stdout, stderr };
  };
  /** Ways of starting a process, which the imports' changes come on top of. */
  const wrappers: readonly (readonly string[])[] = [
    [], ["nice", "-n", "2"], ["sh", "-c", 'umask 077; ulimit -S -n 256; ulimit -S -c 0; exec "$@"', "sh"], ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh"],
  ];
  const show = `import ctypes, os, resource
name = ctypes.create_string_buffer(16)
libc = ctypes.CDLL(None)
libc.prctl(16, name)
print(os.getcwd(), oct(os.umask(0)), [resource.getrlimit(number) for number in range(16)], os.nice(0), sorted(os.sched_getaffinity(0)), libc.prctl(30), name.value)`;

  it("working folder, umask, limits, priority, processors, timer slack, name", () => {
    writeFileSync(join(directory, "lib/changes.py"), `import ctypes, os, resource
os.umask(0o027)
os.chdir(${JSON.stringify(join(directory, "there"))})
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
os.nice(3)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ctypes.CDLL(None).prctl(29, 70000)
ctypes.CDLL(None).prctl(15, b"own-name")
`);
    const image = join(directory, "image");
    // where the soft limit is below the hard one, which Node itself would hide
    const built = spawnSync("sh", ["-c", 'ulimit -S -n 200; "$@"', "sh", process.execPath, join(import.meta.dirname, "../../bin/pycds"), "warm", "create", "-q", "-o", image, "--preload", "changes,resource", "--", exe], { cwd: directory, env, encoding: "utf8" });
    expect(built).toMatchObject({ status: 0, stderr: "" });
    writeFileSync(join(directory, "start/script.py"), `import changes\n${show}\n`);
    for (const wrapper of wrappers) {
      const stock = run(exe, ["script.py"], wrapper);
      expect(stock).toMatchObject({ status: 0, stdout: expect.stringMatching(/there 0o27 .* b'own-name'\n$/) as string });
      expect(run(image, ["script.py"], wrapper)).toEqual(stock);
    }
    const app = join(directory, "app");
    expect(createImage(app, ["--", exe, join(directory, "start/script.py")], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    expect(run(app, [])).toEqual(run(exe, ["script.py"]));
    // -m: sys.path begins with the folder of the start, not with that of the imports
    const path = ["-m", "script"];
    writeFileSync(join(directory, "start/script.py"), "import changes, os, sys\nprint(sys.path[0], os.getcwd())\n");
    expect(run(image, path)).toEqual(run(exe, path));
  });

  it("what they left alone is the starter's", () => {
    const image = join(directory, "plain");
    expect(createImage(image, ["--preload", "resource,ctypes", "--", exe], { env, cwd: join(directory, "there") })).toMatchObject({ status: 0, stderr: "" });
    for (const wrapper of wrappers) {
      const named = (answer: ReturnType<typeof run>) => ({ ...answer, stdout: answer.stdout.replace(/ b'.*'\n$/, "") });
      expect(named(run(image, ["-c", show], wrapper))).toEqual(named(run(exe, ["-c", show], wrapper)));
    }
  });

  it("a folder that is gone: the normal start, and the import's own error", () => {
    const folder = join(directory, "goes");
    mkdirSync(folder);
    writeFileSync(join(directory, "lib/moves.py"), `import os\nos.chdir(${JSON.stringify(folder)})\n`);
    const image = join(directory, "moved");
    expect(createImage(image, ["--preload", "moves", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    rmSync(folder, { recursive: true });
    const stock = run(exe, ["-c", "import moves"]);
    expect(stock.stderr).toContain("FileNotFoundError");
    expect(run(image, ["-c", "import moves"])).toEqual(stock);
  });
});
