/**
 * What a restored program sees of its process, its memory and its libraries is what a
 * stock start shows: fixtures/warm/process_program.py has the cases.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mask, plainEnvironment } from "../launch/support.ts";
import { cannotWarm, createImage, warmPythons } from "./support.ts";

const missing = cannotWarm();
const all = missing === undefined ? warmPythons() : [];
const found = process.env["PYCDS_TEST_ALL_PYTHONS"] === "1" ? all : all.filter((_, index) => index === 2 || (index === 0 && all.length < 3));
const program = fileURLToPath(new URL("../../fixtures/warm/process_program.py", import.meta.url));
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const hasNohup = spawnSync("nohup", ["true"]).status === 0;

/** Stock Python that sets up what exec keeps, and executes the program. */
const inheriting = `import fcntl, os, resource, signal, sys
for number in range(3, 64):
    try: os.close(number)
    except OSError: pass
out, into = os.pipe()
os.write(into, b"inherited")
os.dup2(out, 7)
os.close(out); os.close(into)
os.setpriority(os.PRIO_PROCESS, 0, 5)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.umask(0o135)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 100))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2, signal.SIGRTMIN + 3): signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMAX})
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGRTMAX)
signal.alarm(3000)
os.execv(sys.argv[1], sys.argv[1:])
`;

it.skipIf(found.length > 0)(`the process: not here, ${missing ?? "no CPython 3.11 to 3.14"}`, () => undefined);

