"""Live oracle for laid-out units.

  live.py compile OUT [all]      compiles what live_sample.py names into OUT/*.pyc
  live.py check DIR/manifest.json   maps the units that live.test.ts wrote, relocates them as the runtime
                                 does, and compares every object with what marshal.loads makes of the .pyc

Prints one JSON object. Sizes and offsets are taken from the running
interpreter and from its own objects, never from the toolchain's ABI data.
"""
import ctypes
import gc
import json
import marshal
import mmap
import os
import struct
import sys
import types
import warnings

from live_sample import compile_sample
from live_use import USES, run

warnings.simplefilter("ignore", DeprecationWarning)
HEADER = 16

# ---- map and relocate, as the runtime does ---------------------------------

api = ctypes.pythonapi
api.PyUnicode_InternInPlace.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
api.PyUnicode_InternInPlace.restype = None
FOREVER = []


def keep(obj):
    """Never freed, not even at exit: the image outlives the interpreter's tear-down."""
    api.Py_IncRef(ctypes.py_object(obj))
    FOREVER.append(obj)
    return obj


def map_private(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapping = keep(mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))
    buffer = keep((ctypes.c_char * size).from_buffer(mapping))
    return ctypes.addressof(buffer), size


def at(address):
    return ctypes.cast(address, ctypes.py_object).value


def put(address, value):
    ctypes.c_uint64.from_address(address).value = value


def get(address):
    return ctypes.c_uint64.from_address(address).value


TYPES = [types.CodeType, str, bytes, tuple, int, float, complex, frozenset, slice]


def external(number):
    if number < len(TYPES):
        return TYPES[number]
    if 16 <= number <= 23:
        return [None, True, False, ..., "", b"", (), StopIteration][number - 16]
    if 256 <= number < 512:
        return chr(number - 256)
    if 512 <= number < 768:
        return bytes([number - 512])
    assert 1024 <= number < 2054, number
    return number - 1029


class Names:
    def __init__(self, manifest, folder):
        self.blocks = [(b["first"], b["first"] + b["count"], map_private(os.path.join(folder, b["file"]))[0]) for b in manifest["blocks"]]
        self.locations = manifest["locations"]
        self.known = {}

    def address(self, index):
        if index not in self.known:
            self.known[index] = self.intern(index)
        return self.known[index]

    def intern(self, index):
        location = self.locations[index]
        if location < 0:
            slot = ctypes.c_void_p(id(keep(chr(-1 - location))))
        else:
            base = next(b for first, last, b in self.blocks if first <= index < last)
            assert get(base + location + 8) == 0, "type word of a name must be 0"
            put(base + location + 8, id(str))
            slot = ctypes.c_void_p(base + location)
        api.PyUnicode_InternInPlace(ctypes.byref(slot))
        keep(at(slot.value))
        return slot.value


class Unit:
    next_version = 0x40000000

    def __init__(self, module, folder, names, filename):
        self.base, self.size = map_private(os.path.join(folder, module["file"]))
        self.objects = {offset: (size, kind) for offset, size, kind in module["objects"]}
        base = self.base
        for slot in module["internal"]:
            put(base + slot, base + get(base + slot))
        for number, slots in module["external"]:
            address = id(keep(external(number)))
            for slot in slots:
                put(base + slot, address)
        for slot, name in module["names"]:
            put(base + slot, names.address(name))
        for slot in module["filename"]:
            put(base + slot, id(keep(filename)))
        self.versions = set(module["codeVersion"])
        for slot in module["codeVersion"]:
            ctypes.c_uint32.from_address(base + slot).value = Unit.next_version
            Unit.next_version += 1
        self.rebuilt = set()
        for record in module["rebuilt"]:
            made = keep(frozenset_of([get(base + record["items"] + 8 * i) for i in range(record["count"])]))
            for slot in record["slots"]:
                put(base + slot, id(made))
                self.rebuilt.add(slot)
        self.root = at(base + module["root"])


api.PyFrozenSet_New.argtypes = [ctypes.c_void_p]
api.PyFrozenSet_New.restype = ctypes.c_void_p
api.PySet_Add.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


def frozenset_of(addresses):
    made = api.PyFrozenSet_New(None)
    for address in addresses:
        assert address != 0, "frozenset item not relocated yet"
        assert api.PySet_Add(made, address) == 0
    return at(made)


