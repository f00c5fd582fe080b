"""Live oracle for laid-out units.

  live.py compile OUT [all]      compiles a sample of the standard library (or all of it) and some odd code into OUT/*.pyc
  live.py check DIR/manifest.json   maps the units that live.test.ts wrote, relocates them as the runtime
                                 does, and compares every object with what marshal.loads makes of the .pyc

Prints one JSON object. Sizes and offsets are taken from the running
interpreter and from its own objects, never from the toolchain's ABI data.
"""
import ctypes
import dis
import gc
import io
import json
import marshal
import mmap
import os
import py_compile
import struct
import sys
import types
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
HEADER = 16
NAMED = ["dataclasses", "enum", "argparse", "_pydecimal", "json/__init__", "json/decoder", "json/encoder", "json/scanner"]
MASK64 = 2**64 - 1

# ---- compile ---------------------------------------------------------------

ODD_SOURCE = '''
class Foo_live:
    __slots__ = ("slot_a_live", "slot_b_live")
    def __init__(self, a, b=3, *args, key=None, **kw):
        self.slot_a_live = a; self.slot_b_live = b
    @property
    def prop(self): return self.slot_a_live + self.slot_b_live
    class Inner_live:
        def method(self): return __class__.__qualname__
def star_live(*args): return len(args)
def plain_live(a, b): return a + b
def closure_live(x):
    y = x + 1
    def inner(z, *, w=5): return x + y + z + w
    return inner
def generator_live(n):
    for i in range(n):
        try: yield i
        finally: pass
def hot_live(n):
    total = 0
    for i in range(n):
        total += plain_live(i, 1) + star_live(i, i, i) + Foo_live(i, key=2).prop + closure_live(i)(1)
        if i in {1, 2, 3, "s_live", None, ..., (1, "t_live", b"x")}: total += 1
        if "abc"[i % 3] in {"a", "-", "\\u20ac"}: total += 2
        total += sum(j for j in generator_live(3)) + len("-._") + len((1.5, -0.0, 2j, b"q", "\\xe9", 10**30, -(2**70)))
    return total
async def coroutine_live():
    async with X as y: return [z async for z in y]
def caught_live():
    try: 1 / 0
    except ZeroDivisionError as e: return e.__traceback__.tb_lineno
'''


def odd_constants():
    f = frozenset
    return (
        None, True, False, ..., StopIteration, 0, -5, -6, 256, 257, 1024, 2**30 - 1, 2**30, -(2**30), 2**60, -(2**60), 10**40, -(10**400),
        0.0, -0.0, 1e308, float("inf"), float("nan"), struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0], 1j, complex(-0.0, float("nan")),
        "", "a", "-", "\xe9", "\xff", "name_like", "not-name", "\xe9\xe8", "\u20ac", "\u20ac\xe9", "\U0001f600", "\U0001f600abc", "\ud800", "\ud83d\ude00", "x" * 70000, "\0", "a\0b",
        b"", b"a", b"\0", b"ab", bytes(range(256)), (), ((),), (1, (2, ("deep_name", ("deep-string",)))), ("name_like", "not-name"),
        f(), f([f()]), f([1, 2.5, "name_like", "not-name", b"bytes", None, ..., (1, "in_tuple")]), f(range(100)), f(["s%d" % i for i in range(50)]),
        f([(1, f([(2, f(["innermost", "inner most"]))]))]), (f([("t", f(["u"]))]),),
    )


def write_pyc(path, code):
    with open(path, "wb") as out:
        import importlib.util
        out.write(importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, 0) + marshal.dumps(code))


def compile_sample(out, everything):
    stdlib = os.path.dirname(os.__file__)
    if everything:
        found = [os.path.join(folder, f) for folder, _, files in os.walk(stdlib) for f in files if f.endswith(".py") and "site-packages" not in folder]
        names = [os.path.relpath(f, stdlib)[:-3] for f in sorted(found)]
        return compile_modules(out, stdlib, names) + odd_modules(out)
    tops = sorted(n[:-3] for n in os.listdir(stdlib) if n.endswith(".py"))
    wanted = NAMED + [n for n in tops[::3] if n not in NAMED] + ["asyncio/base_events", "importlib/_bootstrap", "email/message", "html/entities"]
    return compile_modules(out, stdlib, wanted) + odd_modules(out)


