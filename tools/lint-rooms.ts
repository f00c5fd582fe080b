/**
 * Rules of the house that no general linter knows:
 *
 *   rooms     a room imports only the rooms that its row of the table names
 *   process   only src/cli reads the environment, prints or ends the process
 *   size      files over 400 lines are named, over 450 refused (generated and vendored ones exempt)
 *   machine   no path of one machine and no package registry's name in a tracked file
 *
 *   tsx tools/lint-rooms.ts [FOLDER]     the checkout when no folder is given
 *
 * test/tools/lint-rooms.test.ts runs it on a small tree that breaks each rule.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Room → rooms it may import (design, "The flow, and the rooms it passes"); every room may import base and itself. */
export const rooms: Readonly<Record<string, readonly string[] | "all">> = {
  "src/base": [],
  "src/trace": [],
  "src/pyc": [],
  "src/abi": [],
  "src/graph": ["src/pyc"],
  "src/layout": ["src/graph", "src/abi"],
  "src/image": [],
  "src/archive": ["src/trace", "src/pyc", "src/abi", "src/graph", "src/layout", "src/image"],
  "src/warm": ["src/image"],
  "src/inspect": ["src/image", "src/abi"],
  "src/venv": ["src/image"],
  "src/bench": [],
  "src/report": [],
  "src/cli": "all",
  "native/include": [],
  "native/vendor": [],
  "native/launch": ["native/include"],
  "native/runtime": ["native/include", "native/vendor"],
  "native/warm": ["native/include", "native/vendor"],
  "native/bench": [],
};

const everywhere = "src/base";
const longFile = 400;
const tooLongFile = 450;

export interface Fault {
  readonly rule: "rooms" | "process" | "size" | "machine";
  readonly file: string;
  readonly line: number;
  readonly text: string;
  /** Named, but no reason to fail. */
  readonly remark?: boolean;
}

/** The room a file stands in: `src/pyc` for `src/pyc/marshal.ts`. */
function roomOf(file: string): string | undefined {
  const [top, room, ...rest] = file.split("/");
  return (top === "src" || top === "native") && room !== undefined && rest.length > 0 ? `${top}/${room}` : undefined;
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

const tsImport = /^\s*(?:import|export)\b(?:[^;"'=]*?\bfrom)?\s*["'](\.[^"']+)["']|\bimport\(\s*["'](\.[^"']+)["']/gm;
const cInclude = /^\s*#\s*include\s+"([^"]+)"/gm;

/** Every import of a file of the project from another, as paths in the checkout. */
function importsOf(file: string, text: string): { readonly target: string; readonly line: number }[] {
  const pattern = /\.[ch]$/.test(file) ? cInclude : /\.(?:ts|mjs)$/.test(file) ? tsImport : undefined;
  if (pattern === undefined) return [];
  return [...text.matchAll(pattern)].map((found) => ({ target: normalize(join(dirname(file), found[1] ?? found[2] ?? "")), line: lineAt(text, found.index + found[0].length) }));
}

function roomFaults(file: string, text: string): Fault[] {
  const room = roomOf(file);
  if (room === undefined) return [];
  const allowed = rooms[room];
  if (allowed === undefined) return [{ rule: "rooms", file, line: 1, text: `${room} has no row in the table of tools/lint-rooms.ts` }];
  return importsOf(file, text).flatMap(({ target, line }) => {
    const to = roomOf(target);
    const may = to === room || (to !== undefined && (allowed === "all" || allowed.includes(to) || (to === everywhere && room.startsWith("src/"))));
    return may ? [] : [{ rule: "rooms" as const, file, line, text: `${room} must not import ${to ?? target}` }];
  });
}

const processUse = /\bprocess\.(?:env|exit|exitCode|stdout|stderr|argv)\b|\bconsole\.\w+|from\s+["'](?:node:)?process["']/g;

function processFaults(file: string, text: string): Fault[] {
  if (!file.startsWith("src/") || file.startsWith("src/cli/") || !file.endsWith(".ts")) return [];
  return text.split("\n").flatMap((line, index) => {
    if (/^\s*(?:\/\/|\/?\*)/.test(line)) return [];
    return [...line.matchAll(processUse)].map((found) => ({ rule: "process" as const, file, line: index + 1, text: `${found[0]}: only src/cli may` }));
  });
}

const codeFile = /\.(?:ts|mjs|c|h|py)$/;

/** Generated files say so in their first lines. */
function isGenerated(text: string): boolean {
  return /\bgenerated\b/i.test(text.split("\n", 6).join("\n"));
}

function sizeFaults(file: string, text: string): Fault[] {
  if (!codeFile.test(file) || file.startsWith("native/vendor/") || isGenerated(text)) return [];
  const lines = text.split("\n").length - 1;
  if (lines <= longFile) return [];
  return [{ rule: "size", file, line: lines, text: `${lines} lines; split at about ${longFile}`, ...(lines <= tooLongFile ? { remark: true } : {}) }];
}

const machine = /(?<![\w.~])\/(?:root|work|home\/[a-z]\w*)\/|(?:https?:\/\/)?[\w.-]*\b(?:npmjs|pythonhosted|pypi)\.(?:org|com)\b|https?:\/\/[\w.-]*(?:registry|mirror|artifactory|nexus)\b/gi;

function machineFaults(file: string, text: string): Fault[] {
  return [...text.matchAll(machine)].map((found) => ({ rule: "machine" as const, file, line: lineAt(text, found.index), text: `"${found[0]}" belongs to one machine` }));
}

/** Files that git tracks or would track. */
function projectFiles(root: string): string[] {
  const { status, stdout } = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`git ls-files failed in ${root}`);
  return stdout.split("\0").filter((name) => name !== "" && statSync(join(root, name), { throwIfNoEntry: false })?.isFile() === true);
}

/** Checks the named files of a checkout. */
export function lintFiles(root: string, files: readonly string[]): Fault[] {
  return files.flatMap((file) => {
    const bytes = readFileSync(join(root, file));
    if (bytes.subarray(0, 8000).includes(0)) return []; // binary
    const text = bytes.toString("utf8");
    return [...roomFaults(file, text), ...processFaults(file, text), ...sizeFaults(file, text), ...machineFaults(file, text)];
  });
}

function main(): void {
  const root = process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url));
  const files = projectFiles(root);
  const faults = lintFiles(root, files);
  for (const { file, line, rule, text, remark } of faults) console.log(`${file}:${line}: ${remark === true ? "remark" : "error"}: ${rule}: ${text}`);
  const errors = faults.filter((fault) => fault.remark !== true).length;
  console.log(`lint-rooms: ${files.length} files, ${errors} errors, ${faults.length - errors} remarks`);
  if (errors > 0) process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) main();
