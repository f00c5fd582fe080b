"""Uses laid-out code in the ways in which a broken rule shows.

  hazards.py compile OUT                     compiles SOURCE into OUT/hazards.pyc
  hazards.py check MANIFEST DAMAGE CHECK...  maps the unit, does DAMAGE (or "none") as it is loaded, runs the checks

Prints one JSON object: complaints by check. A rule that is broken may also
crash the process; that is why hazards.test.ts starts one for each.
"""
import ctypes
import dis
import gc
import json
import marshal
import os
import resource
import subprocess
import sys
import threading
import types
import weakref

import live_map
from live_map import FREE_THREADED, SIZE_AT, TYPE_AT, Unit, at, get, load, put
from live_sample import write_pyc

SOURCE = '''
import sys
def plain_hz(x): return x
def star_hz(x, *rest, k=5): return (x, rest, k)
def call_hz(functions, n):
    for _ in range(n):
        for f in functions: result = f(1)
    return result
def loop_hz(n):
    total = 0
    for i in range(n): total += i
    return total
def member_hz(x): return x in {"alpha_hz", "beta_hz", "not a name", b"bytes hz", (1, "gamma hz")}
def constants_hz(): return "not a name", b"bytes hz", -6, -5, 256, 257, 1000, 1024, 1025, 10 ** 30, 1.5, (1, "tuple hz"), (b"x y", (2, 3.5))
def cell_hz(x, y):
    z = 1
    def inner(): return x + y + z
    return inner
def caller_hz(): return sys._getframe(1).f_code.co_name
def frame_hz(): return caller_hz()
def deep_hz(n, a=1, b=2, c=3):
    d, e, f = a + b, b + c, c + n
    return 0 if n == 0 else deep_hz(n - 1, a, b, c) + d + e + f - c
'''


def codes(code):
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from codes(constant)


def inner(code, name):
    return next(c for c in codes(code) if c.co_name == name)


# ---- damage: rules that are kept while a unit is loaded, or by words that no ABI rule gives ----

STATE_AT = TYPE_AT + 24
HASH_AT = TYPE_AT + 16


def set_state(world, change):
    """Changes the state word of every name before it is interned."""
    for index, location in enumerate(world.manifest["locations"]):
        if location >= 0:
            base = next(b for first, last, b in world.names.blocks if first <= index < last)
            word = ctypes.c_uint32.from_address(base + location + STATE_AT)
            word.value = change(word.value)


def same_version(world):
    addresses = [id(inner(world.unit.root, name)) - world.unit.base for name in ("plain_hz", "star_hz")]
    for slot in world.unit.versions:
        if any(0 <= slot - address < types.CodeType.__basicsize__ for address in addresses):
            ctypes.c_uint32.from_address(world.unit.base + slot).value = 0x77777


def no_version(world):
    for slot in world.unit.versions:
        ctypes.c_uint32.from_address(world.unit.base + slot).value = 0


def zero_hashes(*kinds):
    def damage(world):
        for offset, (_, kind) in world.unit.objects.items():
            if kind in kinds:
                put(world.unit.base + offset + HASH_AT, 0)
    return damage


def weak_references(world):
    for offset, (_, kind) in world.unit.objects.items():
        if kind == "code":
            put(world.unit.base + offset + types.CodeType.__weakrefoffset__, 8)


def table(members):
    """A frozenset's table: for each entry the index of the member, or -1, and its hash."""
    addresses = {id(m): i for i, m in enumerate(members)}
    made = live_map.frozenset_of([id(m) for m in members])
    mask, entries = get(id(made) + TYPE_AT + 24), get(id(made) + TYPE_AT + 32)
    return made, [(addresses.get(get(entries + 16 * i), -1), get(entries + 16 * i + 8)) for i in range(mask + 1)]


def other_process(world):
    """Gives each frozenset the table that another process made of equal members."""
    for made in (c for c in inner(world.unit.root, "member_hz").co_consts if type(c) is frozenset):
        members = list(made)
        foreign = json.loads(subprocess.run([sys.executable, "-EsSB", __file__, "table", repr(members)], stdout=subprocess.PIPE, check=True).stdout)
        mask, entries = get(id(made) + TYPE_AT + 24), get(id(made) + TYPE_AT + 32)
        assert mask + 1 == len(foreign)
        for i, (member, value) in enumerate(foreign):
            put(entries + 16 * i, 0 if member < 0 else id(members[member]))
            put(entries + 16 * i + 8, value)


