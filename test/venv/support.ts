/** Scratch site-packages folders, and the inputs of an installation. */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { hex, sha256 } from "../../src/base/digest.ts";
import { magic } from "../../src/image/schema.ts";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const packageDir = join(root, "python/pycds");

/** Names, kinds, modes and contents of everything below a folder. */
export function snapshot(folder: string): Record<string, string> {
  const result: Record<string, string> = {};
  for (const entry of fs.readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    const mode = (fs.lstatSync(path).mode & 0o7777).toString(8);
    const contents = entry.isSymbolicLink() ? `-> ${fs.readlinkSync(path)}` : entry.isDirectory() ? "folder" : hex(sha256(fs.readFileSync(path)));
    result[relative(folder, path)] = `${mode} ${contents}`;
  }
  return result;
}

export interface Inputs {
  readonly directory: string;
  readonly site: string;
  readonly runtime: string;
  readonly archive: string;
  remove(): void;
}

/** A site-packages folder with somebody's package in it, a runtime and an archive (their first bytes are right). */
export function makeInputs(): Inputs {
  const directory = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "pycds-venv-")));
  const site = join(directory, "site-packages");
  fs.mkdirSync(join(site, "other/__pycache__"), { recursive: true });
  fs.writeFileSync(join(site, "other/__init__.py"), "x = 1\n");
  fs.writeFileSync(join(site, "other/__pycache__/__init__.cpython-311.pyc"), "compiled");
  fs.writeFileSync(join(site, "a.pth"), "import sys\n");
  fs.symlinkSync("other", join(site, "link"));
  const runtime = join(directory, "built.so");
  fs.writeFileSync(runtime, "\x7fELF… pycds_start …");
  const archive = join(directory, "app.pycds");
  fs.writeFileSync(archive, Buffer.concat([magic, Buffer.from("the archive's bytes")]));
  return { directory, site, runtime, archive, remove: () => fs.rmSync(directory, { recursive: true, force: true }) };
}

const changing = ["writeSync", "fsyncSync", "renameSync", "mkdirSync", "rmSync", "rmdirSync", "openSync", "writeFileSync"] as const;

/**
 * Runs `action` in a process that dies at its n-th change of the file system: that
 * call and all after it do nothing but fail, so that no cleaning up happens either.
 * False when the action needed fewer calls than that.
 */
export function dieAt(n: number, action: () => unknown): boolean {
  const real = new Map(changing.map((name) => [name, fs[name]] as const));
  let calls = 0;
  for (const [name, original] of real) {
    const call = original as (...args: never[]) => unknown;
    Object.assign(fs, {
      [name]: (...args: never[]) => {
        if (++calls >= n) throw new Error(`died in ${name}`);
        return call(...args);
      },
    });
  }
  syncBuiltinESMExports();
  try {
    action();
    return false;
  } catch (error) {
    if (calls < n) throw error;
    return true;
  } finally {
    Object.assign(fs, Object.fromEntries(real));
    syncBuiltinESMExports();
  }
}

/** Runs `action` and lists its calls of some functions of node:fs, as `name path`. */
export function record(names: readonly (typeof changing)[number][], action: () => unknown): string[] {
  const real = names.map((name) => [name, fs[name]] as const);
  const calls: string[] = [];
  const files = new Map<unknown, string>();
  for (const [name, original] of real) {
    const call = original as (...args: unknown[]) => unknown;
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        const result = call(...args);
        if (name === "openSync") files.set(result, String(args[0]));
        calls.push(`${name} ${files.get(args[0]) ?? String(args[0])}`);
        return result;
      },
    });
  }
  syncBuiltinESMExports();
  try {
    action();
  } finally {
    Object.assign(fs, Object.fromEntries(real));
    syncBuiltinESMExports();
  }
  return calls;
}

/** Replaces fsync, which is slow and of no consequence to what a test sees; returns what puts it back. */
export function withoutFlushing(): () => void {
  const real = fs.fsyncSync;
  fs.fsyncSync = () => undefined;
  syncBuiltinESMExports();
  return () => {
    fs.fsyncSync = real;
    syncBuiltinESMExports();
  };
}

/** Runs `action`; after each rename, `then` is called with the new name. */
export function onRename(then: (path: unknown) => unknown, action: () => unknown): void {
  const real = fs.renameSync;
  fs.renameSync = (from, to) => {
    real(from, to);
    then(to);
  };
  syncBuiltinESMExports();
  try {
    action();
  } finally {
    fs.renameSync = real;
    syncBuiltinESMExports();
  }
}
