/** Archives that are looked up in order, as users name them: -a FILE -a FILE…, or a list separated by ':' as in PATH. */
import { existsSync } from "node:fs";
import { delimiter, resolve } from "node:path";
import { PycdsError } from "../base/errors.ts";

/** As many as the runtime takes (native/runtime/state.h, LAYERS_MAX). */
const most = 8;

/** For options that may be given several times. */
export const append = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function checkCount(files: readonly string[], what: string): void {
  if (files.length > most) throw new PycdsError("ARCHIVES_MANY", what, `${files.length} archives are named, ${most} can be looked up`, { next: "build one of several traces" });
}

/** The files of -a options, absolute. One name may have a colon in it; in a list it would be two. */
export function resolveArchives(cwd: string, files: readonly string[], what: string): readonly string[] {
  checkCount(files, what);
  return files.map((file) => {
    if (files.length > 1 && file.includes(delimiter)) throw new PycdsError("ARCHIVE_COLON", what, "its name has a colon, which separates the names of a list", { file, next: "rename it" });
    return resolve(cwd, file);
  });
}

/** The names of PYCDSARCHIVE, as the runtime reads it (native/runtime/layers.c): a list that is itself the name of a file is that file. */
export function splitArchives(list: string): readonly string[] {
  return existsSync(list) ? [list] : list.split(delimiter).filter((name) => name !== "");
}
