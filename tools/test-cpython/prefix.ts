/**
 * Two copies of an interpreter, alike but for the archive: `stock`, and
 * `archived` with PyCDS installed and an archive of the whole standard library,
 * its tests too. Copies and not virtual environments, since in those many tests
 * of test_venv, test_site and test_embed skip themselves. The second is made of
 * hard links to the first: Python replaces files, it never writes into them.
 *
 * They stay in the cache folder; what has changed since is made anew.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { PycdsError } from "../../src/base/errors.ts";
import { hex, sha256 } from "../../src/base/digest.ts";
import { must, tool } from "./process.ts";

export type Arm = "stock" | "archived";

export interface Prefixes {
  readonly release: string;
  readonly stock: string;
  readonly archived: string;
  /** What `pycds build` says of the archive. */
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
export async function preparePrefixes(exe: string, pycds: readonly string[], cache: string, say: (text: string) => void): Promise<Prefixes> {
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
  const archived = join(folder, "archived", "bin", "python");
  const archive = join(folder, "all.pycds");
  const report = join(folder, "built.txt");
  const age = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  // bin/pycds runs dist; both are older than an archive made with them
  const toolchain = Math.max(...pycds.slice(1).flatMap((file) => [age(file), age(join(file, "..", "..", "dist", "cli", "main.js"))]));
  if (age(archive) <= toolchain || !existsSync(report)) {
    say("building an archive of the standard library and its tests");
    const built = await must([...pycds, "build", "--all", "--python", archived, "-o", archive]);
    writeFileSync(report, built.stdout);
  }
  await must([...pycds, "install", "--venv", join(folder, "archived"), "-a", archive]);
  return { release: python.release, stock, archived, built: readFileSync(report, "utf8") };
}

async function copy(python: Facts, folder: string): Promise<void> {
  const temporary = `${folder}.${process.pid}.tmp`;
  const stock = join(temporary, "stock");
  const library = join(stock, "lib", python.name);
  try {
    for (const name of ["bin", "lib", "include"]) mkdirSync(join(stock, name), { recursive: true });
    await must(["cp", "-a", python.exe, join(stock, "bin", python.name)]);
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
