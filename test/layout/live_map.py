"""Maps what live.ts wrote, and relocates it as the runtime does.

Sizes and offsets are taken from the running interpreter and from its own
objects, never from the toolchain's ABI data.
"""
import ctypes
import json
import mmap
import os
import sys
import sysconfig
import types

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
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


# ob_type is behind the reference count, whatever that is; ob_size behind ob_type.
TYPE_AT = next(i for i in range(8, 64, 8) if get(id(types) + i) == id(type(types)))
SIZE_AT = TYPE_AT + 8

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
            assert get(base + location + TYPE_AT) == 0, "type word of a name must be 0"
            put(base + location + TYPE_AT, id(str))
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


def load(path):
    """The manifest that live.ts wrote, its folder, and its names."""
    folder = os.path.dirname(path)
    with open(path) as file:
        manifest = json.load(file)
    return manifest, folder, Names(manifest, folder)
