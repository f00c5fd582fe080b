/**
 * OpenSSL's exit handler is left out of a fast end, and only there, and not where a
 * provider or engine module might have to be told. Whether it ran is seen by what
 * OPENSSL_atexit() was given, which it calls.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnvironment } from "../support/pythons.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm() ?? (spawnSync("cc", ["--version"]).status === 0 ? undefined : "there is no C compiler (cc)");
/** With OpenSSL 3 or 1.1.1 as a library of its own, as Debian's and pyenv's are. */
const exportsAtExit = "import ctypes, _ssl; ctypes.CDLL(_ssl.__file__).OPENSSL_atexit";
const python = missing === undefined ? warmPythons().find(({ exe }) => spawnSync(exe, ["-c", exportsAtExit]).status === 0) : undefined;
const why = missing ?? (python === undefined ? "no interpreter has a libcrypto that can be asked" : undefined);

const probe = `#include <unistd.h>
int OPENSSL_atexit(void (*handler)(void));
static void ran(void) { if (write(1, "cleaned up\\n", 11) < 0) _exit(9); }
int watch(int (*at_exit)(void (*)(void))) { return at_exit(ran); }
`;
const program = `import ctypes, ssl, sys, _ssl
ctypes.CDLL("./probe.so").watch(ctypes.CDLL(_ssl.__file__).OPENSSL_atexit)
for name in sys.argv[1:]:
    if name == "exit": ctypes.CDLL(None).exit(0)
    ctypes.CDLL("./" + name)
`;

describe.skipIf(why !== undefined)(`OpenSSL's exit handler${why === undefined ? "" : `: not here, ${why}`}`, () => {
  const exe = python?.exe ?? "";
  const env = pythonEnvironment();
  let directory: string;
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-openssl-")));
    writeFileSync(join(directory, "program.py"), program);
    const compile = (name: string, source: string): void => {
      writeFileSync(join(directory, `${name}.c`), source);
      expect(spawnSync("cc", ["-shared", "-fPIC", "-o", `${name}.so`, `${name}.c`], { cwd: directory, encoding: "utf8" })).toMatchObject({ status: 0 });
    };
    compile("probe", probe);
    compile("provider", "int OSSL_provider_init(void) { return 0; }\n");
    compile("engine", "int bind_engine(void) { return 0; }\n");
    compile("other", "int other(void) { return 0; }\n");
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const run = (file: string, ...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(file, ["program.py", ...args], { cwd: directory, encoding: "utf8", env: file === exe ? env : { ...env, PYCDS: "on" } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout;
  };
  const image = (name: string, ...options: string[]): string => {
    const file = join(directory, name);
    expect(createImage(file, [...options, "--", exe], { env, cwd: directory })).toMatchObject({ status: 0 });
    return file;
  };

  it("runs in stock", () => expect(run(exe)).toBe("cleaned up\n"));
  it("runs with --exit exact", () => expect(run(image("exact", "--preload", "ssl,ctypes", "--exit", "exact"))).toBe("cleaned up\n"));
  it("is left out with --exit fast, unless a provider or an engine was loaded", () => {
    const fast = image("fast", "--preload", "ssl,ctypes");
    expect(run(fast)).toBe("");
    expect(run(fast, "other.so")).toBe("");
    expect(run(fast, "provider.so")).toBe("cleaned up\n");
    expect(run(fast, "other.so", "engine.so")).toBe("cleaned up\n");
  });
  it("is left out when a library that was there at the park has been unloaded", () => {
    writeFileSync(join(directory, "last.py"), `import ctypes, ssl, _ssl, sys\nsys.path.append(${JSON.stringify(directory)})\nprobe = ctypes.CDLL(${JSON.stringify(join(directory, "probe.so"))}); OTHER = ctypes.CDLL(${JSON.stringify(join(directory, "other.so"))})\nif __name__ == "__main__":\n    probe.watch(ctypes.CDLL(_ssl.__file__).OPENSSL_atexit)\n    close = ctypes.CDLL(None).dlclose; close.argtypes = [ctypes.c_void_p]; print(close(OTHER._handle))\n`);
    const file = join(directory, "unloads");
    expect(createImage(file, ["--allow", "probe.so", "--allow", "other.so", "--allow", "probe", "--allow", "other", "--", exe, "last.py"], { env, cwd: directory })).toMatchObject({ status: 0 });
    expect(spawnSync(file, [], { cwd: directory, encoding: "utf8", env: { ...env, PYCDS: "on" } })).toMatchObject({ status: 0, stdout: "0\n", stderr: "" });
  });
  it("runs where the program leaves by C's exit()", () => expect(run(join(directory, "fast"), "exit")).toBe("cleaned up\n"));
  it("is left out where the program itself loaded OpenSSL, too", () => expect(run(image("bare", "--preload", "ctypes"))).toBe(""));
});
