/**
 * Recipe: release and debug builds of a CPython out of another Debian release's
 * packages, unpacked into a folder of their own and linked (elf.ts) with the C
 * library that came along. Debug information of both is below usr/lib/debug.
 */
import { chmodSync, copyFileSync, cpSync, existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";
import { downloadPackages } from "./apt.ts";
import { relink } from "./elf.ts";
import { byteCompile } from "./maven.ts";
import { run } from "./run.ts";
import type { Recipe, Work } from "./cache.ts";

const libraries = "usr/lib/x86_64-linux-gnu";

export function debianRecipe(name: string, suite: string, minor: number, work: Work): Recipe {
  const python = `python3.${minor}`;
  return {
    name,
    recipe: `debian 2 ${suite}`,
    async make({ made, final, scratch }) {
      if (process.arch !== "x64") throw new PycdsError("DEBIAN_ARCH", `cannot use Debian's ${python}`, `made for x86-64 only, and this is ${process.arch}`);
      work.say(`downloading ${python} of Debian ${suite}`);
      // libstdc++6: extension modules in wheels need one that fits the C library.
      const names = [python, `${python}-venv`, `${python}-dev`, `${python}-dbg`, "libstdc++6"];
      const { files, version } = await downloadPackages(suite, names, join(scratch, "debs"), work);
      work.say(`unpacking ${files.length} packages`);
      for (const file of files) await run("dpkg-deb", ["--extract", file, made], { what: `unpack ${file}`, signal: work.signal });
      const exes = [`usr/bin/${python}`, `usr/bin/${python}d`];
      for (const exe of exes) link(join(made, exe), final);
      ownHeaders(join(made, "usr/include"), python);
      ownWheels(join(made, "usr/lib", python), final);
      ownSymlinks(join(made, "usr"), made);
      dropBulk(made);
      return { how: `Debian ${suite} ${version}`, exes, debugInfo: "usr/lib/debug" };
    },
    finish: async (final) => await byteCompile(final, "usr/bin", work),
  };
}

function link(exe: string, final: string): void {
  const folder = join(final, libraries);
  const elf = relink(readFileSync(exe), { linker: join(folder, "ld-linux-x86-64.so.2"), libraries: folder }, exe);
  writeFileSync(exe, elf);
  chmodSync(exe, 0o755);
}

/**
 * Debian's pyconfig.h includes `<x86_64-linux-gnu/python3.x/pyconfig.h>`, which
 * only /usr/include can find; and the debug build's folder links to the release
 * build's headers, which makes gcc -isystem take those for the real ones, with
 * the release build's pyconfig.h beside them.
 */
function ownHeaders(include: string, python: string): void {
  const debug = join(include, `${python}d`);
  rmSync(debug, { recursive: true });
  cpSync(join(include, python), debug, { recursive: true });
  for (const headers of [python, `${python}d`]) copyFileSync(join(include, "x86_64-linux-gnu", headers, "pyconfig.h"), join(include, headers, "pyconfig.h"));
}

/** ensurepip, and so venv, takes pip's wheel from the folder that sysconfig names. */
function ownWheels(library: string, final: string): void {
  const theirs = "/usr/share/python-wheels";
  for (const name of readdirSync(library).filter((each) => each.startsWith("_sysconfig"))) {
    const file = join(library, name);
    if (!lstatSync(file).isFile()) continue;
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(theirs, join(final, theirs)));
  }
}

/** Links to absolute paths (sitecustomize.py → /etc/…) lead to the same file here. */
function ownSymlinks(folder: string, made: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) ownSymlinks(path, made);
    if (!entry.isSymbolicLink()) continue;
    const target = readlinkSync(path);
    if (!target.startsWith("/") || !existsSync(join(made, target))) continue;
    rmSync(path);
    symlinkSync(relative(realpathSync(dirname(path)), join(realpathSync(made), target)), path);
  }
}

/** What dependencies brought and no interpreter reads. */
function dropBulk(made: string): void {
  for (const folder of ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/fonts", "usr/share/icons", "usr/share/X11"]) rmSync(join(made, folder), { recursive: true, force: true });
}
