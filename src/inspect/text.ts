/** Results of this room as text for a terminal. No colour, no printing: the command line does that. */
import type { ImageModule } from "../image/meta.ts";
import type { Diff } from "./diff.ts";
import type { Summary } from "./summary.ts";
import type { Verification } from "./verify.ts";
import type { Why } from "./why.ts";

const units = ["bytes", "KiB", "MiB", "GiB"] as const;

/** `12 bytes`, `3.4 KiB`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join("  ")).join("\n");
}

export function summaryText(summary: Summary): string {
  const { target } = summary;
  const optimize = target.optimize === 0 ? "" : `, -${"O".repeat(target.optimize)}`;
  return columns([
    ["archive", `${summary.file} (${sizeText(summary.size)})`],
    ["digest", summary.digest],
    ["built with", `pycds ${summary.built_with}`],
    ["for", `CPython ${target.version}, ${target.platform}, ${target.flavour}${optimize}`],
    ["features", summary.features.length === 0 ? "none" : summary.features.join(", ")],
    ["base", summary.preferred_base],
    ["modules", `${summary.modules}, of them ${summary.traced} traced; ${summary.excluded} left to stock`],
    ["index", `${summary.entries} names in ${summary.folders} folders`],
    ["pure results", `${summary.patterns} patterns, ${summary.sources} source strings`],
    ["prelinked", summary.prelinked === 0 ? "no" : `${summary.prelinked} of ${summary.units} units, for the interpreter of one machine`],
    ["names", `${summary.names} interned, in ${summary.name_blocks} blocks`],
    ...summary.roots.map(({ name, path }) => [`root ${name}`, path]),
    ...summary.sections.map(({ name, size }) => [`section ${name}`, sizeText(size)]),
  ]);
}

export function modulesText(modules: readonly ImageModule[]): string {
  return columns(modules.map(({ name, size, traced, file }) => [name, sizeText(size), traced ? "traced" : "", file]));
}

export function verificationText(verification: Verification): string {
  if (verification.ok) return `${verification.file}: sound (${verification.checked.units} units, ${verification.checked.pures} pure results, ${verification.checked.name_blocks} name blocks, ${sizeText(verification.checked.objects_bytes)} of objects)`;
  return verification.problems
    .map(({ code, what, offset }) => `${verification.file}${offset === null ? "" : `, offset ${offset}`}: ${what} [${code}]`)
    .join("\n");
}

export function diffText(diff: Diff): string {
  if (diff.equal) return "the archives are equal";
  const change = (from: number, to: number): string => (from === to ? sizeText(to) : `${sizeText(from)} → ${sizeText(to)}`);
  return [
    ...diff.header.map(({ field, a, b }) => `header ${field}: ${a} → ${b}`),
    ...diff.removed.map(({ name, size }) => `- ${name} (${sizeText(size)})`),
    ...diff.added.map(({ name, size }) => `+ ${name} (${sizeText(size)})`),
    ...diff.changed.map(({ name, changed, a, b }) => `~ ${name}: ${changed.join(", ")} (${change(a.size, b.size)})`),
    ...diff.folders.removed.map((path) => `- folder ${path}`),
    ...diff.folders.added.map((path) => `+ folder ${path}`),
    ...diff.folders.changed.map((path) => `~ folder ${path}`),
    ...diff.excluded.removed.map((row) => `- excluded ${row}`),
    ...diff.excluded.added.map((row) => `+ excluded ${row}`),
  ].join("\n");
}

const states: Readonly<Record<Why["state"], string>> = {
  archived: "is in the archive",
  excluded: "is left to stock",
  "not-traced": "is not in the archive",
  "no-code": "needs no code in the archive",
  ask: "is left to stock",
  "not-in-index": "is not in the archive",
};

export function whyText(answer: Why): string {
  const places = answer.places.map(({ folder, kind, reason }) => `  ${kind} in ${folder}${reason === null ? "" : `: ${reason}`}`);
  return [`${answer.module} ${states[answer.state]}: ${answer.because}`, ...places].join("\n");
}
