/**
 * What an installation consists of, by name. Everything lies in one site-packages folder:
 *
 *   _pycds.pth                one line that loads _pycds at every start
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

/** site.py reads .pth files in the order of their names: before most others, so that what those import is served too. */
export const pthFile = "_pycds.pth";
/** Its name and contents until version 0.1: what an older installation has is still ours to remove. */
export const formerPthFile = "pycds.pth";
export const formerPthText = 'import sys; exec("try:\\n import _pycds\\nexcept Exception:\\n pass")\n';
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
 *
 * The library lies beside the file, in what addpackage calls `sitedir`, so it is loaded from there as
 * importlib's own finder would; an import statement would list the folders of sys.path for it, which
 * nobody needs any more once it is there. Where that variable is not (3.15), it is imported.
 * In a venv site.py reads the file twice: the second time nothing is compiled but the line itself.
 */
export const pthText =
  'import sys; "_pycds" in sys.modules or exec("try:\\n try:\\n  import _frozen_importlib as b, _frozen_importlib_external as e\\n  b._load(e.spec_from_file_location(\'_pycds\', sitedir + \'/_pycds.so\'))\\n except NameError: import _pycds\\nexcept Exception: 0")\n';
