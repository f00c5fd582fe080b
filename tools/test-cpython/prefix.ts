/**
 * Copies of an interpreter, alike but for what is ours: `stock`; `archived` with
 * PyCDS installed and an archive of the whole standard library, its tests too;
 * `restored`, which warm images are made of (image.ts), with the witness in its
 * site-packages. Copies and not virtual environments, since in those many tests
 * of test_venv, test_site and test_embed skip themselves. All but the first are made
 * of hard links to it: Python replaces files, it never writes into them.
 *
 * They stay in the cache folder; what has changed since is made anew.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { PycdsError } from "../../src/base/errors.ts";
import { hex, sha256 } from "../../src/base/digest.ts";
import { must, tool } from "./process.ts";
import { witness, witnessName } from "./image.ts";

export type Arm = "stock" | "archived";
/** What stock is compared with. */
export type Opposite = "archived" | "restored";

export interface Prefixes {
  readonly release: string;
  /** Interpreters of the two copies. */
  readonly stock: string;
  readonly ours: string;
  /** What `pycds build` says of the archive; of an image nothing yet. */
  readonly built: string;
}

const facts = z.object({
  release: z.string(),
  exe: z.string(),
  name: z.string(),
  stdlib: z.string(),
  include: z.string(),
  tests: z.boolean(),
});
type Facts = z.infer<typeof facts>;

const describe = `
import json, os, sys, sysconfig
stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
print(json.dumps(dict(
    release="%d.%d.%d" % sys.version_info[:3],
    exe=os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    name="python%d.%d" % sys.version_info[:2],
    stdlib=stdlib,
    include=sysconfig.get_path("include"),
    tests=os.path.exists(os.path.join(stdlib, "test", "libregrtest")),
)))`;

/** Makes or finds the two copies of `exe`. @throws PycdsError when it has no tests or cannot be copied. */
export async function preparePrefixes(exe: string, opposite: Opposite, pycds: readonly string[], cache: string, say: (text: string) => void): Promise<Prefixes> {
  const python = facts.parse(JSON.parse((await must([exe, "-I", "-c", describe])).stdout));
  if (!python.tests) {
    throw new PycdsError("NO_TEST_PACKAGE", "cannot run CPython's tests", "its standard library has no test.libregrtest", { file: exe, next: "name another interpreter with PYCDS_TEST_PYTHONS, or install its tests (Debian: libpython3-testsuite)" });
  }
  const stamp = `${python.exe} ${statSync(python.exe).mtimeMs} ${statSync(join(python.stdlib, "test")).mtimeMs}`;
  const folder = join(cache, `${python.release}-${hex(sha256(Buffer.from(stamp))).slice(0, 12)}`);
  if (!existsSync(folder)) {
    say(`copying CPython ${python.release}`);
    await copy(python, folder);
  }
  const stock = join(folder, "stock", "bin", "python");
  const ours = join(folder, opposite, "bin", "python");
  if (opposite === "restored") {
    await copyForImages(folder, python.name);
    return { release: python.release, stock, ours, built: "" };
  }
  const archive = join(folder, "all.pycds");
  const report = join(folder, "built.txt");
  const age = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  // bin/pycds runs dist; both are older than an archive made with them
  const toolchain = Math.max(...pycds.slice(1).flatMap((file) => [age(file), age(join(file, "..", "..", "dist", "cli", "main.js"))]));
  if (age(archive) <= toolchain || !existsSync(report)) {
    say("building an archive of the standard library and its tests");
    const built = await must([...pycds, "build", "--all", "--python", ours, "-o", archive]);
    writeFileSync(report, built.stdout);
  }
  await must([...pycds, "install", "--venv", join(folder, "archived"), "-a", archive]);
  return { release: python.release, stock, ours, built: readFileSync(report, "utf8") };
}

/** The witness, written anew each time: it is our file, not the copy's. */
async function copyForImages(folder: string, name: string): Promise<void> {
  const prefix = join(folder, "restored");
  if (!existsSync(prefix)) {
    await must(["cp", "-al", join(folder, "stock"), `${prefix}.tmp`]);
    renameSync(`${prefix}.tmp`, prefix);
  }
  const file = join(prefix, "lib", name, "site-packages", `${witnessName}.py`);
  rmSync(file, { force: true });
  writeFileSync(file, witness);
}

async function copy(python: Facts, folder: string): Promise<void> {
  const temporary = `${folder}.${process.pid}.tmp`;
  const stock = join(temporary, "stock");
  const library = join(stock, "lib", python.name);
  try {
    for (const name of ["bin", "lib", "include"]) mkdirSync(join(stock, name), { recursive: true });
    await must(["cp", "-a", python.exe, join(stock, "bin", python.name)]);
    // a shared libpython that a relative RPATH finds beside bin
    const root = dirname(dirname(python.exe));
    for (const name of readdirSync(root).filter((each) => /\.so(\.|$)/.test(each))) await must(["cp", "-a", join(root, name), stock]);
    for (const name of ["python", "python3"]) symlinkSync(python.name, join(stock, "bin", name));
    await must(["cp", "-a", python.stdlib, library]);
    rmSync(join(library, "site-packages"), { recursive: true, force: true });
    mkdirSync(join(library, "site-packages"));
    if (existsSync(python.include)) await must(["cp", "-a", python.include, join(stock, "include", basename(python.include))]);
    const seen = (await tool([join(stock, "bin", "python"), "-I", "-c", "import os, sys; print(os.path.realpath(sys.prefix), os.path.realpath(os.__file__))"])).stdout.trim();
    if (seen !== `${stock} ${join(library, "os.py")}`) {
      throw new PycdsError("NOT_COPIED", "cannot run CPython's tests", "a copy of the interpreter does not find its own library", { file: python.exe, next: "use one that was built with a prefix of its own, such as pyenv's" });
    }
    // stock always has warm .pyc files; some test data cannot be compiled, and that is status 1
    await tool([join(stock, "bin", "python"), "-m", "compileall", "-q", library]);
    await must(["cp", "-al", stock, join(temporary, "archived")]);
    renameSync(temporary, folder);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
