"""Loads an archive's units in a real interpreter and compares each with what marshal makes of its .pyc.

    live.py check SHIM ARCHIVE        None, or why it is refused, by open and by selfcheck
    live.py compare SHIM ARCHIVE PLAN [taken] [stock-first]

PLAN is JSON: {"base": address, "versions": offset of co_version or null, "units": [{"pyc", "filename"}, …]}.
`taken` occupies the requested base and what follows it; `stock-first` loads the .pyc before the unit, so that names are known already.
Prints JSON.
"""
import ctypes, gc, json, marshal, mmap, struct, sys, types

action, shim_path, archive = sys.argv[1:4]
shim = ctypes.PyDLL(shim_path)
for name in ("open", "selfcheck", "code", "name", "facts", "external"):
    getattr(shim, "shim_" + name).restype = ctypes.py_object
shim.shim_code.argtypes = [ctypes.c_uint, ctypes.py_object]

differences = []
FREE_THREADED = "free-threading" in sys.version


def differ(where, what):
    if len(differences) < 20:
        differences.append(f"{where}: {what}")


def is_singleton(text):
    return text == "" or len(text) == 1 and ord(text) < 256


def interned(text):
    if is_singleton(text):
        return True  # of the interpreter; sys.intern() would answer with them in any case
    fresh = (text + "x")[:-1]
    assert fresh is not text
    return sys.intern(fresh) is text


CODE_FIELDS = [name for name in dir(types.CodeType) if name.startswith("co_") and name not in ("co_lnotab", "co_lines", "co_positions")]
NAMES = ("co_names", "co_varnames", "co_freevars", "co_cellvars")
codes = []


def same(where, a, b, filename):
    if type(a) is not type(b):
        return differ(where, f"{type(a)} is not {type(b)}")
    if isinstance(a, types.CodeType):
        codes.append(a)
        for name in CODE_FIELDS:
            x, y = getattr(a, name), getattr(b, name)
            if name == "co_filename":
                if x is not filename:
                    differ(where, f"co_filename {x!r}")
            else:
                same(f"{where}.{a.co_name}.{name}", x, y, filename)
            if name in NAMES and not all(map(interned, x)):
                differ(where, f"{name}: not all interned: {x}")
        if list(a.co_positions()) != list(b.co_positions()) or list(a.co_lines()) != list(b.co_lines()):
            differ(where, "positions")
        if a != b or hash(a) != hash(b):  # the file's name does not count
            differ(where, "code objects are not equal")
    elif isinstance(a, tuple):
        if len(a) != len(b):
            return differ(where, "length")
        for i, (x, y) in enumerate(zip(a, b)):
            same(f"{where}[{i}]", x, y, filename)
    elif isinstance(a, frozenset):
        # order too: it is what a program iterates over. Not in 3.13t: intern_constants (Objects/codeobject.c) makes the
        # set anew when an equal member was interned before, so stock's own order depends on what was loaded so far
        order = sorted if FREE_THREADED else list
        if a != b or order(repr(x) for x in a) != order(repr(x) for x in b) or hash(a) != hash(b):
            differ(where, f"{a!r} is not {b!r}")
    elif isinstance(a, float):
        if struct.pack("d", a) != struct.pack("d", b):
            differ(where, f"{a!r} is not {b!r}")
    elif isinstance(a, complex):
        if struct.pack("dd", a.real, a.imag) != struct.pack("dd", b.real, b.imag):
            differ(where, f"{a!r} is not {b!r}")
    else:
        if a != b or hash(a) != hash(b) or repr(a) != repr(b):
            differ(where, f"{a!r} is not {b!r}")
        if isinstance(a, str) and (interned(a) != interned(b) or (is_singleton(a) and a is not b)):
            differ(where, f"interning of {a!r}")
        if isinstance(a, int) and -5 <= a <= 256 and a is not b:
            differ(where, f"{a} is not the singleton")
        if a in (b"", None, ..., True, False) and a is not b:
            differ(where, f"{a!r} is not the singleton")


if action == "check":
    print(json.dumps(shim.shim_open(archive.encode()) or shim.shim_selfcheck()))
    sys.exit()

NEAR = 64 << 20
plan, options = json.load(open(sys.argv[4])), sys.argv[5:]
if "taken" in options:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    assert libc.mmap(plan["base"], NEAR, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000, -1, 0) == plan["base"]
refused = shim.shim_open(archive.encode()) or shim.shim_selfcheck()
assert refused is None, refused
units, names = shim.shim_facts()

if "stock-first" in options:
    known = [marshal.loads(open(unit["pyc"], "rb").read()[16:]) for unit in plan["units"]]
loaded = [shim.shim_code(number, unit["filename"]) for number, unit in enumerate(plan["units"])]
if "stock-first" not in options:
    known = [marshal.loads(open(unit["pyc"], "rb").read()[16:]) for unit in plan["units"]]
for code, stock, unit in zip(loaded, known, plan["units"]):
    same(unit["filename"], code, stock, unit["filename"])
assert all(shim.shim_code(number, "other") is code for number, code in enumerate(loaded))
assert all(interned(shim.shim_name(i)) for i in range(names))

versions = None
if plan["versions"] is not None:
    versions = [ctypes.c_uint32.from_address(id(code) + plan["versions"]).value for code in codes]
    assert len({id(code) for code in codes}) == len(codes)

# They run, are specialised, traced, collected, and nothing is freed.
samples = [code for code in loaded if code.co_filename.endswith(("single.py", "sub.py", "inner.py"))]
results = []
for code in samples:
    namespace = {"__name__": "sample"}
    exec(code, namespace)
    for _ in range(200):
        if "f" in namespace:
            results.append(repr(namespace["f"](1)))
        if "C" in namespace:
            results.append(repr(namespace["C"]().m()))
    sys.settrace(lambda frame, event, arg: None)
    exec(code, {"__name__": "sample"})
    sys.settrace(None)
gc.collect()
before = [sys.getrefcount(code) for code in loaded]
assert min(before) > 1 << 20

print(json.dumps({
    "differences": differences, "units": units, "loaded": len(loaded), "codes": len(codes), "near": [plan["base"] <= id(code) < plan["base"] + NEAR for code in loaded],
    "samples": len(samples), "results": sorted(set(results)),
    "versions": versions and {"unique": len(set(versions)) == len(versions), "min": min(versions)},
}))