BEFORE = {
    "none": lambda world: None,
    "names-interned": lambda world: set_state(world, lambda state: state | (2 if sys.version_info >= (3, 12) else 1)),
    "names-static": lambda world: set_state(world, lambda state: state | 0x80),
}
AFTER = {
    "same-version": same_version,
    "no-version": no_version,
    "zero-str-hashes": zero_hashes("str", "bytes"),
    "zero-tuple-hashes": zero_hashes("tuple"),
    "weak-references": weak_references,
    "frozenset-of-another-process": other_process,
}


# ---- checks: what stock does, each a list of complaints ----

class World:
    def __init__(self, path, damage):
        self.manifest, folder, self.names = load(path)
        with open(os.path.join(folder, "hazards.pyc"), "rb") as file:
            data = file.read()[16:]
        self.stock = marshal.loads(data)
        BEFORE.get(damage, BEFORE["none"])(self)
        module = self.manifest["modules"][0]
        self.unit = Unit(module, folder, self.names, self.stock.co_filename)
        AFTER.get(damage, BEFORE["none"])(self)
        self.name_slots = [self.unit.base + slot for slot, _ in module["names"]]
        self.g, self.stock_g = {"__name__": "ours"}, {"__name__": "stock"}

    def run(self):
        """Executes ours and stock's, once."""
        if "call_hz" not in self.g:
            exec(self.unit.root, self.g)
            exec(self.stock, self.stock_g)
        return self.g

    def objects(self, *kinds):
        return [at(self.unit.base + offset) for offset, (_, kind) in self.unit.objects.items() if kind in kinds]


def versions(world):
    world.run()
    for g in (world.stock_g, world.g):
        g["call_hz"]([g["plain_hz"]], 2000)
        result = g["call_hz"]([g["star_hz"]], 5)
    return [] if result == (1, (), 5) else ["a call of star_hz gives %r" % (result,)]


def opnames(function):
    names = [i.opname for i in dis.get_instructions(function, adaptive=True)]
    return ["LOAD_CONST" if name.startswith("LOAD_CONST_") else name for name in names]


def specialised(world):
    world.run()
    complaints = []
    for g in (world.g, world.stock_g):
        g["call_hz"]([g["plain_hz"]], 3000)
        for _ in range(50):
            g["loop_hz"](100)
    for name in ("call_hz", "loop_hz"):
        ours, stock = opnames(world.g[name]), opnames(world.stock_g[name])
        assert stock != [i.opname for i in dis.get_instructions(world.stock_g[name])], "stock has not specialised " + name
        if ours != stock:
            complaints.append("%s specialised as %s, stock as %s" % (name, ours, stock))
    return complaints


def headers(world):
    """Nothing frees an object of the image; from 3.12 on nothing even writes its count."""
    places = [world.unit.base + offset for offset in world.unit.objects]
    before = [ctypes.string_at(place, TYPE_AT) for place in places]
    g = world.run()
    for _ in range(2000):
        g["constants_hz"](), g["call_hz"]([g["plain_hz"]], 3), g["cell_hz"](1, 2)(), g["deep_hz"](5)
    after = [ctypes.string_at(place, TYPE_AT) for place in places]
    if sys.version_info >= (3, 12):
        return ["%d reference counts were written" % sum(a != b for a, b in zip(before, after))] if after != before else []
    counts = [int.from_bytes(count[:8], "little", signed=True) for count in after]
    return [] if all(1 << 39 < count < 1 << 41 for count in counts) else ["a count of %d" % min(counts)]


def interned(world):
    complaints = []
    for slot in world.name_slots:
        name = at(get(slot))
        if sys.intern("".join(list(name))) is not name:
            complaints.append("%r is not the interned string" % name)
    for ours, stock in zip(codes(world.unit.root), codes(world.stock)):
        if any(a is not b for a, b in zip(ours.co_names, stock.co_names)):
            complaints.append("%s has other names than stock" % stock.co_name)
    return complaints


