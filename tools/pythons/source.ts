/** Recipe: a free-threaded CPython from Debian's source package (its upstream tarball, without Debian's patches), with a shared libpython. */
import { readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";
import { downloadSource } from "./apt.ts";
import { run } from "./run.ts";
import type { Recipe, Work } from "./cache.ts";

/** Modules that need a library's headers; pip is of no use without the first two. */
const optionalModules = ["zlib", "ssl", "ctypes", "bz2", "lzma", "sqlite3"];

export function sourceRecipe(name: string, suite: string, minor: number, work: Work): Recipe {
  const python = `python3.${minor}`;
  return {
    name,
    recipe: `source 1 ${suite}`,
    async make({ made, final, scratch }) {
      work.say(`downloading the source of ${python} of Debian ${suite}`);
      const { files, version } = await downloadSource(suite, python, join(scratch, "source"), work);
      const tarball = files.find((file) => /\.orig\.tar\.\w+$/.test(file));
      if (tarball === undefined) throw new PycdsError("SOURCE", `cannot build ${python}t`, "the source package has no upstream tarball");
      const options = { signal: work.signal, cwd: scratch };
      await run("tar", ["--extract", "--file", tarball], { ...options, what: `unpack ${tarball}` });
      const top = readdirSync(scratch).find((each) => /^python/i.test(each));
      if (top === undefined) throw new PycdsError("SOURCE", `cannot build ${python}t`, "no Python folder in the upstream tarball");
      const build = { ...options, cwd: join(scratch, top), what: `build ${python}t` };
      work.say(`configuring ${python}t`);
      await run("nice", ["./configure", "--disable-gil", "--enable-shared", "--disable-test-modules", `--prefix=${final}`, `LDFLAGS=-Wl,-rpath,${final}/lib`], build);
      const jobs = jobCount();
      work.say(`building ${python}t with ${jobs} job${jobs === 1 ? "" : "s"}; this takes minutes`);
      await run("nice", ["make", `-j${jobs}`], build);
      work.say(`installing ${python}t`);
      const stage = join(scratch, "stage");
      // One process each for .pyc files of all three levels is more than this is worth.
      await run("nice", ["make", "install", `DESTDIR=${stage}`, `COMPILEALL_OPTS=-j${jobs}`], build);
      for (const each of readdirSync(join(stage, final))) renameSync(join(stage, final, each), join(made, each));
      return { how: `built from Debian ${suite} ${version}`, exes: [`bin/${python}t`] };
    },
    async finish(final) {
      const program = `import importlib.util as u, importlib\nmissing = []\nfor name in ${JSON.stringify(optionalModules)}:\n  try: importlib.import_module(name)\n  except ImportError: missing.append(name)\nprint(" ".join(missing))`;
      const missing = (await run(join(final, `bin/${python}t`), ["-I", "-c", program], { what: `try ${python}t`, signal: work.signal })).trim();
      if (missing !== "") work.say(`${python}t was built without ${missing}: install their development packages and remove ${final} to build it again`);
    },
  };
}

/** PYCDS_JOBS, else 2. */
function jobCount(): number {
  const asked = Number(process.env["PYCDS_JOBS"] ?? 2);
  return Number.isInteger(asked) && asked > 0 ? asked : 2;
}
