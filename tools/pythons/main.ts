/**
 * Brings the CPythons that this machine lacks, and says where each is.
 *
 *   npx tsx tools/pythons/main.ts [--list] [--json] [--quiet] [--from WAY] [VERSION…]
 *
 * VERSION: 3.9 … 3.15, 3.13t (free-threaded), 3.14d (debug); all when none is
 * named. --list brings nothing. --from maven|debian|source brings that make even
 * if there is another already. What is brought stays in $XDG_CACHE_HOME/pycds-pythons
 * (~/.cache/pycds-pythons); remove a folder there to have it made anew.
 * PYCDS_JOBS: parallel jobs of a build, 2 unless said otherwise.
 *
 * Exit: 0 each version is there; 1 some could not be had (each with its reason);
 * 2 usage. test/support/pythons.ts finds the same interpreters by find.ts.
 */
import { parseArgs, styleText } from "node:util";
import { PycdsError, exitCode } from "../../src/base/errors.ts";
import { provide } from "./cache.ts";
import type { Recipe, Work } from "./cache.ts";
import { debianRecipe } from "./debian.ts";
import { cacheFolder, findPythons, headersOf } from "./find.ts";
import type { Interpreter } from "./find.ts";
import { mavenRecipe } from "./maven.ts";
import { describeWay, entryName, wanted } from "./plan.ts";
import type { Wanted, Way } from "./plan.ts";
import { sourceRecipe } from "./source.ts";

interface Row {
  readonly version: string;
  readonly release?: string;
  readonly flavour?: string;
  readonly exe?: string;
  readonly headers?: string | null;
  readonly debugInfo?: string;
  /** How it was found. */
  readonly how?: string;
  /** Why there is none. */
  readonly reason?: string;
}

function recipeOf(way: Way, work: Work): Recipe {
  const name = entryName(way);
  switch (way.from) {
    case "maven":
      return mavenRecipe(name, way.artifact, work);
    case "debian":
      return debianRecipe(name, way.suite, way.minor, work);
    case "source":
      return sourceRecipe(name, way.suite, way.minor, work);
  }
}

function rowOf(python: Interpreter): Row {
  const { version, release, flavour, exe, found, entry } = python;
  return { version, release, flavour, exe, headers: headersOf(python) ?? null, ...(entry?.debugInfo === undefined ? {} : { debugInfo: entry.debugInfo }), how: entry?.how ?? found };
}

/** Tries the ways in turn; the reason of each that fails. */
async function bring(version: string, ways: readonly Way[], work: Work): Promise<string[]> {
  const reasons: string[] = [];
  for (const way of ways) {
    try {
      const { pythons } = await provide(recipeOf(way, work), work);
      if (pythons.some((python) => python.version === version)) return [];
      reasons.push(`${describeWay(way)}: it has ${pythons.map((python) => python.version).join(", ")}, not ${version}`);
    } catch (error) {
      work.signal.throwIfAborted();
      if (!(error instanceof PycdsError)) throw error;
      reasons.push(`${describeWay(way)}: ${error.line}`);
    }
  }
  return reasons;
}

async function answer(each: Wanted, request: { readonly list: boolean; readonly from?: string }, work: Work): Promise<Row[]> {
  const { version } = each;
  const here = (): Interpreter[] => findPythons().pythons.filter((python) => python.version === version);
  const ways = each.ways.filter((way) => request.from === undefined || way.from === request.from);
  const enough = here().length > 0 && request.from === undefined;
  const reasons = enough || request.list ? [] : await bring(version, ways, work);
  const rows = here().map(rowOf);
  // With --from, an interpreter from elsewhere does not make up for it.
  if (reasons.length > 0) return [...rows, { version, reason: reasons.join("; ") }];
  if (rows.length > 0) return rows;
  const could = ways.length === 0 ? `no way to have it${request.from === undefined ? "" : ` from ${request.from}`}` : `not here; can be had: ${ways.map(describeWay).join(", or ")}`;
  return [{ version, reason: could }];
}

async function main(signal: AbortSignal): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { list: { type: "boolean", default: false }, json: { type: "boolean", default: false }, quiet: { type: "boolean", default: false }, from: { type: "string" } },
  });
  if (values.from !== undefined && !["maven", "debian", "source"].includes(values.from)) throw new PycdsError("USAGE", "unknown way", `--from ${values.from}`, { next: "use maven, debian or source" });
  const unknown = positionals.filter((version) => !wanted.some((each) => each.version === version));
  if (unknown.length > 0) throw new PycdsError("USAGE", "unknown version", unknown.join(", "), { next: `use ${wanted.map((each) => each.version).join(", ")}` });
  const work: Work = { cache: cacheFolder(), signal, say: (text) => void (values.quiet || console.error(`pythons: ${text}`)) };
  const rows: Row[] = [];
  for (const each of wanted.filter(({ version }) => positionals.length === 0 || positionals.includes(version)))
    rows.push(...(await answer(each, { list: values.list, ...(values.from === undefined ? {} : { from: values.from }) }, work)));
  if (values.json) console.log(JSON.stringify({ pythons: rows }, undefined, 2));
  else for (const row of rows) console.log(line(row));
  return values.list || rows.every((row) => row.reason === undefined) ? exitCode.done : exitCode.no;
}

function line(row: Row): string {
  const version = row.version.padEnd(6);
  if (row.reason !== undefined) return `${version} ${styleText("yellow", "none")}  ${row.reason}`;
  return `${version} ${row.exe}  ${row.headers === null ? "no headers" : `headers ${row.headers}`}  (${row.release}, ${row.how})`;
}

const abort = new AbortController();
let ended: NodeJS.Signals | undefined;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.once(signal, () => {
    ended = signal;
    abort.abort(new PycdsError("INTERRUPTED", "stopped", signal));
  });

try {
  process.exitCode = await main(abort.signal);
} catch (error) {
  if (error instanceof PycdsError) {
    console.error(`pythons: error: ${error.line}`);
    process.exitCode = error.exit;
  } else if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
    console.error(`pythons: error: ${error.message}`);
    process.exitCode = exitCode.usage;
  } else {
    throw error;
  }
}
// Handlers are gone after their first call: the signal now ends us as its sender expects.
if (ended !== undefined) process.kill(process.pid, ended);