# ---- compare ---------------------------------------------------------------

def own_size(obj):
    """Bytes of the object proper, by its own type (rounding of code.__sizeof__ avoided)."""
    if type(obj) is types.CodeType:
        return types.CodeType.__basicsize__ + types.CodeType.__itemsize__ * get(id(obj) + 16)
    return type(obj).__sizeof__(obj)


def key(value):
    """A value with its types and, for frozensets, its iteration order."""
    if type(value) in (tuple, frozenset):
        return (type(value), [key(v) for v in value])
    if type(value) is types.CodeType:
        return (types.CodeType, value.co_qualname)
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
        # Sharing is stock's, but that equal tables of code objects may be one.
        if self.by_stock.setdefault(id(stock), offset) != offset:
            self.fault(path, "one object of stock is two of ours")
        if offset in self.by_ours:
            if self.by_ours[offset] is not stock and not (type(stock) is bytes and parent is types.CodeType and stock == self.by_ours[offset]):
                self.fault(path, "two objects of stock are one of ours")
            return
        self.by_ours[offset] = stock
        self.objects += 1
        size = own_size(stock)
        if self.unit.objects[offset][0] != size:
            self.fault(path, "%d bytes, stock has %d" % (self.unit.objects[offset][0], size))
            return
        a, b = ctypes.string_at(id(stock), size), ctypes.string_at(base + offset, size)
        if (base + offset) % 16:
            self.fault(path, "not aligned")
        for i in range(8, size, 8):
            self.words += 1
            if a[i:i + 8] != b[i:i + 8]:
                yield from self.word(stock, offset, i, a[i:i + 8], b[i:i + 8], path)

    def word(self, stock, offset, i, a, b, path):
        unit, slot, kind = self.unit, offset + i, type(stock)
        for version in (slot, slot + 4):
            if version in unit.versions:
                k = version - slot
                a, b = a[:k] + bytes(4) + a[k + 4:], b[:k] + bytes(4) + b[k + 4:]
        # Bits that mean nothing are garbage in stock and 0 in ours: behind the bit fields of a str, behind _co_firsttraceable.
        used = 1 if kind is str and i == 32 else 4 if kind is types.CodeType and i == kind.__basicsize__ - 16 else 8
        if b[used:8] == bytes(8 - used):
            a = a[:used] + b[used:8]
        if a == b:
            return
        if kind in (str, bytes) and i == 24 and b == b"\xff" * 8:
            return  # hash: stock may have computed it
        if len(a) == 8:
            stock_word, our_word = struct.unpack("<Q", a)[0], struct.unpack("<Q", b)[0]
            inside = our_word - unit.base
            if kind is str and inside == offset + unit.objects[offset][0] - (len(stock) + 1) * 4 and stock_word == id(stock) + inside - offset:
                return  # wstr of a UCS4 string is its own data
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
        """Members of equal frozensets, pairwise; key() has seen that they iterate alike."""
        for x, y in zip(stock, ours):
            if 0 <= id(y) - self.unit.base < self.unit.size:
                yield x, self.unit.base, id(y) - self.unit.base, path + "{}", frozenset
            elif type(y) is frozenset:
                yield from self.items(x, y, path + "{}")


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
                    faults.append("%s: %s of %s" % (name, attribute, b.co_qualname))
            elif flat_key(x) != flat_key(y):
                faults.append("%s: %s of %s" % (name, attribute, b.co_qualname))
        if equal and (a != b or hash(a) != hash(b)):
            faults.append("%s: %s not equal" % (name, b.co_qualname))
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
    folder = os.path.dirname(path)
    with open(path) as file:
        manifest = json.load(file)
    names = Names(manifest, folder)
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
                run(name, unit.root, marshal.loads(data), faults)
                totals["executed"] += 1
    gc.collect()
    gc.get_objects()
    totals["faults"] = faults[:20]
    totals["mismatches"] = len(faults)
    return totals


if __name__ == "__main__":
    sys.setrecursionlimit(5000)
    print(json.dumps(compile_sample(sys.argv[2], sys.argv[3:] == ["all"]) if sys.argv[1] == "compile" else check(sys.argv[2])))
