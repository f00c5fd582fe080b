/**
 * Every pattern and source string that the imports of the basket compile: the
 * archive's results and stock's own are equal in all that a program can see.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { venvPython } from "../../src/bench/scratch.ts";
import { openImage } from "../../src/image/reader.ts";
import { pureKind } from "../../src/image/schema.ts";
import { basketVenv } from "../support/basket.ts";
import { builtPycds, checkout } from "../support/built.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import { served } from "../support/served.ts";

const run = promisify(execFile);
const imports = ["json", "requests", "boto3", "django.db.models", "fastapi", "sqlalchemy", "pandas"];
const versions = ["3.11", "3.12", "3.13"];
const compute = join(checkout, "fixtures/pure/compute.py");

for (const { name: title, python } of served().filter((each) => versions.includes(each.version))) {
  describe.skipIf(python === undefined)(title, () => {
    let folder = "";
    let exe = "";
    const env = { ...pythonEnvironment(), PYTHONHASHSEED: "0" };
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "pycds-pure-basket-"));
      exe = venvPython(await basketVenv(python?.exe ?? ""));
    }, 900_000);
    afterAll(async () => {
      if (folder !== "") await rm(folder, { recursive: true, force: true });
    });

    it.for(imports)("import %s", { timeout: 300_000 }, async (name) => {
      const pycds = await builtPycds();
      const at = (suffix: string): string => join(folder, `${name}.${suffix}`);
      await run(process.execPath, [pycds, "trace", "-o", at("trace"), "--", exe, "-c", `import ${name}`], { env });
      // with what the comparison itself imports, so that the archive is left as it is
      await run(process.execPath, [pycds, "trace", "-o", at("own"), "--", exe, compute, "/dev/null", "/dev/null"], { env });
      await run(process.execPath, [pycds, "build", "--quiet", "--trace", at("trace"), "--trace", at("own"), "-o", at("pycds")], { env });
      await run(exe, [compute, at("trace"), at("stock")], { env });
      await run(process.execPath, [pycds, "run", "-a", at("pycds"), "--", exe, compute, at("trace"), at("archived")], { env: { ...env, PYCDS: "on", PYCDS_LOG: at("log") } });

      const [stock, archived, log] = await Promise.all(["stock", "archived", "log"].map((suffix) => readFile(at(suffix), "utf8")));
      expect(archived).toBe(stock);
      const results = (stock ?? "").trimEnd().split("\n").map((line) => (JSON.parse(line) as [string, [string]])[1][0]);
      const [, sources = "", patterns = ""] = /pycds: pure sources=(\d+) patterns=(\d+)/.exec(log ?? "") ?? [];
      const image = openImage(await readFile(at("pycds")), at("pycds"));
      const uses = image.pures.filter(({ kind }) => kind > pureKind.bytesPattern).reduce((sum, pure) => sum + pure.uses, 0);
      // all that could be computed was archived, and all of it was served; the comparison's own imports come on top
      const count = (kind: string): number => results.filter((each) => each === kind).length;
      expect(Number(patterns)).toBeGreaterThanOrEqual(count("pattern"));
      expect(Number(sources)).toBe(count("source"));
      expect(uses).toBeGreaterThanOrEqual(Number(sources));
      expect(count("pattern")).toBeGreaterThan(3);
    });
  });
}
