/**
 * The basket's packages in the newest versions that an interpreter can have: for
 * those that the pinned set of bench/ is not for. pip's resolver chooses among
 * what has wheels; what has none for this Python, or does not import there in
 * stock, is named with its reason and never passed over.
 */
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { cleanEnv, lastLines, mustRun, run } from "../../src/bench/process.ts";
import { probePython } from "../../src/bench/python.ts";
import { compileAll, makeVenv, scratchFolder, scratchHome, venvPython, whenUnfinished } from "../../src/bench/scratch.ts";

/** The modules that are imported, and the distributions that they come from. */
const packages: readonly (readonly [module: string, distribution: string])[] = [
  ["requests", "requests"], ["boto3", "boto3"], ["django.db.models", "django"], ["fastapi", "fastapi"], ["sqlalchemy", "sqlalchemy"], ["pandas", "pandas"],
];

const description = z.object({
  /** `name==version` of everything installed. */
  taken: z.array(z.string()),
  /** Modules of the basket that this interpreter cannot have, with pip's or the interpreter's reason. */
  without: z.record(z.string(), z.string()),
});
export type Newest = z.infer<typeof description> & { readonly venv: string };

/** Said by pip when it cannot reach its index, which is no answer about a package. */
const unreachable = /Retrying \(|ConnectionError|NewConnectionError|Temporary failure in name resolution|Read timed out/;

/**
 * The shared venv for an interpreter, made at the first call and kept in the
 * cache folder with what was taken; delete its folder to have newer versions.
 * Do not change anything in it.
 */
export async function newestBasket(exe: string): Promise<Newest> {
  const python = await probePython(exe, process.env);
  const venv = join(scratchHome({ python, requirements: "newest", folder: scratchFolder(process.env), env: process.env }), "newest");
  const file = join(dirname(venv), "newest.json");
  await whenUnfinished(venv, async () => {
    const env = cleanEnv(process.env);
    await makeVenv(python, venv, env);
    const pip = [venvPython(venv), "-m", "pip", "--disable-pip-version-check"];
    const install = [...pip, "install", "--quiet", "--no-compile", "--only-binary", ":all:", "--retries", "2"];
    const without: Record<string, string> = {};
    const all = await run([...install, ...packages.map(([, distribution]) => distribution)], env);
    // One of them stops all: each for itself, then, beside those that are in.
    const single = all.status === 0 ? [] : packages;
    for (const [module, distribution] of single) {
      const done = await run([...install, distribution], env);
      if (unreachable.test(done.stderr)) throw new Error(`pip cannot reach its index, so nothing is known of ${distribution} for ${python.version}: ${lastLines(done.stderr)}`);
      if (done.status !== 0) without[module] = `no wheels that work together: ${lastLines(done.stderr, 1)}`;
    }
    await mustRun("use the newest packages together", [...pip, "check"], env);
    for (const [module] of packages.filter(([name]) => without[name] === undefined)) {
      const done = await run([venvPython(venv), "-c", `import ${module}`], env);
      if (done.status !== 0) without[module] = `stock cannot import it: ${lastLines(done.stderr, 1)}`;
    }
    const { stdout } = await mustRun("list the packages", [...pip, "freeze"], env);
    await compileAll(venv, env);
    await writeFile(file, `${JSON.stringify({ taken: stdout.trim().split("\n"), without }, undefined, 2)}\n`);
  });
  return { venv, ...description.parse(JSON.parse(await readFile(file, "utf8"))) };
}
