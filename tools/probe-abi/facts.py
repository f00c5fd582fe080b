"""Prints, as JSON, the ABI facts that only running CPython tells.

Run by gather.ts with -I and without PYTHON_* variables (3.14+ takes initial
counters from them). Nothing here depends on a version: how fresh bytecode is
quickened is found by handing made-up bytecode to the code constructor, which
rewrites it as it rewrites any other (specialize.c: _PyCode_Quicken).
"""
import gc
import importlib.util
import json
import marshal
import opcode
import platform
import sys
import sysconfig
import types

HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC, Include/object.h
TYPES = {
    "PyCode_Type": types.CodeType, "PyUnicode_Type": str, "PyBytes_Type": bytes, "PyTuple_Type": tuple,
    "PyLong_Type": int, "PyFloat_Type": float, "PyComplex_Type": complex, "PyFrozenSet_Type": frozenset,
    "PySlice_Type": slice,
}
# Has a constant, a name and a local, so that operand 0 exists (the constructor looks at some).
CODE = (lambda local: (local, name, 1)).__code__  # noqa: F821
UNIT = 2


def cache_counts():
    """Cache units by opcode name."""
    if hasattr(opcode, "_inline_cache_entries"):
        entries = opcode._inline_cache_entries
        if hasattr(entries, "keys"):  # 3.13+: a dict, 3.15 a frozendict: by name, ops without caches left out
            return dict(entries)
        return {name: entries[number] for name, number in opcode.opmap.items() if number < len(entries)}
    return {}


def fresh(units):
    """co_code_adaptive, as the constructor leaves it, of made-up bytecode."""
    return CODE.replace(co_code=bytes(units))._co_code_adaptive


def u16(data, unit):
    return int.from_bytes(data[UNIT * unit:UNIT * unit + UNIT], sys.byteorder)


def quickening():
    caches = cache_counts()
    # Numbers that exist in bytecode: no pseudo instructions (256 and up), no instrumented ones.
    ops = {n: i for n, i in opcode.opmap.items() if i < 256 and not n.startswith("INSTRUMENTED_")}
    table = {name: {"number": number, "caches": caches.get(name, 0)} for name, number in ops.items()}
    pairs = []
    if not hasattr(CODE, "_co_code_adaptive"):
        return {name: dict(row, initial=0) for name, row in table.items()}, pairs  # before 3.11
    end = [ops["NOP"], 0] * 2  # 3.14+ leaves the last unit alone
    for name, row in table.items():
        before = [row["number"], 0] + [0, 0] * row["caches"] + end
        after = fresh(before)
        row["initial"] = u16(after, 1) if row["caches"] else 0
        expected = bytearray(before)
        if row["caches"]:
            expected[UNIT:2 * UNIT] = row["initial"].to_bytes(UNIT, sys.byteorder)
        if bytes(expected) != after:
            sys.exit("quickening of %s alone is not a matter of its first cache unit: %s" % (name, after.hex()))
    plain = {name: row["number"] for name, row in table.items() if not row["caches"]}
    for first, a in plain.items():
        for second, row in table.items():
            b = row["number"]
            before = [a, 0, b, 0] + [0, 0] * row["caches"] + end
            after = bytearray(fresh(before))
            if after[0] != a:
                pairs.append({"first": first, "second": second, "number": after[0]})
                after[0] = a
            expected = bytearray(before)
            if row["caches"]:
                expected[4:6] = row["initial"].to_bytes(UNIT, sys.byteorder)
            if after != expected:
                sys.exit("quickening of %s, %s is not a matter of the first opcode" % (first, second))
    return table, pairs


def small_ints():
    """The range of ints of which there is one object each."""
    def single(number):
        return int(str(number)) is int(str(number))
    low = high = 0
    while single(low - 1):
        low -= 1
    while single(high + 1):
        high += 1
    return {"min": low, "max": high}


def reload(constant):
    """A constant as the code constructor leaves it, loaded anew: each load makes its own object unless it is interned."""
    return marshal.loads(marshal.dumps(CODE.replace(co_consts=(constant,)))).co_consts[0]


def marshals_slices():
    try:
        return marshal.loads(marshal.dumps(slice(1, 2))) == slice(1, 2)
    except ValueError:
        return False


def flavour():
    debug = bool(sysconfig.get_config_var("Py_DEBUG")) or hasattr(sys, "gettotalrefcount")
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if debug and free:
        sys.exit("a debug build without GIL: no flavour for it yet")
    return "debug" if debug else "freethreaded" if free else "release"


def main():
    if sys.implementation.name != "cpython":
        sys.exit("not CPython: %s" % sys.implementation.name)
    if sys.byteorder != "little":
        sys.exit("a big-endian interpreter: not supported")
    opcodes, pairs = quickening()
    json.dump({
        "include": sysconfig.get_path("include"),
        "hexversion": sys.hexversion,
        "version": {"major": sys.version_info[0], "minor": sys.version_info[1]},
        "release": platform.python_version(),
        "platform": "%s-%s" % (sys.platform, platform.machine().lower()),
        "flavour": flavour(),
        "pycMagic": int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little"),
        "marshalVersion": marshal.version,
        "basicsizes": {name: kind.__basicsize__ for name, kind in TYPES.items()},
        # Code is one only in free-threaded builds.
        "gcTypes": sorted(name for name, kind in TYPES.items() if kind.__flags__ & HAVE_GC),
        "smallInts": small_ints(),
        "sliceConstants": marshals_slices(),
        "internsAllConstants": reload("not a name!") is reload("not a name!"),
        "minimumStackSize": CODE.replace(co_stacksize=0).co_stacksize,
        "gcThreshold": gc.get_threshold()[0],
        "opcodes": opcodes,
        "superinstructions": pairs,
    }, sys.stdout)


main()
