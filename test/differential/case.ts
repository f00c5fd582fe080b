/**
 * Cases of the differential harness: `fixtures/differential/GROUP/NAME.py`, or
 * `NAME/main.py` with the files it needs beside it. The manifest stands in lines
 * `#: key: value` of that script; an unknown key is an error.
 *
 * A case that finds that the machine does not allow it prints `SKIP: reason`.
 *
 *   versions: 3.11-         CPythons it is for: `3.12`, `3.11-`, `-3.13`, `3.9-3.12`
 *   needs: coverage pytest  packages (tools.txt pins them)
 *   run: -X importtime main.py   arguments of python; `main.py` if not said
 *   env: NAME=VALUE         may be given several times; FOLDER is the case's folder
 *   stdin: TEXT             `\n` ends a line
 *   prepare: setup.py       a script run once, before any arm, in the case's folder
 *   change: edit.py         a script run before each arm, after the archive was built
 *   older: edit.py          a second archive is made of the case's folder after this script
 *   layers: older newer     the order in which the two are named
 *   mask: addresses         what must differ between any two processes (mask.ts)
 *   unlike: reading         what is documented to differ (mask.ts, docs/differences.md)
 *   status: 1               stock's exit status, 0 if not said; negative: by that signal
 *   prints: REGEX           what stock's outputs must show, so that a case cannot pass by failing early
 *   hits: a b               modules that must be served, beyond "something was"
 *   stale: a b              modules that must be stale, and no others
 *   misses: a b | *         modules that may be left to stock
 *   refused: REGEX          the archive must be refused, so that all of it is stock's
 *   image: REGEX            a warm image must be refused; if not said, it must be restored
 *   image-exit: exact       the end of the image, if not what users get (docs/warm.md, --exit)
 *   image-unlike: argv      what is documented to differ in a restored process (mask.ts, docs/differences.md)
 *   children: reason        sys.modules is compared in the case's own process only
 *   chance: reason          of sys.modules only the names are compared, in no order
 *   threaded: reason        not for free-threaded builds
 *   heavy: reason           only under PYCDS_TEST_ALL_PYTHONS=1
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const fixtures = fileURLToPath(new URL("../../fixtures/differential", import.meta.url));
export const groups = ["tools", "ways", "editable", "input"] as const;
export type Group = (typeof groups)[number];

export interface Case {
  readonly group: Group;
  readonly name: string;
  /** First line of the docstring: the bullet that it stands for. */
  readonly title: string;
  /** Its script, or its folder. */
  readonly source: string;
  readonly isFolder: boolean;
  readonly versions: readonly [from: number, to: number];
  readonly needs: readonly string[];
  readonly run: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly prepare: string | undefined;
  readonly change: string | undefined;
  readonly older: string | undefined;
  readonly layers: readonly string[];
  readonly masks: readonly string[];
  readonly status: number;
  readonly prints: readonly RegExp[];
  readonly hits: readonly string[];
  readonly stale: readonly string[];
  readonly misses: readonly string[];
  readonly refused: RegExp | undefined;
  readonly image: RegExp | undefined;
  readonly imageExit: string | undefined;
  readonly imageMasks: readonly string[];
  readonly children: string | undefined;
  readonly chance: string | undefined;
  readonly threaded: string | undefined;
  readonly heavy: string | undefined;
}

const keys = new Set(["versions", "needs", "run", "env", "stdin", "prepare", "change", "older", "layers", "mask", "unlike", "status", "prints", "hits", "stale", "misses", "refused", "image", "image-exit", "image-unlike", "children", "chance", "threaded", "heavy"]);

/** All cases of a group, by name. */
export function casesOf(group: Group): readonly Case[] {
  const folder = join(fixtures, group);
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() ? existsSync(join(folder, entry.name, "main.py")) : entry.name.endsWith(".py"))
    .map((entry) => readCase(group, folder, entry.name, entry.isDirectory()))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function readCase(group: Group, folder: string, entry: string, isFolder: boolean): Case {
  const source = join(folder, entry);
  return parseCase(group, isFolder ? entry : entry.slice(0, -".py".length), source, isFolder, readFileSync(isFolder ? join(source, "main.py") : source, "utf8"));
}

/** A case from the text of its script. */
export function parseCase(group: Group, name: string, source: string, isFolder: boolean, text: string): Case {
  const values = new Map<string, string[]>();
  for (const [, key = "", value = ""] of text.matchAll(/^#: ([a-z-]+): (.*)$/gm)) {
    if (!keys.has(key)) throw new Error(`${source}: unknown key "${key}"`);
    values.set(key, [...(values.get(key) ?? []), value.trim()]);
  }
  if (/^#:(?! [a-z-]+: )/m.test(text)) throw new Error(`${source}: a manifest line is not "#: key: value"`);
  const title = /^"""(.*?)(?:"""|$)/m.exec(text)?.[1];
  if (title === undefined || title === "") throw new Error(`${source}: its first line must be a docstring that names the bullet`);
  const one = (key: string): string | undefined => values.get(key)?.at(-1);
  const words = (key: string): string[] => (values.get(key) ?? []).flatMap((value) => value.split(/\s+/)).filter((word) => word !== "");
  const refused = one("refused");
  const image = one("image");
  return {
    group,
    name,
    title,
    source,
    isFolder,
    versions: range(one("versions") ?? "3.9-", source),
    needs: words("needs"),
    run: shellWords(one("run") ?? "main.py"),
    env: Object.fromEntries((values.get("env") ?? []).map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)])),
    stdin: (one("stdin") ?? "").replaceAll("\\n", "\n"),
    prepare: one("prepare"),
    change: one("change"),
    older: one("older"),
    layers: words("layers"),
    masks: [...words("mask"), ...words("unlike")],
    status: Number(one("status") ?? "0"),
    prints: (values.get("prints") ?? []).map((text) => new RegExp(text, "m")),
    hits: words("hits"),
    stale: words("stale"),
    misses: words("misses"),
    refused: refused === undefined ? undefined : new RegExp(refused),
    image: image === undefined ? undefined : new RegExp(image),
    imageExit: one("image-exit"),
    imageMasks: words("image-unlike"),
    children: one("children"),
    chance: one("chance"),
    threaded: one("threaded"),
    heavy: one("heavy"),
  };
}

/** Minors from and to, inclusive. */
function range(text: string, source: string): [number, number] {
  const match = /^(?:3\.(\d+))?(-)?(?:3\.(\d+))?$/.exec(text);
  if (match === null || text === "") throw new Error(`${source}: versions "${text}" is no range`);
  const [, from, dash, to] = match;
  return [from === undefined ? 0 : Number(from), to === undefined ? (dash === undefined ? Number(from) : Infinity) : Number(to)];
}

/** Words of a command line; quotes of either kind keep blanks. */
function shellWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare ?? "");
}
