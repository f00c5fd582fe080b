"""Compares the raw bytes of live objects with a described layout. stdin: see live-objects.test.ts. stdout: JSON counts and faults."""
import ctypes
import json
import marshal
import struct
import sys
import types

request = json.load(sys.stdin)
structs = request["structs"]
faults = []
counts = {}
string_at = ctypes.string_at


def check(group, what, found, expected):
    counts[group] = counts.get(group, 0) + 1
    if found != expected:
        faults.append("%s: %s is %r, not %r" % (group, what, found, expected))


def raw(obj, name, field, length=None):
    place = structs[name][field]
    return string_at(id(obj) + place["offset"], place["size"] if length is None else length)


def word(obj, name, field):
    return int.from_bytes(raw(obj, name, field), "little", signed=structs[name][field]["kind"] == "signed")


def fresh(value):
    """An equal object of its own, never hashed."""
    return marshal.loads(marshal.dumps(value, 2))


def headers(obj, name):
    group = name
    check(group, "ob_type", word(obj, name, "ob_type"), id(type(obj)))
    check(group, "PyObject.ob_type", word(obj, "PyObject", "ob_type"), id(type(obj)))
    if "ob_size" in structs[name] and name not in ("PyLongObject", "PyCodeObject"):
        check(group, "ob_size", word(obj, name, "ob_size"), len(obj))


interned = request["internedMask"]
for text, width, is_ascii, state in request["strings"]:
    text = fresh(text)
    name = "PyASCIIObject" if is_ascii else "PyCompactUnicodeObject"
    data = text.encode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width], "surrogatepass")
    headers(text, name)
    check(name, "length", word(text, name, "length"), len(text))
    check(name, "hash", word(text, name, "hash"), -1)
    check(name, "state of %r" % text, word(text, name, "state") & request["stateMask"], state)
    check(name, "data", raw(text, name, "data", len(data) + width), data + bytes(width))
    if "wstr" in structs[name]:
        # PyUnicode_New: the data itself where its units are as wide as wchar_t.
        shared = not is_ascii and ctypes.sizeof(ctypes.c_wchar) == width
        check(name, "wstr", word(text, name, "wstr"), id(text) + structs[name]["data"]["offset"] if shared else 0)
        if not is_ascii:
            check(name, "wstr_length", word(text, name, "wstr_length"), len(text) if shared else 0)
    hash(text)
    check(name, "hash", word(text, name, "hash"), hash(text))
    if not is_ascii and not any(0xD800 <= ord(c) < 0xE000 for c in text):
        check(name, "utf8", word(text, name, "utf8"), 0)
        ctypes.pythonapi.PyUnicode_AsUTF8.restype = ctypes.c_void_p
        address = ctypes.pythonapi.PyUnicode_AsUTF8(ctypes.py_object(text))
        check(name, "utf8", word(text, name, "utf8"), address)
        check(name, "utf8_length", word(text, name, "utf8_length"), len(text.encode()))

if request["staticMask"]:
    for text in request["singletons"]:
        check("PyASCIIObject", "static bit of %r" % text, word(text, "PyASCIIObject", "state") & request["staticMask"], request["staticMask"])

