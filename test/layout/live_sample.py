"""What live.py lays out: the standard library and some odd code, compiled to .pyc files."""
import importlib.util
import marshal
import os
import py_compile
import struct

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
        out.write(importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, 0) + marshal.dumps(code))


TESTS = {"test", "tests", "idle_test"}


def compile_library(out, with_tests):
    """Compiles every module of the standard library; those of its test packages only when asked, for they are twice as many."""
    stdlib = os.path.dirname(os.__file__)
    names = []
    for folder, folders, files in os.walk(stdlib):
        folders[:] = [f for f in folders if f not in ("site-packages", "dist-packages", "__pycache__") and (with_tests or f not in TESTS)]
        names += [os.path.relpath(os.path.join(folder, f), stdlib)[:-3] for f in files if f.endswith(".py")]
    compiled, left = compile_modules(out, stdlib, sorted(names))
    return {"modules": compiled + odd_modules(out), "left": left}


def compile_modules(out, stdlib, wanted):
    """Returns the modules' names, and the files that the interpreter itself cannot compile (lib2to3's and test's bad ones)."""
    names, left = [], []
    for name in wanted:
        source = os.path.join(stdlib, name + ".py")
        flat = name.replace("/", ".")
        try:
            py_compile.compile(source, os.path.join(out, flat + ".pyc"), doraise=True)
            names.append(flat)
        except (py_compile.PyCompileError, ValueError):
            left.append(name + ".py")
    return names, left


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
