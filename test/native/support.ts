/** The C harness and the shim, compiled for a test run; archives to give them. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const here = fileURLToPath(new URL(".", import.meta.url));
const run = promisify(execFile);

const warnings = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"];
export const sanitizers = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

const runtime = (...names: string[]): string[] => names.map((name) => join(root, "native/runtime", `${name}.c`));

/** What the runtime is compiled from, apart from what needs a whole Python. */
const withoutPython = runtime("archive", "pages", "read", "tables", "places", "index", "stamp", "unit", "shapes", "names", "digest", "digest_avx2", "externals", "log");

/** `cc` itself: its absence is a failure of the test, with cc's name in it. */
async function compile(flags: readonly string[], sources: readonly string[], output: string): Promise<string> {
  await run(process.env["CC"] ?? "cc", [...warnings, ...flags, ...sources, "-o", output]);
  return output;
}

export function compileHarness(output: string, flags: readonly string[] = ["-O2"]): Promise<string> {
  return compile(flags, [...["harness.c", "bytes.c", "damage.c", "reads.c", "walk.c", "fake_python.c"].map((name) => join(here, name)), ...withoutPython, "-Wl,--wrap=clock_gettime,--wrap=madvise,--wrap=open,--wrap=posix_fadvise,--wrap=pread,--wrap=preadv2"], output);
}

/** For one flavour of CPython, as the runtime is. */
export function compileShim(output: string, flavour: "release" | "freethreaded" = "release"): Promise<string> {
  return compile(["-O2", "-fPIC", "-shared", "-fvisibility=hidden", ...(flavour === "freethreaded" ? ["-DPYCDS_FREE_THREADED"] : [])], [join(here, "shim.c"), ...withoutPython, ...runtime("selfcheck", "py")], output);
}

/** Runs the harness; a crash, a sanitizer's report or a failed check throws with what it wrote. */
export function harness(exe: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): { readonly stdout: string; readonly stderr: string } {
  // Leaks are not looked for: images are never unmapped, and the harness ends at once.
  const done = spawnSync(exe, args, { encoding: "utf8", env: { ...process.env, ASAN_OPTIONS: "detect_leaks=0", ...env }, timeout: 240_000 });
  if (done.status !== 0) throw new Error(`harness ${args.join(" ")}: status ${String(done.status)}, signal ${String(done.signal)}\n${done.stdout}${done.stderr}`);
  return { stdout: done.stdout, stderr: done.stderr };
}

export function scratchFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "pycds-native-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
