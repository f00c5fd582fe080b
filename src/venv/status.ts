/** What is installed in a site-packages folder, and whether it is as install wrote it. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { hex, sha256 } from "../base/digest.ts";
import { PycdsError } from "../base/errors.ts";
import { entryAt } from "./files.ts";
import { archiveFile } from "./layout.ts";
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
  if (record.leftovers.length > 0) faults.push(`unfinished files are left: ${record.leftovers.join(", ")}`);
  const state = faults.length > 0 ? "damaged" : record.state === "none" ? "absent" : "installed";
  return { site, state, faults, files, archive: files.find((file) => file.path === archiveFile) ?? null };
}

function compare(site: string, file: InstalledFile): FileStatus["state"] {
  const path = join(site, file.path);
  const stats = entryAt(path);
  if (stats === undefined) return "missing";
  if (!stats.isFile() || stats.size !== file.size) return "changed";
  return hex(sha256(readFileSync(path))) === file.sha256 ? "intact" : "changed";
}