def compile_modules(out, stdlib, wanted):
    names = []
    for name in wanted:
        source = os.path.join(stdlib, name + ".py")
        flat = name.replace("/", ".")
        try:
            py_compile.compile(source, os.path.join(out, flat + ".pyc"), doraise=True)
            names.append(flat)
        except (OSError, py_compile.PyCompileError, ValueError):
            pass  # not in this version, or one of lib2to3's and test's bad files
    return names


def odd_modules(out):
    write_pyc(os.path.join(out, "odd_code.pyc"), compile(ODD_SOURCE, "<odd>", "exec"))
    base = compile("def f(a, b):\n  return a\n", "<odd constants>", "exec")
    foreign = compile("pass", "<another file>", "exec").replace(co_name="\xe9\u20ac", co_names=("\xe9", "", "z", "\U00010330x"))
    constants = odd_constants()
    # base's own constants are code objects and None at the indices its bytecode uses
    write_pyc(os.path.join(out, "odd_constants.pyc"), base.replace(co_consts=base.co_consts + constants + (foreign, constants[-1])))
    deep = ("bottom-most",)
    for _ in range(1500):
        deep = (deep,)
    write_pyc(os.path.join(out, "odd_deep.pyc"), base.replace(co_consts=base.co_consts + (deep,)))
    return ["odd_code", "odd_constants", "odd_deep"]


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


# ---- use -------------------------------------------------------------------

def use_dataclasses(m):
    @m.dataclass(order=True, frozen=True)
    class Point:
        x: int
        y: int = m.field(default=2)
    return [m.astuple(m.replace(Point(i), y=i)) for i in range(300)], Point(1) < Point(2), repr(Point(1))


def use_enum(m):
    class Colour(m.Flag):
        RED = m.auto()
        GREEN = m.auto()
    return [str((Colour.RED | Colour.GREEN) & Colour(1 + i % 2)) for i in range(300)], [c.name for c in Colour]


def use_argparse(m):
    parser = m.ArgumentParser(prog="live")
    parser.add_argument("--level", type=int, choices=[1, 2])
    parser.add_argument("rest", nargs="*")
    return [vars(parser.parse_args(["--level", "2", "a", str(i)])) for i in range(50)], parser.format_help()


def use_pydecimal(m):
    return [str(m.Decimal(i).sqrt() / 3 + m.Decimal("1.1")) for i in range(1, 100)]


def use_decoder(m):
    text = json.dumps({"a": [1, 2.5, None, True, "x\u20ac\\n"], "b": {"c": "d" * 50}})
    return [m.JSONDecoder().decode(text) for _ in range(200)], m.py_scanstring('"abc\\u20ac\\n"', 1)


def use_encoder(m):
    return [m.JSONEncoder(indent=1, sort_keys=True).encode({"b": [1, 2.5, (3, None)], "a": "\u20ac" * i}) for i in range(100)]


def use_odd(m):
    return m.hot_live(3000), m.caught_live(), m.Foo_live.Inner_live().method(), list(m.generator_live(5))


USES = {"dataclasses": use_dataclasses, "enum": use_enum, "argparse": use_argparse, "_pydecimal": use_pydecimal,
        "json.decoder": use_decoder, "json.encoder": use_encoder, "odd_code": use_odd}


def execute(code, name, label):
    module = types.ModuleType("live_%s_%s" % (label, name.replace(".", "_")))
    module.__package__ = name.rpartition(".")[0]
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module


def opnames(function):
    return [i.opname for i in dis.get_instructions(function, adaptive=True)]


def run(name, ours, stock, faults):
    a, b = execute(ours, name, "ours"), execute(stock, name, "stock")
    if USES[name](a) != USES[name](b):
        faults.append("%s: results differ" % name)
    if list(a.__dict__) != list(b.__dict__):
        faults.append("%s: names differ" % name)
    if name == "odd_code":
        # Specialised alike: versions and warm-up counters are right.
        for function in ("hot_live", "plain_live", "closure_live"):
            x, y = opnames(getattr(a, function)), opnames(getattr(b, function))
            if x != y:
                faults.append("%s: %s specialised as %s, stock as %s" % (name, function, x, y))
        if opnames(a.hot_live) == [i.opname for i in dis.get_instructions(a.hot_live)]:
            faults.append("%s: hot_live was not specialised" % name)
        calls = []
        sys.settrace(lambda frame, event, arg: calls.append(event))
        a.hot_live(5)
        sys.settrace(None)
        if not calls:
            faults.append("%s: not traced" % name)
    dis.dis(ours, file=io.StringIO())
    ours.replace(co_name="other")
    if marshal.loads(marshal.dumps(ours)) != stock:
        faults.append("%s: marshal round trip" % name)


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
