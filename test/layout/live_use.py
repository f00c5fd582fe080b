"""Runs the code objects that live.py mapped, next to stock's: results, names, specialisation, tracing, dis, marshal."""
import dis
import io
import json
import marshal
import sys
import types


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
    """Specialised opcodes; 3.14+ tells immortal constants, as all of ours are, from mortal ones."""
    names = [i.opname for i in dis.get_instructions(function, adaptive=True)]
    return ["LOAD_CONST" if name.startswith("LOAD_CONST_") else name for name in names]


def run(name, ours, stock, faults, specialises):
    a, b = execute(ours, name, "ours"), execute(stock, name, "stock")
    if USES[name](a) != USES[name](b):
        faults.append("%s: results differ" % name)
    if list(a.__dict__) != list(b.__dict__):
        faults.append("%s: names differ" % name)
    if name == "odd_code" and sys.version_info >= (3, 11):
        # Specialised alike: versions and warm-up counters are right.
        for function in ("hot_live", "plain_live", "closure_live"):
            x, y = opnames(getattr(a, function)), opnames(getattr(b, function))
            if x != y:
                faults.append("%s: %s specialised as %s, stock as %s" % (name, function, x, y))
        if specialises and opnames(a.hot_live) == [i.opname for i in dis.get_instructions(a.hot_live)]:
            faults.append("%s: hot_live was not specialised" % name)
    if name == "odd_code":
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
