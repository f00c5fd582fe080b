/** Build inputs for tests: from a folder tree on disk, or made up. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { abiId, loadAbi } from "../../src/abi/load.ts";
import type { BuildInput, FolderInput, ModuleInput, TargetInfo } from "../../src/archive/types.ts";
import { pythonEnvironment } from "../support/pythons.ts";
import type { TestPython } from "../support/pythons.ts";

export function scratch(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "pycds-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function writeTree(root: string, files: Readonly<Record<string, string>>): void {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
}

/** Suffixes as a Linux CPython has them. */
export const linuxSuffixes: TargetInfo["suffixes"] = [
  { suffix: ".cpython-311-x86_64-linux-gnu.so", loader: "extension" },
  { suffix: ".abi3.so", loader: "extension" },
  { suffix: ".so", loader: "extension" },
  { suffix: ".py", loader: "source" },
  { suffix: ".pyc", loader: "sourceless" },
];

export function targetOf(python: TestPython): TargetInfo {
  const program = [
    "import sys, importlib.util as u, importlib.machinery as m, json",
    "print(json.dumps([sys.hexversion, int.from_bytes(u.MAGIC_NUMBER, 'little'), sys.implementation.cache_tag, m.EXTENSION_SUFFIXES]))",
  ].join("\n");
  const out = execFileSync(python.exe, ["-I", "-c", program], { encoding: "utf8", env: pythonEnvironment() });
  const [hexversion, pycMagic, cacheTag, extensions] = JSON.parse(out) as [number, number, string, string[]];
  return {
    hexversion,
    pycMagic,
    flavour: python.flavour,
    platform: "linux-x86_64",
    cacheTag,
    optimize: 0,
    suffixes: [
      ...extensions.map((suffix) => ({ suffix, loader: "extension" as const })),
      { suffix: ".py", loader: "source" },
      { suffix: ".pyc", loader: "sourceless" },
    ],
  };
}

/** Every folder below (and with) `root`, __pycache__ aside. */
export function listTree(root: string): FolderInput[] {
  const entries = readdirSync(root, { withFileTypes: true });
  const names = entries.map((entry) => ({ name: entry.name, directory: statSync(join(root, entry.name)).isDirectory() }));
  const below = entries.filter((entry) => entry.isDirectory() && entry.name !== "__pycache__").flatMap((entry) => listTree(join(root, entry.name)));
  return [{ path: root, mtimeNs: statSync(root, { bigint: true }).mtimeNs, names }, ...below];
}

/** All modules below `root`, compiled by `python`; in order of their names. */
export function treeInput(python: TestPython, root: string, options: Partial<BuildInput> = {}): BuildInput {
  execFileSync(python.exe, ["-I", "-m", "compileall", "-q", root], { env: pythonEnvironment() });
  const target = targetOf(python);
  const folders = listTree(root);
  const modules: ModuleInput[] = folders.flatMap((folder) =>
    folder.names
      .filter(({ name, directory }) => !directory && name.endsWith(".py"))
      .map(({ name }) => {
        const tail = name.slice(0, -3);
        const pycFile = join(folder.path, "__pycache__", `${tail}.${target.cacheTag}.pyc`);
        const pyc = readFileSync(pycFile);
        const dotted = [...folder.path.slice(root.length).split("/").filter((part) => part !== ""), ...(tail === "__init__" ? [] : [tail])].join(".");
        return {
          name: dotted,
          kind: "source" as const,
          folder: folder.path,
          tail,
          pyc,
          pycFile,
          stamp: { kind: "source" as const, mtime: pyc.readUInt32LE(8), size: pyc.readUInt32LE(12) },
        };
      }),
  );
  modules.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  return {
    target,
    abi: loadAbi(abiId({ minor: python.minor, platform: target.platform, flavour: target.flavour })),
    roots: [{ name: "tree", path: root }],
    folders,
    modules,
    traced: Math.ceil(modules.length / 2),
    excluded: [{ name: "gone", reason: "the trace names it, but its file is gone" }],
    pures: [],
    sealed: false,
    digest: false,
    ...options,
  };
}

/** A small tree with all kinds of names and of constants. */
export const sampleTree: Readonly<Record<string, string>> = {
  "single.py": "x = 1\ndef f(a, *, b=2.5):\n    return {'k': a in ('p', 'q')}, a in {1, 2, 'three', None}, b'bytes', 10**30, 1j, ...\n",
  "pkg/__init__.py": "from . import sub\nname = 'grüße'\nbig = '\\U0001f40d snake'\n",
  "pkg/sub.py": "class C:\n    'doc'\n    def m(self):\n        return [i for i in range(3) if i]\n    async def n(self): pass\n",
  "pkg/native.so": "",
  "space/inner.py": "y = (1, (2, (3,)))\nz = -0.0\n",
  "empty.py": "",
};
