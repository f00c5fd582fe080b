/** The cache of compiled modules, `pycds/units` below XDG_CACHE_HOME: a help where it can be had, never a need. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Abi } from "../abi/types.ts";
import { systemClock } from "../archive/collect-folders.ts";
import { machineView } from "../archive/collect-view.ts";
import { readMemoryFile, rememberingView } from "../archive/pyc-memo.ts";
import type { RememberingView } from "../archive/pyc-memo.ts";
import { UnitCache } from "../archive/unit-cache.ts";
import { hex } from "../base/digest.ts";
import { isOurs, makeCacheFolder, replaceCached } from "./cache.ts";
import type { Context } from "./context.ts";
import { trackUnfinished } from "./files.ts";

export interface BuildMemory {
  readonly units: UnitCache;
  readonly view: RememberingView;
  /** Keeps what this build found. */
  publish(): void;
}

/** Undefined: there is no cache folder that can be used, or it is not this user's alone. `PYCDS_UNIT_CACHE=off` says that none is wanted. */
export function openBuildMemory(context: Context, abi: Abi): BuildMemory | undefined {
  if (context.env["PYCDS_UNIT_CACHE"] === "off") return undefined;
  try {
    const above = makeCacheFolder(context);
    const folder = join(above, "units");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isOurs(above) || !isOurs(folder)) return undefined;
    const units = new UnitCache({
      folder, maker: `${toolchain().slice(0, 16)}${hex(abi.digest).slice(0, 16)}`, random: randomBytes(6).toString("hex"), onTemporary: trackUnfinished,
    });
    const memory = join(folder, "pycs.json");
    const view = rememberingView(machineView, readMemoryFile(memory), () => systemClock.nowNs());
    const publish = (): void => {
      // what can't be kept is made again
      try {
        units.publish();
        const text = view.memory();
        if (text !== undefined) replaceCached(memory, text);
      } catch (error) {
        if (!(error instanceof Error && "syscall" in error)) throw error;
      }
    };
    return { units, view, publish };
  } catch {
    return undefined;
  }
}

/** Rooms whose code decides what a module is compiled to. */
const rooms = ["base", "pyc", "abi", "graph", "layout", "image", "archive"];

/** A digest of that code: units made by other code are never used, whatever its version says. */
function toolchain(): string {
  const hash = createHash("sha256");
  const own = fileURLToPath(import.meta.url);
  const suffix = own.slice(own.lastIndexOf("."));
  for (const room of rooms) {
    const folder = fileURLToPath(new URL(`../${room}/`, import.meta.url));
    for (const name of readdirSync(folder).toSorted()) if (name.endsWith(suffix)) hash.update(name).update(readFileSync(join(folder, name)));
  }
  return hash.digest("hex");
}
