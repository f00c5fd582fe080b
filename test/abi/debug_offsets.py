"""Prints _Py_DebugOffsets of the running interpreter as JSON: {group: {name: value}}.

The table's own shape is read from the header, since it grows from version to version; argv[1]: the folder of Python.h.
"""
import ctypes
import json
import os
import re
import sys
import sysconfig

folder = os.path.join(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("include"), "internal")
for name in ("pycore_debug_offsets.h", "pycore_runtime.h"):
    path = os.path.join(folder, name)
    text = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
    found = re.search(r"typedef struct _Py_DebugOffsets \{(.*?)\} _Py_DebugOffsets;", text, re.S)
    if found:
        break
else:
    json.dump(None, sys.stdout)
    sys.exit()

body = re.sub(r"//[^\n]*|/\*.*?\*/", "", found.group(1), flags=re.S)
names = []
for member in re.finditer(r"struct\s+\w+\s*\{(.*?)\}\s*(\w+);|char cookie\[8\][^;]*;|uint64_t (\w+);", body, re.S):
    if member.group(2):
        names += [(member.group(2), inner) for inner in re.findall(r"uint64_t (\w+);", member.group(1))]
    else:
        names.append(("", member.group(3) or "cookie"))
# _PyRuntimeState begins with it.
address = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
words = (ctypes.c_uint64 * len(names)).from_address(address)
assert bytes(words)[:8] == b"xdebugpy", bytes(words)[:8]
assert words[names.index(("", "version"))] == sys.hexversion, words[:4]
table = {}
for (group, name), word in zip(names, words):
    table.setdefault(group, {})[name] = word
json.dump(table, sys.stdout)
