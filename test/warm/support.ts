/** Builds warm images through the command line, where this machine can. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { warmCodecs } from "../../src/warm/codec.ts";
import type { WarmHeader } from "../../src/warm/codec.ts";
import { readWarm } from "../../src/warm/read.ts";
import { tablesDigest } from "../../src/warm/write.ts";
import { builtPycds, checkout } from "../support/built.ts";
import { allPythons, pythons } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";

const pycds = await builtPycds();

/** The versions that warm images are for. */
export const warmMinors = [11, 12, 13, 14] as const;

/** An interpreter of each version, and on Debian the system's static one. */
export function warmPythons(): readonly TestPython[] {
  const release = allPythons().filter(({ flavour, minor }) => flavour === "release" && warmMinors.some((known) => known === minor));
  const chosen = warmMinors.flatMap((minor) => pythons().find((one) => one.minor === minor && one.flavour === "release") ?? release.find((one) => one.minor === minor) ?? []);
  const system = release.filter(({ exe }) => exe.startsWith("/usr/bin/") && !chosen.some((one) => one.exe === exe));
  return [...chosen, ...system];
}

/** Why no image can be built here, or undefined. The C compiler's absence is reported by the build itself. */
export function cannotWarm(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return "Linux on x86-64 is needed";
  if (!existsSync(join(checkout, "build/native/pycds_restore"))) return "the native part is not built";
  const filter = spawnSync("grep", ["-q", "^Seccomp:", "/proc/self/status"]);
  if (filter.status !== 0) return "the kernel has no seccomp filters";
  return undefined;
}

export interface Built {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `pycds warm create -o image …args`. */
export function createImage(image: string, args: readonly string[], options: { readonly env: Readonly<Record<string, string>>; readonly cwd: string }): Built {
  return pycdsIn(["warm", "create", "-o", image, ...args], options);
}

export function pycdsIn(args: readonly string[], options: { readonly env: Readonly<Record<string, string>>; readonly cwd: string }): Built {
  const { status, stdout, stderr } = spawnSync(process.execPath, [pycds, ...args], { encoding: "utf8", cwd: options.cwd, env: { ...options.env }, input: "", timeout: 120_000 });
  return { status, stdout, stderr };
}

/** A copy of an image with parts of its tables changed, and their digest made right again. */
export function forgeImage(image: string, to: string, change: (tables: Uint8Array, header: WarmHeader) => void): void {
  const bytes = readFileSync(image);
  const { base, header } = readWarm(bytes, image);
  const tables = bytes.subarray(base, base + Number(header.tables_size));
  change(tables, header);
  tables.writeBigUInt64LE(tablesDigest(tables), warmCodecs.header.offsetOf("tables_digest"));
  writeFileSync(to, bytes, { mode: 0o700 });
}
