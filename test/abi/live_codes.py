"""Writes to the file argv[1], for every code object of the standard library, loaded anew, what CPython made of it.

stdin: {"offsets": {field: [offset, size]} of PyCodeObject, "scalars": [field...], "zeros": [field...]}.
A record: i32 argcount posonly kwonly stacksize flags firstlineno; then, each with a u32 length,
co_code, raw bytes at co_code_adaptive, localspluskinds; then one i64 for each of "scalars".
stdout: JSON counts and faults.
"""
import ctypes
import glob
import importlib.util
import json
import marshal
import os
import struct
import sys
import types

request = json.load(sys.stdin)
offsets = request["offsets"]
scalars = request["scalars"]
adaptive = offsets["co_code_adaptive"][0]
kinds_at = offsets["co_localspluskinds"][0]
faults = []
counts = {"files": 0, "codes": 0, "compiled": 0, "zero_fields": 0}
CodeType = types.CodeType
string_at = ctypes.string_at


def number(raw, field):
    offset, size = offsets[field]
    return int.from_bytes(raw[offset:offset + size], "little", signed=True)


def record(code, out):
    # Memory first: attributes fill caches.
    start = id(code)
    head = string_at(start, adaptive)
    for field in request["zeros"]:
        offset, size = offsets[field]
        counts["zero_fields"] += 1
        if any(head[offset:offset + size]):
            faults.append("%s of %s is not 0" % (field, code))
    kinds = ctypes.cast(int.from_bytes(head[kinds_at:kinds_at + 8], "little"), ctypes.py_object).value
    values = [number(head, field) for field in scalars]
    original = code.co_code
    raw = string_at(start + adaptive, len(original))
    if raw != code._co_code_adaptive:
        faults.append("co_code_adaptive of %s is elsewhere" % code)
    out.append(struct.pack("<6i", code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_stacksize, code.co_flags, code.co_firstlineno))
    for data in (original, raw, kinds):
        out.append(struct.pack("<I", len(data)))
        out.append(data)
    out.append(struct.pack("<%dq" % len(values), *values))
    counts["codes"] += 1
    for constant in code.co_consts:
        if type(constant) is CodeType:
            record(constant, out)


def marshalled(source):
    """A module's code from its .pyc; compiled where there is none, up to a number of files."""
    try:
        with open(importlib.util.cache_from_source(source), "rb") as pyc:
            data = pyc.read()
        if data[:4] == importlib.util.MAGIC_NUMBER:
            return data[16:]
    except OSError:
        pass
    if counts["compiled"] >= 200:
        return None
    try:
        with open(source, "rb") as file:
            code = compile(file.read(), source, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    counts["compiled"] += 1
    return marshal.dumps(code)


sys.setrecursionlimit(10000)
library = os.path.dirname(os.__file__)
with open(sys.argv[1], "wb") as file:
    for source in sorted(glob.glob(library + "/**/*.py", recursive=True)):
        if "site-packages" in source or "dist-packages" in source:
            continue
        data = marshalled(source)
        if data is None:
            continue
        out = []
        record(marshal.loads(data), out)
        file.write(b"".join(out))
        counts["files"] += 1
json.dump({"counts": counts, "faults": faults[:20]}, sys.stdout)
