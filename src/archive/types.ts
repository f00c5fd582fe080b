/** The input of a build: everything that decides the archive's bytes, and nothing else. */
import type { Abi } from "../abi/types.ts";
import type { PycFile } from "./pyc-file.ts";
import type { PatternResult } from "../image/pure.ts";

/** An interpreter as an archive is built for it; equal values mean interchangeable archives. */
export interface TargetInfo {
  /** PY_VERSION_HEX, e.g. 0x030b07f0. */
  readonly hexversion: number;
  /** The first four bytes of its .pyc files as u32 LE. */
  readonly pycMagic: number;
  readonly flavour: "release" | "debug" | "freethreaded";
  /** `linux-x86_64`. */
  readonly platform: string;
  /** sys.implementation.cache_tag. */
  readonly cacheTag: string;
  /** sys.flags.optimize: 0, 1 or 2. */
  readonly optimize: number;
  /** FileFinder's suffixes in its order, with the loader each stands for. */
  readonly suffixes: readonly { readonly suffix: string; readonly loader: "extension" | "source" | "sourceless" }[];
}

/** A folder that imports are looked up in (a sys.path entry or part of a package's __path__). */
export interface FolderInput {
  /** Absolute, exactly as it stands in sys.path or __path__. */
  readonly path: string;
  /** st_mtime in ns. */
  readonly mtimeNs: bigint;
  /** st_mtime in ns of its __pycache__, if it has one. */
  readonly cacheMtimeNs?: bigint;
  /** Names in it, any order. */
  readonly names: readonly { readonly name: string; readonly directory: boolean }[];
}

export type ModuleStamp =
  /** Source mtime (s) and size, as the .pyc header has them. */
  | { readonly kind: "source"; readonly mtime: number; readonly size: number }
  /** mtime (ns) and size of the .pyc itself: unchecked-hash and sourceless modules. */
  | { readonly kind: "pyc"; readonly file: string; readonly mtimeNs: bigint; readonly size: number }
  /** XXH3 of the source's contents: checked-hash modules and --digest; with `file` of that .pyc's: unchecked-hash modules and --digest. */
  | { readonly kind: "digest"; readonly digest: bigint; readonly size: number; readonly file?: string };

/** One module whose code goes into the archive. */
export interface ModuleInput {
  /** Dotted name it was traced or enumerated under. */
  readonly name: string;
  readonly kind: "source" | "sourceless";
  /** Folder (FolderInput.path) that holds the file; for a package the package's own folder. */
  readonly folder: string;
  /** File name without suffix: `decoder`, or `__init__` for a package. */
  readonly tail: string;
  /** The .pyc that stock would load (or one compiled by the target interpreter into scratch). */
  readonly pyc: Uint8Array | PycFile;
  /** Where `pyc` came from, for messages. */
  readonly pycFile: string;
  /** Stock would have compiled it: there was no valid .pyc. */
  readonly compiled?: boolean;
  readonly stamp: ModuleStamp;
}

/** A module that was asked for but is not archived. */
export interface ExcludedModule {
  readonly name: string;
  readonly reason: string;
}

/** _sre.compile's arguments for a pattern that imports compile. */
export interface PatternInput {
  readonly kind: "pattern";
  /** Of a bytes pattern each byte as one character. */
  readonly pattern: string;
  readonly bytes: boolean;
  /** Those that re's compiler is given. */
  readonly flags: number;
  readonly result: PatternResult;
}

/** The code of a string that imports compile. */
export interface SourceInput {
  readonly kind: "source";
  readonly source: string;
  readonly mode: "exec" | "eval" | "single";
  /** Future statements in force. */
  readonly flags: number;
  /** How many code objects of it one process made. */
  readonly uses: number;
  /** Its code, as marshal.dumps writes it. */
  readonly code: Uint8Array;
}

export type PureInput = PatternInput | SourceInput;

export interface BuildInput {
  readonly target: TargetInfo;
  readonly abi: Abi;
  /** Longest-prefix roots that paths are recorded under: stdlib, venv, …. */
  readonly roots: readonly { readonly name: string; readonly path: string }[];
  readonly folders: readonly FolderInput[];
  /** In layout order: traced order first, then the rest by name. */
  readonly modules: readonly ModuleInput[];
  /** How many of `modules`, from the front, were traced (the hot region). */
  readonly traced: number;
  readonly excluded: readonly ExcludedModule[];
  /** Results of pure functions, in order of first use. */
  readonly pures: readonly PureInput[];
  readonly sealed: boolean;
  readonly digest: boolean;
  /** Serves where the tree lies elsewhere, too: as the roots prefix, base-prefix and archive tell. */
  readonly relocatable?: boolean;
  /** Modules that an archive below this one holds (bases.ts). */
  readonly held?: readonly Pick<ModuleInput, "name" | "folder" | "tail">[];
}
