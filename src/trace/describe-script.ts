/**
 * What an interpreter is asked about itself. Run with `-I`, so that neither the
 * caller's PYTHON* variables nor the current folder show; `site` still runs, so
 * a venv's own sys.path and its .pth files do.
 *
 * Written in the Python that 3.4 and PyPy read too: an unsuitable interpreter
 * must get as far as telling what it is. The answer follows a marker, since
 * sitecustomize and .pth files may print.
 */
export const describeMarker = "\u001epycds-interpreter:";

export const describeScript = `
import sys

def describe():
    import json
    implementation = sys.implementation.name
    facts = {
        "executable": sys.executable,
        "implementation": implementation,
        "hexversion": sys.hexversion,
        "version": "%d.%d.%d" % sys.version_info[:3],
    }
    if implementation == "cpython" and sys.version_info >= (3, 9):
        import importlib.machinery as machinery
        import importlib.util
        import os
        import site
        import struct
        import sysconfig
        loaders = (
            [(s, "extension") for s in machinery.EXTENSION_SUFFIXES]
            + [(s, "source") for s in machinery.SOURCE_SUFFIXES]
            + [(s, "sourceless") for s in machinery.BYTECODE_SUFFIXES]
        )
        purelib = sysconfig.get_path("purelib")
        candidates = [purelib, sysconfig.get_path("platlib")] + site.getsitepackages()
        site_packages = []
        for folder in candidates:
            if folder and folder not in site_packages and (folder == purelib or os.path.isdir(folder)):
                site_packages.append(folder)
        facts.update({
            "pycMagic": int.from_bytes(importlib.util.MAGIC_NUMBER, "little"),
            "cacheTag": sys.implementation.cache_tag,
            "platform": sys.platform + "-" + os.uname().machine,
            "pointerSize": struct.calcsize("P"),
            "freeThreaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "debug": hasattr(sys, "gettotalrefcount"),
            "suffixes": [{"suffix": s, "loader": l} for s, l in loaders],
            "prefix": sys.prefix,
            "basePrefix": sys.base_prefix,
            "stdlib": os.path.dirname(os.__file__),
            "dynload": next((p for p in sys.path if os.path.basename(p) == "lib-dynload"), None),
            "sitePackages": site_packages,
            "sysPath": sys.path,
        })
    return json.dumps(facts)

sys.stdout.write("\\x1epycds-interpreter:" + describe() + "\\n")
`;
