"""Live oracle for laid-out units.

  live.py compile OUT [tests]    compiles the standard library, with its tests if asked, into OUT/*.pyc
  live.py check DIR/manifest.json   maps the units that live.test.ts wrote, relocates them as the runtime
                                 does, and compares every object with what marshal.loads makes of the .pyc

Prints one JSON object. Sizes and offsets are taken from the running
interpreter and from its own objects, never from the toolchain's ABI data.
"""
import ctypes
import gc
import json
import marshal
import os
import struct
import sys
import types
import warnings

from live_map import FREE_THREADED, SIZE_AT, TYPE_AT, Unit, at, get, keep, load
from live_sample import compile_library
from live_use import USES, run

warnings.simplefilter("ignore", DeprecationWarning)
HEADER = 16
LEGACY = sys.version_info < (3, 11)  # code objects without trailing bytecode
SPECIALISES = not LEGACY and not FREE_THREADED  # 3.13t was built without the specialising interpreter

# ---- compare ---------------------------------------------------------------

def own_size(obj):
    """Bytes of the object proper, by its own type (rounding of code.__sizeof__ avoided)."""
    if type(obj) is types.CodeType:
        return types.CodeType.__basicsize__ + (0 if LEGACY else types.CodeType.__itemsize__ * get(id(obj) + SIZE_AT))
    return type(obj).__sizeof__(obj)


def cell_arguments(code):
    """Bytes of co_cell2arg (PyCode_NewWithPosOnlyArgs, 3.9 and 3.10), which our code objects end in."""
    if not LEGACY or not set(code.co_cellvars) & set(code.co_varnames):
        return 0
    return 8 * len(code.co_cellvars)


def qualname(code):
    return getattr(code, "co_qualname", code.co_name)


def key(value):
    """A value with its types and, for frozensets, its iteration order."""
    if type(value) is frozenset and FREE_THREADED:
        # intern_constants (3.13t) makes the set anew, in another order, when a member was replaced.
        return (frozenset, sorted((key(v) for v in value), key=repr))
    if type(value) in (tuple, frozenset):
        return (type(value), [key(v) for v in value])
    if type(value) is types.CodeType:
        return (types.CodeType, qualname(value))
    if type(value) is float:
        return struct.pack("<d", value)
    if type(value) is complex:
        return struct.pack("<dd", value.real, value.imag)
    return (type(value), value)


class Comparison:
    def __init__(self, unit, name):
        self.unit, self.name = unit, name
        self.objects = 0
        self.words = 0
        self.by_ours, self.by_stock = {}, {}  # stock objects by our offset and back
        self.faults = []

    def fault(self, path, what):
        self.faults.append("%s: %s: %s" % (self.name, path, what))

    def run(self, stock):
        pending = [(stock, self.unit.base, id(self.unit.root) - self.unit.base, "module", None)]
        while pending:
            obj, base, offset, path, parent = pending.pop()
            pending.extend(self.object(obj, offset, path, parent))

    def object(self, stock, offset, path, parent):
        base = self.unit.base
        if offset not in self.unit.objects:
            self.fault(path, "no object begins at %d" % offset)
            return
        # Sharing is stock's, but that equal tables of code objects may be one, and that a build without GIL
        # replaces each constant by the process's first equal one (Objects/codeobject.c: intern_one_constant).
        if self.by_stock.setdefault(id(stock), offset) != offset and not FREE_THREADED:
            self.fault(path, "one object of stock is two of ours")
        if offset in self.by_ours:
            known = self.by_ours[offset]
            table = type(stock) is bytes and parent is types.CodeType
            if known is not stock and not ((table or FREE_THREADED) and key(stock) == key(known)):
                self.fault(path, "two objects of stock are one of ours")
            return
        self.by_ours[offset] = stock
        self.objects += 1
        size = own_size(stock)
        extra = cell_arguments(stock) if type(stock) is types.CodeType else 0
        if self.unit.objects[offset][0] != size + extra:
            self.fault(path, "%d bytes, stock has %d and %d" % (self.unit.objects[offset][0], size, extra))
            return
        a, b = ctypes.string_at(id(stock), size), ctypes.string_at(base + offset, size)
        if (base + offset) % 8:
            self.fault(path, "not aligned")
        for i in range(TYPE_AT, size, 8):
            self.words += 1
            if a[i:i + 8] != b[i:i + 8]:
                yield from self.word(stock, offset, i, a[i:i + 8], b[i:i + 8], path)

    def word(self, stock, offset, i, a, b, path):
        unit, slot, kind = self.unit, offset + i, type(stock)
        for version in (slot, slot + 4):
            if version in unit.versions:
                k = version - slot
                a, b = a[:k] + bytes(4) + a[k + 4:], b[:k] + bytes(4) + b[k + 4:]
        # Bytes that mean nothing are garbage in stock and 0 in ours.
        used = 1 if kind is str and i == TYPE_AT + 24 else CODE_USED.get(i, 8) if kind is types.CodeType else 8
        if b[used:8] == bytes(8 - used):
            a = a[:used] + b[used:8]
        if kind is str and i == TYPE_AT + 24 and sys.version_info >= (3, 14):
            # Ours carry the static bit, or finalisation would free those that became interned (src/abi/objects.ts).
            if not b[0] & 0x80:
                self.fault(path, "a str without the static bit")
            b = bytes([b[0] & 0x7F]) + b[1:]
        if a == b:
            return
        if kind in HASHED and i == TYPE_AT + 16 and b == b"\xff" * 8:
            return  # hash: stock may have computed it
        if len(a) == 8:
            stock_word, our_word = struct.unpack("<Q", a)[0], struct.unpack("<Q", b)[0]
            inside = our_word - unit.base
            if kind is str and inside == offset + unit.objects[offset][0] - (len(stock) + 1) * 4 and stock_word == id(stock) + inside - offset:
                return  # wstr of a UCS4 string is its own data
            extra = cell_arguments(stock) if kind is types.CodeType else 0
            if extra and inside == offset + own_size(stock) and stock_word:
                if ctypes.string_at(stock_word, extra) != ctypes.string_at(our_word, extra):
                    self.fault(path, "co_cell2arg differs")
                return
            if 0 <= inside < unit.size and stock_word % 8 == 0 and stock_word > 0x10000:
                yield at(stock_word), unit.base, inside, "%s+%d" % (path, i), kind
                return
            if slot in unit.rebuilt and type(at(stock_word)) is frozenset:
                if key(at(stock_word)) != key(at(our_word)):
                    self.fault(path, "frozensets differ")
                else:
                    yield from self.items(at(stock_word), at(our_word), path)
                return
            if kind is types.CodeType and our_word in BYTES and at(stock_word) == BYTES[our_word]:
                return  # a one-byte table is the interpreter's own
        self.fault("%s+%d" % (path, i), "%s %s, stock has %s" % (kind.__name__, b.hex(), a.hex()))


    def items(self, stock, ours, path):
        """Members of equal frozensets, pairwise; key() has seen that they are alike."""
        own = {y: y for y in ours}
        for x in stock:
            y = own[x]
            if 0 <= id(y) - self.unit.base < self.unit.size:
                yield x, self.unit.base, id(y) - self.unit.base, path + "{}", frozenset
            elif type(y) is frozenset:
                yield from self.items(x, y, path + "{}")


