/** What is installed in a site-packages folder, and whether it is as install wrote it. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { entryAt } from "./files.ts";
import { archiveFile, dataFolder, layersFile } from "./layout.ts";
import { readRecord } from "./manifest.ts";
import type { InstalledFile } from "./manifest.ts";

export interface FileStatus extends InstalledFile {
  readonly state: "intact" | "changed" | "missing";
}

export interface InstallStatus {
  readonly site: string;
  /**
   * `installed`: all of it, intact; `damaged`: files changed or missing, or an
   * installation that was interrupted; `absent`: nothing of ours.
   */
  readonly state: "installed" | "damaged" | "absent";
  /** What is wrong, one clause each; empty unless damaged. */
  readonly faults: readonly string[];
  readonly files: readonly FileStatus[];
  /** The archive of the installation (one of `files`), if it has one. */
  readonly archive: FileStatus | null;
  /** What is looked up, in order: copies by their path in `site`, bases by an absolute one. */
  readonly layers: readonly LayerStatus[];
}

export interface LayerStatus {
  readonly path: string;
  readonly base: boolean;
  readonly state: FileStatus["state"];
}

export function status(site: string): InstallStatus {
  if (statSync(site, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new PycdsError("SITE_MISSING", "cannot tell the status", "there is no such site-packages folder", { file: site, next: "check --venv" });
  }
  const record = readRecord(site);
  const files = record.files.map((file) => ({ ...file, state: compare(site, file) }));
  const faults = files.filter((file) => file.state !== "intact").map((file) => `${file.path} is ${file.state}`);
  switch (record.state) {
    case "none":
    case "complete":
      break;
    case "partial":
      faults.unshift("the installation was interrupted");
      break;
    case "damaged":
      faults.unshift("its manifest cannot be read");
      break;
    case "orphaned":
      faults.unshift(`its manifest is missing, but there is ${record.alsoOurs.join(", ")}`);
      break;
  }
  const layers = layersOf(site, files);
  faults.push(...layers.filter((layer) => layer.base && layer.state !== "intact").map((layer) => `the base archive ${layer.path} is ${layer.state}`));
  if (record.leftovers.length > 0) faults.push(`unfinished files are left: ${record.leftovers.join(", ")}`);
  const state = faults.length > 0 ? "damaged" : record.state === "none" ? "absent" : "installed";
  return { site, state, faults, files, archive: files.find((file) => file.path === archiveFile) ?? null, layers };
}

/** A base belongs to somebody else: it may be replaced by another archive, but not be gone. */
function layersOf(site: string, files: readonly FileStatus[]): LayerStatus[] {
  const list = files.find((file) => file.path === layersFile);
  if (list === undefined || list.state === "missing") return files.filter((file) => file.path === archiveFile).map(({ path, state }) => ({ path, base: false, state }));
  const lines = readFileSync(join(site, layersFile), "utf8").split("\n").filter((line) => line !== "");
  return lines.map((line): LayerStatus => {
    if (line.startsWith("/")) return { path: line, base: true, state: statSync(line, { throwIfNoEntry: false })?.isFile() === true ? "intact" : "missing" };
    const path = `${dataFolder}/${line}`;
    return { path, base: false, state: files.find((file) => file.path === path)?.state ?? "missing" };
  });
}

function compare(site: string, file: InstalledFile): FileStatus["state"] {
  const path = join(site, file.path);
  const stats = entryAt(path);
  if (stats === undefined) return "missing";
  if (!stats.isFile() || stats.size !== file.size) return "changed";
  return hex(sha256(readFileSync(path))) === file.sha256 ? "intact" : "changed";
}
