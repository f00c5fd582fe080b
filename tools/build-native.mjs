#!/usr/bin/env node
/**
 * Builds the C parts into build/native (or build/native-asan):
 *
 *   node tools/build-native.mjs [--optional] [--sanitize] [--force] [--only NAME]…
 *
 * A part is built again only when its command, its compiler or a source
 * changed. --optional: a missing compiler is a remark and status 0, not an
 * error and status 2. Plain JavaScript, since `npm ci` runs it before anything
 * is compiled.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const common = ["-std=c11", "-g1", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", `-ffile-prefix-map=${root}=.`];
/*
 * Python's symbols come from the global scope and are bound when the library is
 * loaded (-z now): one that is missing is then an ImportError, which means the
 * stock path; bound lazily it would end the process in the middle of an import.
 * nodelete: objects of the image hold addresses of ours for ever.
 */
// -O3: digesting and measuring are loops over megabytes; 1.5 % of the instructions of an archived `import boto3`
const shared = ["-O3", "-fPIC", "-fno-plt", "-fvisibility=hidden", "-shared", "-Wl,-z,relro,-z,now,-z,nodelete,-z,noexecstack"];

/*
 * The restorer: no C library, and linked to an address that no process uses by
 * itself (restorer.h). No red zone and no vector code beyond SSE2, since it runs
 * on a stack of its own before anything of a C runtime exists.
 */
const restorer = [
  "-O2", "-static", "-nostdlib", "-ffreestanding", "-D_GNU_SOURCE", "-fPIE", "-no-pie", "-fno-stack-protector", "-fcf-protection=none", "-mno-red-zone",
  "-fno-builtin-memset", "-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables",
  "-Wl,-Ttext-segment=0x5a0000000000,--build-id=none,-z,norelro,-z,noexecstack",
];

/** Every part: its folder of sources and what is special about it. */
const parts = [
  { name: "_pycds.so", folder: "native/runtime", flags: shared, libraries: [] },
  // The same for free-threaded CPythons, without their headers: what differs is in native/runtime/py.h.
  { name: "_pycds_t.so", folder: "native/runtime", flags: [...shared, "-DPYCDS_FREE_THREADED"], libraries: [] },
  // Preloaded into any process, also one that has no Python in it: nothing may stay undefined.
  { name: "pycds_launch.so", folder: "native/launch", flags: [...shared, "-Wl,-z,defs"], libraries: ["-ldl"] },
  // The same where a warm image is built: it also notes what C code reads of the environment.
  { name: "pycds_launch_warm.so", folder: "native/launch", flags: [...shared, "-Wl,-z,defs", "-DPYCDS_LAUNCH_WARM"], libraries: ["-ldl"] },
  { name: "pycds_warm.so", folder: "native/warm", flags: shared, libraries: ["-ldl"] },
  { name: "pycds_restore", folder: "native/warm/restorer", flags: restorer, libraries: [], sanitizable: false, only: "x64" },
  { name: "pycds_pairs", folder: "native/bench", flags: ["-O2"], libraries: [] },
  { name: "pycds_first", folder: "native/bench/first", flags: ["-O2"], libraries: [] },
];

class Refusal extends Error {}

function find(folder, extension) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(extension))
    .map((entry) => join(relative(root, entry.parentPath ?? entry.path), entry.name))
    .sort();
}

function findCompiler() {
  const asked = process.env.CC?.trim();
  for (const candidate of asked ? [asked] : ["cc", "gcc", "clang"]) {
    const [program, ...first] = candidate.split(/\s+/);
    const { status, stdout } = spawnSync(program, [...first, "--version"], { encoding: "utf8" });
    if (status === 0) return { program, first, version: stdout };
  }
  throw new Refusal(
    asked
      ? `no C compiler — CC=${asked} cannot be run — set CC to one that can, or unset it and install gcc: apt-get install gcc libc6-dev`
      : "no C compiler — none of cc, gcc and clang is on the PATH — install one: apt-get install gcc libc6-dev",
  );
}

function build(part, compiler, { folder, sanitize, force }) {
  // The top level only: a folder inside may hold what is built on its own.
  const sources = find(part.folder, ".c").filter((file) => dirname(file) === part.folder);
  if (sources.length === 0 || (sanitize && part.sanitizable === false) || (part.only !== undefined && part.only !== process.arch)) return false;
  const out = join(root, folder, part.name);
  const sanitizer = sanitize ? ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"] : [];
  const flags = sanitize ? part.flags.filter((flag) => flag !== "-Wl,-z,defs") : part.flags;
  const args = [...compiler.first, ...common, ...flags, ...sanitizer, ...sources];

  const hash = createHash("sha256").update(JSON.stringify([compiler.program, compiler.version, args, part.libraries]));
  for (const file of [...sources, ...find("native", ".h")]) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  const digest = hash.digest("hex");
  const stamp = join(root, folder, ".stamps", part.name);
  if (!force && existsSync(out) && existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return false;

  mkdirSync(dirname(stamp), { recursive: true });
  const temporary = `${out}.${process.pid}.tmp`;
  try {
    const { status, error, stderr } = spawnSync(compiler.program, [...args, "-o", temporary, ...part.libraries], { cwd: root, encoding: "utf8" });
    if (stderr) process.stderr.write(stderr);
    if (status !== 0) {
      const missing = /fatal error: (\S+\.h): No such file/.exec(stderr ?? "")?.[1];
      const next = missing !== undefined && !missing.includes("pycds") ? "install the C library's headers: apt-get install libc6-dev" : "the compiler's own messages are above";
      throw new Refusal(`cannot build ${part.name} (${part.folder}) — ${error ? error.message : `${compiler.program} ended with status ${status}`} — ${next}`);
    }
    renameSync(temporary, out);
    writeFileSync(stamp, digest);
  } finally {
    rmSync(temporary, { force: true });
  }
  console.log(`built ${join(folder, part.name)}`);
  return true;
}

function main() {
  const { values } = parseArgs({
    options: {
      optional: { type: "boolean", default: false },
      sanitize: { type: "boolean", default: false },
      force: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
    },
  });
  const unknown = values.only.find((name) => !parts.some((part) => part.name === name));
  if (unknown !== undefined) throw new Refusal(`nothing is called ${unknown} — --only takes the name of a part — one of: ${parts.map(({ name }) => name).join(", ")}`);
  if (process.platform !== "linux") throw new Refusal(`cannot build for ${process.platform} — the runtime is for Linux — build on Linux`);
  const compiler = findCompiler();
  const folder = values.sanitize ? "build/native-asan" : "build/native";
  for (const part of parts) {
    if (values.only.length === 0 || values.only.includes(part.name)) build(part, compiler, { folder, sanitize: values.sanitize, force: values.force });
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof Refusal) && error?.code?.startsWith?.("ERR_PARSE_ARGS") !== true) throw error;
  console.error(`pycds: error: ${error.message}`);
  // A missing compiler only: what does not compile is always an error.
  process.exitCode = process.argv.includes("--optional") && error.message.startsWith("no C compiler") ? 0 : 2;
}
