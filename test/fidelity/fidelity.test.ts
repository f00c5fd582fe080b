/**
 * Nothing but the clock tells an archived process from a stock one: for each
 * import of the basket, a picture of everything a program can see of its
 * imports (fixtures/fidelity/snapshot.py) is equal in both.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { venvPython } from "../../src/bench/scratch.ts";
import { basketVenv } from "../support/basket.ts";
import { tell } from "../support/matrix.ts";
import { newestBasket } from "../support/newest.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import { served } from "../support/served.ts";

const imports = ["json", "requests", "boto3", "django.db.models", "fastapi", "sqlalchemy", "pandas"];
/** Versions that the basket's pinned packages are for; others take the newest that they can have. */
const pinnedVersions = ["3.11", "3.12", "3.13"];
const oracle = "Imports of the basket, everything that a program can see of them against stock";
const root = fileURLToPath(new URL("../..", import.meta.url));
const pycds = join(root, "bin/pycds");
const snapshot = join(root, "fixtures/fidelity/snapshot.py");
const run = promisify(execFile);

/** Hash order decides the order of some namespaces: one seed for both processes. */
const environment = (): Record<string, string> => ({ ...pythonEnvironment(), PYTHONHASHSEED: "0" });

interface Snapshot {
  readonly before: readonly string[];
  readonly order: readonly string[];
  readonly modules: Readonly<Record<string, unknown>>;
  readonly codes: readonly unknown[];
  readonly functions: number;
  readonly "names not interned": number;
}

const exactLoader = "_frozen_importlib_external.SourceFileLoader";

/** Found and loaded by the exact SourceFileLoader under its own name (requests, multiprocessing and six's finder give modules second names). */
function isSource(name: string, picture: unknown): boolean {
  const { loader, spec } = picture as { readonly loader: readonly [readonly string[], unknown]; readonly spec: { readonly values: { readonly name: readonly string[]; readonly loader: readonly string[] } } | null };
  return loader[0][0] === exactLoader && spec?.values.loader[0] === exactLoader && spec.values.name[1] === name;
}

async function snapshotOf(file: string): Promise<Snapshot> {
  return JSON.parse(await readFile(file, "utf8")) as Snapshot;
}

for (const { name: title, version, python: found } of served()) {
  describe.skipIf(found === undefined)(title, () => {
    let folder = "";
    let exe = "";
    let without: Readonly<Record<string, string>> = {};
    let packages = "the pinned packages of bench/";
    const same: string[] = [];
    beforeAll(async () => {
      if (found === undefined) return;
      folder = await mkdtemp(join(tmpdir(), "pycds-fidelity-"));
      if (pinnedVersions.includes(version)) exe = venvPython(await basketVenv(found.exe));
      else {
        const newest = await newestBasket(found.exe);
        exe = venvPython(newest.venv);
        without = newest.without;
        packages = newest.taken.join(" ");
      }
    }, 900_000);
    afterAll(async () => {
      if (folder !== "") await rm(folder, { recursive: true, force: true });
    });

    it.for(imports)("import %s", { timeout: 300_000 }, async (name, { skip, task }) => {
      const reason = without[name];
      if (reason !== undefined) {
        tell(task, { oracle, minor: found?.minor ?? 0, text: `${title}: ${name} skipped, ${reason}` });
        return skip(reason);
      }
      const at = (suffix: string): string => join(folder, `${name}.${suffix}`);
      const env = environment();
      await run(process.execPath, [pycds, "trace", "-o", at("trace"), "--", exe, snapshot, at("traced.json"), name], { env });
      await run(process.execPath, [pycds, "build", "--quiet", "--trace", at("trace"), "-o", at("pycds")], { env });
      await run(exe, [snapshot, at("stock.json"), name], { env });
      const log = at("log");
      await run(process.execPath, [pycds, "run", "-a", at("pycds"), "--", exe, snapshot, at("archived.json"), name], { env: { ...env, PYCDS: "on", PYCDS_LOG: log } });

      const [stock, archived] = [await snapshotOf(at("stock.json")), await snapshotOf(at("archived.json"))];
      expect(archived.order).toEqual(stock.order);
      for (const module of stock.order) expect([module, archived.modules[module]]).toEqual([module, stock.modules[module]]);
      expect(archived.codes).toEqual(stock.codes);
      expect(archived.functions).toBe(stock.functions);
      expect(archived["names not interned"]).toBe(stock["names not interned"]);
      expect(stock.codes.length).toBeGreaterThan(100);

      // and the archive did answer: every source module that came after the start was served
      const events = (await readFile(log, "utf8")).split("\n");
      const summary = /^pycds: summary hit=(\d+) miss=(\d+) stale=(\d+) /.exec(events.find((line) => line.startsWith("pycds: summary")) ?? "");
      const hits = new Set(events.filter((line) => line.startsWith("pycds: hit ")).map((line) => line.slice("pycds: hit ".length)));
      expect(summary?.slice(2, 4)).toEqual(["0", "0"]);
      expect(hits.size).toBe(Number(summary?.[1]));
      const sources = stock.order.filter((module) => !stock.before.includes(module) && isSource(module, stock.modules[module]));
      expect(sources.filter((module) => !hits.has(module))).toEqual([]);
      expect(sources.length).toBeGreaterThan(0);
      same.push(name);
      if (name === imports.at(-1)) tell(task, { oracle, minor: found?.minor ?? 0, text: `${title}: ${same.join(", ")} the same; with ${packages}` });
    });
  });
}
