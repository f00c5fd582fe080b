/** Recipe: a CPython out of a jar of Maven's. It finds its own libraries (RUNPATH) and needs no headers from elsewhere. */
import { chmodSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { PycdsError } from "../../src/base/errors.ts";
import { run } from "./run.ts";
import { unpackZip } from "./zip.ts";
import type { Recipe, Work } from "./cache.ts";

const prefix = "org/bytedeco/cpython/linux-x86_64/";

export function mavenRecipe(name: string, artifact: string, work: Work): Recipe {
  return {
    name,
    recipe: `maven 1 ${artifact}`,
    async make({ made, scratch }) {
      work.say(`asking Maven for ${artifact}`);
      // dependency:copy is dependency:get with a copy where we want it: the local repository may be anywhere.
      const args = ["--batch-mode", "--quiet", "dependency:copy", `-Dartifact=${artifact}`, `-DoutputDirectory=${scratch}`];
      await run("mvn", args, { what: `get ${artifact}`, signal: work.signal, cwd: scratch });
      const jar = readdirSync(scratch).find((file) => file.endsWith(".jar"));
      if (jar === undefined) throw new PycdsError("MAVEN", `cannot get ${artifact}`, "Maven copied no jar");
      const file = join(scratch, jar);
      unpackZip(readFileSync(file), file, prefix, made);
      // Jars keep no modes.
      const programs = readdirSync(join(made, "bin"));
      for (const program of programs) chmodSync(join(made, "bin", program), 0o755);
      const exe = programs.find((program) => /^python3\.\d+$/.test(program));
      if (exe === undefined) throw new PycdsError("MAVEN", `cannot use ${artifact}`, "it has no bin/python3.x");
      return { how: `Maven ${artifact}`, exes: [join("bin", exe)] };
    },
    finish: async (final) => await byteCompile(final, "bin", work),
  };
}

/** Warm .pyc files for the standard library, as an installed Python has them; the first interpreter of a folder does it for all. */
export async function byteCompile(final: string, programs: string, work: Work): Promise<void> {
  const folder = join(final, programs);
  const exe = readdirSync(folder).find((program) => /^python3\.\d+t?$/.test(program));
  if (exe === undefined || !existsSync(join(folder, exe))) return;
  work.say("byte-compiling the standard library");
  // Some of what stands there on purpose does not compile; compileall's status tells of that, too.
  const program = "import compileall, os, re; compileall.compile_dir(os.path.dirname(os.__file__), quiet=2, rx=re.compile('/(test|tests|lib2to3|idlelib)/'))";
  await run("nice", [join(folder, exe), "-I", "-c", program], { what: "byte-compile the standard library", signal: work.signal });
}