# Offset of a word of a code object -> how many of its bytes are in use: co_firstlineno and co_opcache_size are
# followed by padding to 3.10, _co_firsttraceable from 3.11 on; _co_unique_id (3.14+) is for builds without GIL.
CODE_USED = {40: 4, 168: 5} if LEGACY else {types.CodeType.__basicsize__ - 16: 4}
if sys.version_info >= (3, 14) and not FREE_THREADED:
    CODE_USED[types.CodeType.__basicsize__ - 24] = 0
HASHED = (str, bytes, tuple) if sys.version_info >= (3, 14) else (str, bytes)
BYTES = {id(keep(bytes([i]))): bytes([i]) for i in range(256)}


def comparable(stock, data):
    """Whether == means anything: NaN constants are never equal, and 3.12 does not compare tuples 1500 deep."""
    try:
        return stock == marshal.loads(data)
    except RecursionError:
        return False


def code_attributes(ours, stock, data, name, faults):
    """co_* by Python's own accessors, recursively; returns the number of code objects."""
    count, pending, equal = 0, [(ours, stock)], comparable(stock, data)
    while pending:
        a, b = pending.pop()
        count += 1
        for attribute in dir(b):
            if not attribute.startswith(("co_", "_co_")):
                continue
            x, y = getattr(a, attribute), getattr(b, attribute)
            if callable(y):
                if list(x()) != list(y()):
                    faults.append("%s: %s of %s" % (name, attribute, qualname(b)))
            elif flat_key(x) != flat_key(y):
                faults.append("%s: %s of %s" % (name, attribute, qualname(b)))
        if equal and (a != b or hash(a) != hash(b)):
            faults.append("%s: %s not equal" % (name, qualname(b)))
        pending += [(x, y) for x, y in zip(a.co_consts, b.co_consts) if type(y) is types.CodeType]
    return count


def flat_key(value):
    """key(), without recursion for the deep tuple (its words are compared elsewhere)."""
    depth, inner = 0, value
    while type(inner) is tuple and inner and type(inner[-1]) is tuple and depth < 50:
        depth, inner = depth + 1, inner[-1]
    return key(value) if depth < 50 else type(value)


# ---- all of it ------------------------------------------------------------

def check(path):
    manifest, folder, names = load(path)
    totals = {"python": sys.version.split()[0], "modules": 0, "objects": 0, "words": 0, "codes": 0, "executed": 0, "faults": []}
    faults = totals["faults"]
    units = []
    for module in manifest["modules"]:
        with open(os.path.join(folder, module["name"] + ".pyc"), "rb") as file:
            data = file.read()[HEADER:]
        stock = marshal.loads(data)
        unit = Unit(module, folder, names, stock.co_filename)
        units.append((module["name"], unit, data))
        comparison = Comparison(unit, module["name"])
        comparison.run(stock)
        faults += comparison.faults
        totals["modules"] += 1
        totals["objects"] += comparison.objects
        totals["words"] += comparison.words
        if comparison.objects != len(module["objects"]):
            # A one-byte or shared table makes fewer objects than stock has, never more than are reached.
            faults.append("%s: %d of %d objects reached" % (module["name"], comparison.objects, len(module["objects"])))
        if not comparison.faults:
            totals["codes"] += code_attributes(unit.root, stock, data, module["name"], faults)
    if not faults:
        for name, unit, data in units:
            if name in USES:
                run(name, unit.root, marshal.loads(data), faults, SPECIALISES)
                totals["executed"] += 1
    gc.collect()
    gc.get_objects()
    totals["faults"] = faults[:20]
    totals["mismatches"] = len(faults)
    return totals


if __name__ == "__main__":
    sys.setrecursionlimit(5000)
    print(json.dumps(compile_library(sys.argv[2], sys.argv[3:] == ["tests"]) if sys.argv[1] == "compile" else check(sys.argv[2])))