describe.each(found)("the process, $exe", ({ exe }) => {
  let directory: string;
  let image: string;
  const env: Record<string, string> = { ...plainEnvironment(""), PYTHONDONTWRITEBYTECODE: "1" };
  beforeAll(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), "pycds-warm-process-")));
    image = join(directory, "image");
    expect(createImage(image, ["--preload", "json,ssl,concurrent.futures,ctypes,subprocess,socket,threading,faulthandler,resource,pickle,copy,tempfile", "--", exe], { env, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  interface Ran {
    readonly status: number | null;
    readonly signal: string | null;
    readonly stdout: string;
    readonly stderr: string;
  }

  const run = (argv: readonly string[], more: Readonly<Record<string, string>> = {}): Ran => {
    const [file = "", ...rest] = argv;
    const { status, signal, stdout, stderr } = spawnSync(file, rest, { cwd: directory, encoding: "utf8", env: { ...env, ...more }, input: "", timeout: 50_000, maxBuffer: 1 << 26 });
    // C frames, which faulthandler shows since 3.14: ours are below the program's
    return { status, signal, stdout: mask(stdout), stderr: mask(stderr).replaceAll(/^ *Binary file .*\n/gm, "") };
  };

  /** Both, by the words that start a program; the image must have been restored. */
  const compare = (words: (program: string) => readonly string[], shows: RegExp, with_: string = image): void => {
    const stock = run(words(exe));
    expect(`${stock.stdout}${stock.stderr}`).toMatch(shows);
    expect(run(words(with_), { PYCDS: "on" })).toEqual(stock);
  };

  describe("standard streams closed", () => {
    const closings = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full", "0>/dev/null"];
    it.each(closings)("%s", (closing) => {
      const told = join(directory, "told");
      const by = (which: string, more: Record<string, string>): Ran & { readonly told: string } => {
        rmSync(told, { force: true });
        const ran = run(["sh", "-c", `exec "$0" "$1" standard_streams "$2" ${closing}`, which, program, told], more);
        return { ...ran, told: readFileSync(told, "utf8") };
      };
      const stock = by(exe, {});
      expect(stock.told).toMatch(/\n.*\n.*\n/);
      expect(by(image, { PYCDS: "on" })).toEqual(stock);
    });
  });

  it("a folder as standard input, which ends CPython as it starts", () => {
    compare((which) => ["sh", "-c", 'exec "$0" -c "print(1)" < /', which], /<stdin> is a directory/);
  });

  it("signals, limits, timers, descriptors and credentials that exec keeps", () => {
    compare((which) => [exe, "-I", "-c", inheriting, which, program, "inherited", "word"], /SigPnd[^]*SIGUSR1[^]*b'inherited'/);
  });

  it.skipIf(!hasNohup)("nohup (needs coreutils)", () => {
    compare((which) => ["setsid", "--wait", "nohup", which, "-c", "import signal; print(signal.getsignal(signal.SIGHUP)); signal.raise_signal(signal.SIGHUP); print('lives')"], /lives/);
  });

  it("ended by a signal that it has no handler for, and by one with", () => {
    for (const name of ["SIGTERM", "SIGKILL", "SIGABRT", "SIGSEGV", "SIGPIPE", "SIGUSR1", "SIGINT"]) {
      compare((which) => [which, "-c", `import os, signal; print("before", flush=True); signal.signal(signal.SIGPIPE, signal.SIG_DFL); os.kill(os.getpid(), signal.${name}); print("after")`], /before/);
    }
    compare((which) => [which, "-c", "import faulthandler, os, signal; faulthandler.enable(); os.kill(os.getpid(), signal.SIGFPE)"], /Fatal Python error: Floating/);
  });

  it("many and large arguments and variables", () => {
    const words = Array.from({ length: 5000 }, (_, index) => `word ${index}`);
    const large = { LARGE: "x".repeat(100_000), LARGE_2: "é".repeat(50_000) };
    const stock = run([exe, program, "large_arguments", ...words], large);
    expect(stock.stdout).toContain("5002");
    expect(run([image, program, "large_arguments", ...words], { ...large, PYCDS: "on" })).toEqual(stock);
    // refused, too: the normal start is given all of them
    expect(run([image, program, "large_arguments", ...words], { ...large, PYCDS: "off" })).toEqual(stock);
  });

  it("recursion: the same depth, exceptions and no crash, in threads with small and large stacks", () => {
    compare((which) => [which, program, "recursion"], /repr RecursionError/);
  });

  it("threads: their own data, signals, forks, tracebacks, process pools", () => {
    compare((which) => [which, program, "threads"], /^True 40 1/);
  });

  it("extension modules and libraries that are loaded behind the restore", () => {
    const told = (which: string, more: Record<string, string>): Ran => {
      const { stdout, ...rest } = run([which, program, "extensions"], more);
      // what the image holds already is told as such; nothing else may differ
      return { ...rest, stdout: stdout.replaceAll(/ (?:True|False) (\d+)$/gm, " $1") };
    };
    const stock = told(exe, {});
    expect(stock.stdout).toContain("[1, 1, 3, 4, 5]");
    expect(told(image, { PYCDS: "on" })).toEqual(stock);
  });

  it("a heap of 100 MB in the image, changed, freed and outgrown", { timeout: 120_000 }, () => {
    writeFileSync(join(directory, "big.py"), "PAGES = [bytes([number % 251, number % 13]) * 2048 for number in range(16384)]\nARRAY = bytearray(range(256)) * (1 << 16)\nTABLE = {number: number * number for number in range(200_000)}\n");
    const big = join(directory, "big-image");
    const path = { PYTHONPATH: directory };
    expect(createImage(big, ["--preload", "big,hashlib", "--", exe], { env: { ...env, ...path }, cwd: directory })).toMatchObject({ status: 0, stderr: "" });
    const stock = run([exe, program, "big_heap"], path);
    expect(stock).toMatchObject({ status: 0, stderr: "" });
    expect(run([big, program, "big_heap"], { ...path, PYCDS: "on" })).toEqual(stock);
    rmSync(big);
  });

  it.skipIf(!hasOpenssl)("TLS: server and clients, versions, resumed sessions, a certificate that is not trusted, a fork (needs the openssl command)", () => {
    const made = spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-days", "2", "-addext", "subjectAltName=DNS:localhost"], { cwd: directory, encoding: "utf8" });
    expect(made).toMatchObject({ status: 0 });
    compare((which) => [which, program, "tls", directory], /TLSv1\.3[^]*TLSv1\.2[^]*True[^]*CERTIFICATE_VERIFY_FAILED[^]*b'QUESTION'/);
  });
});
