/** Whether an archived module's stamp holds: as the runtime decides it (native/runtime/index.c, index_stamp). */
import { xxh3 } from "../base/digest.ts";
import type { ImageModule } from "../image/meta.ts";
import { importlibMtime } from "./collect-pyc.ts";
import { machineView } from "./collect-view.ts";
import type { TreeView } from "./collect-view.ts";
import { folderOf } from "./path-index.ts";

export function isStale({ file, stamp }: Pick<ImageModule, "file" | "stamp">, view: TreeView = machineView): boolean {
  const stamped = stamp.kind === "source" || stamp.file === undefined ? file : `${folderOf(file)}/${stamp.file}`;
  const facts = view.stat(stamped);
  if (facts?.kind !== "file") return true;
  switch (stamp.kind) {
    case "source":
      return importlibMtime(facts.mtimeNs) !== stamp.mtime || facts.size % 2 ** 32 !== stamp.size;
    case "pyc":
      return String(facts.mtimeNs) !== stamp.mtime_ns || facts.size !== stamp.size;
    case "digest": {
      const contents = facts.size === stamp.size ? view.read(stamped) : undefined;
      return contents === undefined || xxh3(contents).toString(16).padStart(16, "0") !== stamp.digest;
    }
  }
}
