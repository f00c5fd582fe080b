/** Builds warm images through the command line, where this machine can. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { warmCodecs } from "../../src/warm/codec.ts";
import type { WarmHeader } from "../../src/warm/codec.ts";
import { readWarm } from "../../src/warm/read.ts";
import { tablesDigest } from "../../src/warm/write.ts";
import { builtPycds } from "../support/built.ts";
import { allPythons, pythonEnvironment, pythons } from "../support/pythons.ts";
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

/** What a system may not allow, as the command line and the restorer say it; anything else is a fault of ours. */
const notAllowed = /a seccomp filter cannot be installed|no_new_privs cannot be set|getpid\(\) cannot be hidden|the system does not allow it|the vDSO cannot be moved|the heap cannot have its place|shadow stacks are on/;

let reason: string | undefined | null = null;

/** Why no image can be built or started here, or undefined: found by trying, once. */
export function cannotWarm(): string | undefined {
  if (reason === null) reason = tryWarm();
  return reason;
}

function tryWarm(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return "Linux on x86-64 is needed";
  const [python] = warmPythons();
  if (python === undefined) return "no CPython 3.11 to 3.14 is installed";
  const directory = mkdtempSync(join(tmpdir(), "pycds-warm-try-"));
  try {
    const image = join(directory, "image");
    const env = pythonEnvironment();
    const built = createImage(image, ["--", python.exe], { env, cwd: directory });
    if (built.status !== 0) return notAllowed.exec(built.stderr)?.[0];
    const { stderr } = spawnSync(image, ["-c", ""], { encoding: "utf8", env: { ...env, PYCDS: "on" } });
    return notAllowed.exec(stderr)?.[0];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
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
