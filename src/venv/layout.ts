/**
 * What an installation consists of, by name. Everything lies in one site-packages folder:
 *
 *   pycds.pth                 one line that imports _pycds at every start
 *   _pycds.so                 the runtime; a plain suffix, which every CPython accepts
 *   pycds/                    the small Python package
 *   pycds/install.json        the manifest: every other file of the list, with its digest
 *   pycds.data/default.pycds  the archive, if one was given
 *   pycds.data/default-2.pycds, …  further ones
 *   pycds.data/default.layers if there are several, or a base: which to look up, in order,
 *                             one a line (native/runtime/layers.c)
 *
 * and, while it is being changed, names that begin with {@link temporaryPrefix}.
 */

export const pthFile = "pycds.pth";
export const runtimeFile = "_pycds.so";
export const packageFolder = "pycds";
export const dataFolder = "pycds.data";
export const archiveFile = `${dataFolder}/default.pycds`;
export const layersFile = `${dataFolder}/default.layers`;
export const manifestFile = `${packageFolder}/install.json`;

/** The name of the copy of the archive at `position` among those given, from 0. */
export function archiveCopy(position: number): string {
  return position === 0 ? archiveFile : `${dataFolder}/default-${position + 1}.pycds`;
}

/** Files and folders that are being written or removed; the next install or uninstall clears what an interrupted one left. */
export const temporaryPrefix = ".pycds-tmp-";

/**
 * site.py (addpackage) executes a line that begins with `import ` and prints a
 * traceback at every start when it fails, so a runtime that is missing or cannot be
 * loaded must be caught here; an import statement alone cannot do that in one line.
 * `sys` is built in and always loaded. (Reading any .pth at all makes site.py of
 * CPython 3.13 import encodings.utf_8_sig; nothing in the file can change that.)
 */
export const pthText = 'import sys; exec("try:\\n import _pycds\\nexcept Exception:\\n pass")\n';