def text(world):
    """Strings behave as strings."""
    complaints = []
    for s in world.objects("str"):
        other = bytes(s, "utf-8").decode()
        if not (s == other and len(s) == len(other) and s + "!" == other + "!" and s.upper() == other.upper() and "%s" % s == other):
            complaints.append("%r" % other)
    return complaints


def again(value):
    """An equal value of objects of its own."""
    if type(value) is tuple:
        return tuple([again(item) for item in value])
    return "".join(list(value)) if type(value) is str else bytes(bytearray(value)) if type(value) is bytes else value


def hashes(world):
    values = world.objects("str", "bytes", "tuple")
    return ["hash of %.60r" % (value,) for value in values if hash(value) != hash(again(value))]


def members(world):
    member = world.run()["member_hz"]
    values = ["alpha_hz", "beta_hz", "not a name", b"bytes hz", (1, "gamma hz")]
    return ["%r is not found" % (value,) for value in values if not member(again(value)) or member("another hz")]


def small_ints(world):
    complaints = []
    world.run()
    for ours, stock in zip(world.g["constants_hz"](), world.stock_g["constants_hz"]()):
        if type(ours) is int and (ours is int(str(ours))) != (stock is int(str(stock))):
            complaints.append("%d is one object in %s only" % (ours, "stock" if stock is int(str(stock)) else "ours"))
    return complaints


def small_int_bit(world):
    return ["%d is marked as the interpreter's own" % at(world.unit.base + offset)
            for offset, (_, kind) in world.unit.objects.items() if kind == "int" and get(world.unit.base + offset + SIZE_AT) & 4]


def cells(world):
    try:
        result = world.run()["cell_hz"](10, 20)()
    except NameError as error:
        return [str(error)]
    return [] if result == 31 else ["cell_hz gives %r" % result]


def flags(world):
    return ["co_flags of %s" % a.co_name for a, b in zip(codes(world.unit.root), codes(world.stock)) if a.co_flags != b.co_flags]


def tracked(world):
    gc.collect()
    found = [value for value in world.objects("tuple", "slice") if gc.is_tracked(value)]
    return ["%d objects are tracked by the collector" % len(found)] if found else []


def weakrefs(world):
    return ["weakref of %s" % code.co_name for code in codes(world.unit.root) if weakref.ref(code)() is not code]


def frames(world):
    name = world.run()["frame_hz"]()
    return [] if name == "frame_hz" else ["caller_hz was called by %s, not by frame_hz" % name]


def deep(world):
    ours, stock = world.run()["deep_hz"](400), world.stock_g["deep_hz"](400)
    return [] if ours == stock else ["deep_hz gives %r, stock %r" % (ours, stock)]


def threads(world):
    """The same code in several threads at once; without GIL the first thread also makes the collector's objects immortal."""
    world.run()
    results = []

    def work(g):
        for _ in range(200):
            results.append((g["call_hz"]([g["plain_hz"], g["star_hz"]], 3), g["deep_hz"](20), g["cell_hz"](1, 2)(), g["member_hz"]("alpha_hz"), g["constants_hz"]()))
    work(world.stock_g)
    expected = results[0]
    started = [threading.Thread(target=work, args=(world.g,)) for _ in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    gc.collect()
    return [] if len(results) == 1000 and all(result == expected for result in results) else ["threads see other results"]


CHECKS = {f.__name__: f for f in (versions, specialised, headers, interned, text, hashes, members, small_ints, small_int_bit, cells, flags, tracked, weakrefs, frames, deep, threads)}


def main(command, *arguments):
    if command == "compile":
        write_pyc(os.path.join(arguments[0], "hazards.pyc"), compile(SOURCE, "<hazards>", "exec"))
        return ["hazards"]
    if command == "table":
        return table(eval(arguments[0]))[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path, damage, *names = arguments
    assert damage in BEFORE or damage in AFTER, damage
    world = World(path, damage)
    return {name: CHECKS[name](world) for name in names}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
