"""Writes to the file argv[1], for every code object of the standard library, loaded anew, what CPython made of it.

stdin: {"offsets": {field: [offset, size]} of PyCodeObject, "scalars": [field...], "zeros": [field...],
"nofree": CO_NOFREE to 3.10, else 0, "compile": how many files without .pyc to compile}.
A record: i32 argcount posonly kwonly stacksize flags firstlineno nlocals; then, each with a u32 length,
co_code, the bytecode as it lies in memory, localspluskinds; then one i64 for each of "scalars".
To 3.10 there follow co_varnames, co_cellvars, co_freevars, each a u32 count of (u8 width, u32 length, data),
and co_cell2arg: an i32, 0 for NULL, and one i64 for each of co_cellvars if it is 1.
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
legacy = "co_code_adaptive" not in offsets
faults = []
counts = {"files": 0, "codes": 0, "compiled": 0, "left": 0, "zero_fields": 0, "cell2arg": 0}
CodeType = types.CodeType
string_at = ctypes.string_at


def number(raw, field):
    offset, size = offsets[field]
    return int.from_bytes(raw[offset:offset + size], "little", signed=True)


def pointer(raw, field):
    offset, size = offsets[field]
    return int.from_bytes(raw[offset:offset + size], "little")


def names(strings, out):
    out.append(struct.pack("<I", len(strings)))
    for text in strings:
        top = max(map(ord, text), default=0)
        width, encoding = (1, "latin-1") if top < 256 else (2, "utf-16-le") if top < 65536 else (4, "utf-32-le")
        data = text.encode(encoding, "surrogatepass")
        out.append(struct.pack("<BI", width, len(data)))
        out.append(data)


def record(code, out):
    # Memory first: attributes fill caches.
    start = id(code)
    head = string_at(start, max(offset + size for offset, size in offsets.values()))
    for field in request["zeros"]:
        offset, size = offsets[field]
        counts["zero_fields"] += 1
        if any(head[offset:offset + size]):
            faults.append("%s of %s is not 0" % (field, code))
    values = [number(head, field) for field in scalars]
    original = code.co_code
    if legacy:
        kinds = b""
        raw = ctypes.cast(pointer(head, "co_code"), ctypes.py_object).value
    else:
        kinds = ctypes.cast(pointer(head, "co_localspluskinds"), ctypes.py_object).value
        raw = string_at(start + offsets["co_code_adaptive"][0], len(original))
        if raw != code._co_code_adaptive:
            faults.append("co_code_adaptive of %s is elsewhere" % code)
    # CO_NOFREE turned round: the constructor knows better than the stream.
    flags = code.co_flags ^ request["nofree"]
    out.append(struct.pack("<7i", code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_stacksize, flags, code.co_firstlineno, code.co_nlocals))
    for data in (original, raw, kinds):
        out.append(struct.pack("<I", len(data)))
        out.append(data)
    out.append(struct.pack("<%dq" % len(values), *values))
    if legacy:
        for strings in (code.co_varnames, code.co_cellvars, code.co_freevars):
            names(strings, out)
        array = pointer(head, "co_cell2arg")
        out.append(struct.pack("<i", array != 0))
        if array:
            out.append(string_at(array, 8 * len(code.co_cellvars)))
            counts["cell2arg"] += 1
    counts["codes"] += 1
    for constant in code.co_consts:
        if type(constant) is CodeType:
            record(constant, out)


def marshalled(source):
    """A module's code from its .pyc; compiled where there is none, up to a number of files. None: cannot be compiled, or left out."""
    try:
        with open(importlib.util.cache_from_source(source), "rb") as pyc:
            data = pyc.read()
        if data[:4] == importlib.util.MAGIC_NUMBER:
            return data[16:]
    except OSError:
        pass
    if counts["compiled"] >= request["compile"]:
        counts["left"] += 1
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