for text, offset, body in request["ints"]:
    number = fresh(int(text))
    headers(number, "PyLongObject")
    check("PyLongObject", text, string_at(id(number) + offset, len(body) // 2).hex(), body)

for number in (1.5, -0.0, float("inf"), 1e-310):
    number = fresh(number)
    headers(number, "PyFloatObject")
    check("PyFloatObject", repr(number), raw(number, "PyFloatObject", "ob_fval"), struct.pack("<d", number))
for number in (1.5 - 2j, complex(-0.0, 3.0)):
    number = fresh(number)
    headers(number, "PyComplexObject")
    check("PyComplexObject", repr(number), raw(number, "PyComplexObject", "cval"), struct.pack("<2d", number.real, number.imag))

for data in (b"ab", b"\0\xff" * 50):
    data = fresh(data)
    headers(data, "PyBytesObject")
    check("PyBytesObject", "ob_shash", word(data, "PyBytesObject", "ob_shash"), -1)
    check("PyBytesObject", "ob_sval", raw(data, "PyBytesObject", "ob_sval", len(data) + 1), data + b"\0")
    hash(data)
    check("PyBytesObject", "ob_shash", word(data, "PyBytesObject", "ob_shash"), hash(data))

for items in ((1, "two"), tuple(range(300, 350))):
    items = fresh(items)
    headers(items, "PyTupleObject")
    pointers = raw(items, "PyTupleObject", "ob_item", 8 * len(items))
    check("PyTupleObject", "ob_item", pointers, struct.pack("<%dQ" % len(items), *map(id, items)))
    if "ob_hash" in structs["PyTupleObject"]:
        check("PyTupleObject", "ob_hash", word(items, "PyTupleObject", "ob_hash"), -1)
        hash(items)
        check("PyTupleObject", "ob_hash", word(items, "PyTupleObject", "ob_hash"), hash(items))

part = slice("from", (1, 2), 3.5)
headers(part, "PySliceObject")
for name in ("start", "stop", "step"):
    check("PySliceObject", name, word(part, "PySliceObject", name), id(getattr(part, name)))

for size, mask in ((3, 7), (40, None)):
    items = fresh(frozenset(range(1000, 1000 + size)))
    headers(items, "PySetObject")
    for name, expected in (("fill", size), ("used", size), ("hash", -1), ("finger", 0), ("weakreflist", 0)):
        check("PySetObject", name, word(items, "PySetObject", name), expected)
    small = id(items) + structs["PySetObject"]["smalltable"]["offset"]
    found = word(items, "PySetObject", "mask")
    check("PySetObject", "mask", found, found if mask is None else mask)
    check("PySetObject", "mask + 1 a power of two", (found + 1) & found, 0)
    check("PySetObject", "table in the object", word(items, "PySetObject", "table") == small, mask is not None)
    hash(items)
    check("PySetObject", "hash", word(items, "PySetObject", "hash"), hash(items))

TYPES = {"PyCode_Type": types.CodeType, "PyUnicode_Type": str, "PyBytes_Type": bytes, "PyTuple_Type": tuple, "PyLong_Type": int,
         "PyFloat_Type": float, "PyComplex_Type": complex, "PyFrozenSet_Type": frozenset, "PySlice_Type": slice}


def outer(argument, /, second, *rest, keyword=1, **more):
    local = [argument]

    def inner():
        return local, argument, "a constant", 3.5, (1, 2)
    try:
        return inner
    except ValueError:
        return None


module = compile("import os\nclass A:\n    x: int = 1\n", "made up", "exec")
codes = [outer.__code__, *(c for c in outer.__code__.co_consts if type(c) is types.CodeType), fresh(module), check.__code__, json.dumps.__code__]
for row in request["selfChecks"]:
    if row["subject"] == "type":
        check("self-checks", row["name"], TYPES[row["name"]].__basicsize__, row["offset"])
        continue
    for code in codes:
        attribute = getattr(code, row["name"])
        size = 4 if row["what"] == "i32" else 8
        found = int.from_bytes(string_at(id(code) + row["offset"], size), "little", signed=size == 4)
        check("self-checks", row["name"], found, attribute if row["what"] == "i32" else id(attribute))

samples = {"tuple": (1, []), "frozenset": frozenset([1000]), "slice": part, "code": module, "str": "text", "bytes": b"data", "float": 1.5}
for kind, sample in samples.items():
    before = request["gcHeaderSize"] if kind in request["gcKinds"] else 0
    check("gc header", kind, sys.getsizeof(sample) - type(sample).__sizeof__(sample), before)

holder = compile("0", "made up", "exec")


def loaded(constant):
    """A constant as the code constructor leaves it when a .pyc is loaded."""
    return marshal.loads(marshal.dumps(holder.replace(co_consts=(constant,)))).co_consts[0]


for text, expected in request["constants"]:
    # Not the text itself: json may have interned or shared it. Containers: interning goes into them.
    for constant in (loaded(fresh(text)), loaded((1, fresh(text)))[1], *loaded(frozenset([fresh(text)]))):
        check("interned constants", repr(text), bool(word(constant, "PyASCIIObject", "state") & interned), expected)

# To 3.10 the constructor knows whether there are cells, whatever it is told.
for code in codes if request["nofree"] else []:
    check("co_flags", code.co_name, code.replace(co_flags=code.co_flags ^ request["nofree"]).co_flags, code.co_flags)

# PEP 683: the header of CPython's own immortal objects.
if sys.version_info >= (3, 12):
    check("immortal header", "None", string_at(id(None), len(request["immortalHeader"]) // 2).hex(), request["immortalHeader"])

json.dump({"counts": counts, "faults": faults}, sys.stdout)
