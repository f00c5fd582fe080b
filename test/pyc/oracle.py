"""CPython's own marshal as the oracle of the TypeScript reader.

Usage: oracle.py OUT MAX_SOURCE_BYTES

Writes OUT.streams (marshal streams, one after the other) and OUT.tokens (one
record a stream): what marshal.loads made of the stream, or that it refused.
oracle.test.ts walks the TypeScript value along the tokens; oracle-walk.ts says
what they mean. The work is deterministic: fixed sample, fixed seed.
"""
import ctypes
import marshal
import os
import random
import resource
import struct
import sys
import types

MINOR = sys.version_info[1]
LEGACY = MINOR < 11
# localsplusnames and localspluskinds cannot be had from Python. Offsets in
# PyCodeObject on LP64, equal in 3.11-3.15 (facts/cpython.md section 1); checked below.
LOCALSPLUSNAMES, LOCALSPLUSKINDS = 96, 104
# PyASCIIObject.state behind header, length and hash; its low two bits say interned.
STR_STATE = 32


def member(obj, offset, kind):
    found = ctypes.py_object.from_address(id(obj) + offset).value
    assert type(found) is kind, (obj, offset, type(found))
    return found


def is_interned(text):
    return ctypes.c_uint32.from_address(id(text) + STR_STATE).value & 3 != 0


def self_check():
    name = sys.intern("pycds oracle self-check")
    assert is_interned(name) and not is_interned("".join(["pycds", " oracle ", "self-check"]))
    if not LEGACY:
        code = (lambda first, second: first).__code__
        assert member(code, LOCALSPLUSNAMES, tuple) == ("first", "second")
        assert len(member(code, LOCALSPLUSKINDS, bytes)) == 2


def bits(number):
    return struct.pack(">d", number).hex()


def is_singleton(value):
    """Objects that CPython makes once whatever the stream says; their identity tells nothing."""
    kind = type(value)
    if kind is int:
        return -5 <= value <= (1024 if MINOR >= 15 else 256)
    if kind is str:
        return len(value) == 0 or (len(value) == 1 and value < "\u0100")
    if kind is bytes:
        return len(value) < 2
    if kind is tuple:
        return len(value) == 0
    if kind is frozenset:
        return len(value) == 0 and MINOR == 9
    return False


def spelled(text):
    width = 1 if max(text, default="") < "\u0100" else 2 if max(text) < "\U00010000" else 4
    data = text.encode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width], "surrogatepass")
    return "%d %d %d %s" % (width, len(text), text.isascii(), data.hex())


def content(value):
    """Content without identity: the order in which the members of a set are described."""
    tokens = []
    Walk(tokens.append, identity=False).value(value)
    return "\n".join(tokens)


class Walk:
    def __init__(self, emit, identity=True):
        self.emit = emit
        self.identity = identity
        self.seen = {}

    def value(self, value, identity=True):
        emit = self.emit
        if value is None or value is True or value is False or value is Ellipsis or value is StopIteration:
            emit({None: "N", True: "T", False: "F", Ellipsis: ".", StopIteration: "S"}[value])
            return
        kind = type(value)
        mark = ""
        if kind is str and is_interned(value):
            mark = "!" if self.identity else ""
        elif self.identity and identity and not is_singleton(value):
            number = self.seen.get(id(value))
            if number is not None:
                emit("@%d" % number)
                return
            number = self.seen[id(value)] = len(self.seen)
            mark = "#%d " % number
        if kind is int:
            emit("%si %x" % (mark, value))
        elif kind is float:
            emit("%sg %s" % (mark, bits(value)))
        elif kind is complex:
            emit("%sy %s %s" % (mark, bits(value.real), bits(value.imag)))
        elif kind is str:
            emit("%su %s" % (mark, spelled(value)))
        elif kind is bytes:
            emit("%ss %s" % (mark, value.hex()))
        elif kind in (tuple, list):
            emit("%s%s %d" % (mark, "(" if kind is tuple else "[", len(value)))
            for item in value:
                self.value(item)
        elif kind in (set, frozenset):
            emit("%s%s %d" % (mark, "<" if kind is set else ">", len(value)))
            for item in sorted(value, key=content):
                self.value(item)
        elif kind is dict or kind.__name__ == "frozendict":
            emit("%s%s %d" % (mark, "{" if kind is dict else "}", len(value)))
            for key, item in value.items():
                self.value(key)
                self.value(item)
        elif kind is slice:
            emit("%s:" % mark)
            for item in (value.start, value.stop, value.step):
                self.value(item)
        elif kind is types.CodeType:
            self.code(value, mark)
        else:
            raise TypeError(kind)

    def code(self, code, mark):
        counts = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_stacksize, code.co_flags, code.co_firstlineno]
        if LEGACY:
            counts.append(code.co_nlocals)
        self.emit("%sc %s" % (mark, " ".join(map(str, counts))))
        # 3.11+: co_code is made on request, so its identity is not the stream's.
        self.value(code.co_code, identity=LEGACY)
        self.value(code.co_consts)
        self.value(code.co_names)
        if LEGACY:
            self.value(code.co_varnames)
            self.value(code.co_freevars)
            self.value(code.co_cellvars)
        else:
            self.value(member(code, LOCALSPLUSNAMES, tuple))
            self.value(member(code, LOCALSPLUSKINDS, bytes))
        self.value(code.co_filename)
        self.value(code.co_name)
        if not LEGACY:
            self.value(code.co_qualname)
        self.value(code.co_lnotab if MINOR == 9 else code.co_linetable)
        if not LEGACY:
            self.value(code.co_exceptiontable)


def joined(*parts):
    """A str that no compiler has seen, so not interned."""
    return "".join(parts)


def hand_made():
    shared = (joined("sha", "red"), 10**30, 1.5, frozenset([joined("in", "side"), 2**40]))
    plain, interned = joined("not ", "interned"), sys.intern(joined("inter", "ned one"))
    deep = ()
    for _ in range(1999):
        deep = (deep,)
    cell = lambda captured: lambda: captured
    values = [
        None, True, False, ..., StopIteration,
        0, 1, -1, -5, -6, 256, 257, 1024, 1025, 2**31 - 1, -2**31, 2**31, -2**31 - 1, 2**63, 10**50, -10**50, 2**15, 2**30, 2**45, 2**30 - 1, 7**3000,
        0.0, -0.0, 1.5, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 0.1,
        struct.unpack("<d", bytes.fromhex("785634120000f87f"))[0], struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0],
        complex(0.0, -0.0), complex(float("nan"), 1), 3j,
        "", "a", "\xe9", "\u20ac", "\U0001f600", "\ud800", "\ud83d\ude00", "a\udfff", "\U0010ffff\ud800", "\xff" * 300, "x" * 255, "x" * 256, "\u0100" * 70, "nul\0in",
        b"", b"a", b"ab", bytes(range(256)),
        (), (1,), tuple(range(255)), tuple(range(256)), tuple(range(300)), deep,
        [], [1, [2, [3]]], {}, {"a": 1, 2: [3], (4, 5): {6: 7}}, set(), {1, "two", b"three"},
        frozenset(), frozenset([1, 2]), frozenset([frozenset([frozenset(["x"]), True]), (1, frozenset([2.5])), b"bytes", "str", 10**20]),
        (shared, shared, [shared, shared[0], shared[3]]), (plain, plain, interned, interned, {plain: interned}), [[plain] * 3] * 3,
        cell.__code__, is_singleton.__code__, Walk.code.__code__, (cell.__code__, cell.__code__), {cell.__code__: cell.__code__.co_consts},
    ]
    if MINOR >= 14:
        values += [slice(1, 2, 3), (slice(None, shared, 1), shared, slice(None, shared, 1))]
    if MINOR >= 15:
        values += [frozendict(a=1), (frozendict({shared: shared}), shared)]  # noqa: F821
    return values


def raw():
    """Streams that no writer makes (any more)."""
    i32 = lambda n: struct.pack("<i", n)
    texts = [b"1e5", b"1e5\0junk", b".5", b"5.", b"-nan", b"nan", b"+inf", b"infinity", b"1e999", b"-1e-999", b"0.1", b"1.7976931348623159e308", b" 1", b"1 ", b"1_0", b"0x10", b".", b"1e", b"", b"nanx", b"4.9e-324", b"123456789012345678901234567890.5"]
    yield from (b"f" + bytes([len(text)]) + text for text in texts)
    yield b"x\x03-.5\x041e22"
    yield from (b"I" + struct.pack("<q", n) for n in (0, -1, 2**63 - 1, -2**63))
    yield b"l" + i32(0)
    yield b"l" + i32(1) + b"\0\0"
    yield b"l" + i32(1) + b"\0\x80"
    yield b"l" + i32(-0x80000000)
    yield b"z\x02\xe9a"
    yield b"a" + i32(3) + b"a\xffb"
    yield from (b"u" + i32(len(data)) + data for data in (b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xed\xa0", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xef\xbb\xbfa", b"a\x80", b"\xff"))
    yield b":NNN"
    yield b"}NN0"
    yield b"?"
    yield b"0"
    yield b")\x010"
    yield b"\xa9\x02\xe9\x05\0\0\0r\x01\0\0\0"
    yield b")\x02\xeeNr\0\0\0\0"
    yield b"[" + i32(2) + b"\xbe\0\0\0\0r\0\0\0\0"
    yield b"(" + i32(-1)
    yield b"(" + i32(0x7fffffff) + b"N"
    yield b")\x01" * 1999 + b"N"
    yield b")\x01" * 2000 + b"N"
    yield b">" + i32(1) + b"[" + i32(0)
    yield b"<" + i32(1) + b")\x01<" + i32(0)
    yield b"{[" + i32(0) + b"N0"
    # A code object with stack size 0, which newer constructors raise to 1.
    code = bytearray(marshal.dumps(is_singleton.__code__))
    at = 17 if LEGACY else 13
    code[at:at + 4] = i32(0)
    yield bytes(code)
    # Names that are no str, an odd co_code, too few local variables.
    good = marshal.dumps(compile("spam", "raw", "eval"))
    yield good.replace(b"spam", b"sp\xe4m")
    for offset in range(1, 21):
        bad = bytearray(good)
        bad[offset] ^= 0x80
        yield bytes(bad)


def mutated(values):
    """Damaged streams of plain values.

    None with references (marshal.loads crashes on some that point at an unfinished
    tuple) or code objects (their bytecode is not checked) may arise.
    """
    random_ = random.Random(20240229)
    codes = b"0NTFS.iIlgfyxsutaAzZ()[{<>"
    dangerous = bytes([ord("r"), ord("r") | 0x80, ord("c"), ord("c") | 0x80])
    for value in values:
        for version in (1, marshal.version):
            try:
                stream = marshal.dumps(value, version)
            except ValueError:
                continue
            if len(stream) > 400:
                continue
            for _ in range(24):
                bad = bytearray(stream)
                for _ in range(random_.randrange(1, 3)):
                    at = random_.randrange(len(bad))
                    bad[at] = random_.choice((bad[at] ^ 1 << random_.randrange(8), random_.choice(codes), random_.randrange(256)))
                if random_.random() < 0.2:
                    del bad[random_.randrange(len(bad)):]
                if not any(byte in dangerous for byte in bad):
                    yield bytes(bad)


def sources(limit):
    """A deterministic sample of the standard library, tests and all, `limit` bytes of source in all."""
    root = os.path.dirname(os.__file__)
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("site-packages", "__pycache__"))
        found += [os.path.join(folder, name) for name in files if name.endswith(".py")]
    # In an order that has nothing to do with names, so that the first ones are a fair sample.
    sample = sorted(found)
    random.Random(1).shuffle(sample)
    used = 0
    for path in sample:
        size = os.path.getsize(path)
        if size > 200_000:
            continue
        used += size
        if used > limit:
            return
        with open(path, "rb") as file:
            source = file.read()
        try:
            yield compile(source, os.path.relpath(path, root), "exec", dont_inherit=True, optimize=len(source) % 3)
        except (SyntaxError, ValueError, RecursionError):
            continue  # the standard library's tests hold files that are wrong on purpose


def main(out, limit):
    import warnings
    warnings.simplefilter("ignore")
    self_check()
    # A hostile length must be a MemoryError here, not the machine's end.
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    sys.setrecursionlimit(20_000)
    with open(out + ".streams", "wb") as streams, open(out + ".tokens", "w") as tokens:

        def record(group, stream):
            streams.write(stream)
            try:
                value = marshal.loads(stream)
            except (ValueError, EOFError, TypeError, MemoryError, OverflowError, SystemError) as error:
                tokens.write("= %s %d refused %s\n" % (group, len(stream), type(error).__name__))
                return
            tokens.write("= %s %d read\n" % (group, len(stream)))
            Walk(lambda token: tokens.write(token + "\n")).value(value)

        # None and Ellipsis hash by address before 3.12: their sets are not in mutated(), whose damage is to be repeatable.
        for value in [*hand_made(), frozenset([None, ..., "n"]), (1, frozenset([(None, 2), b"bytes"]))]:
            for version in range(marshal.version + 1):
                try:
                    stream = marshal.dumps(value, version)
                except ValueError:
                    continue  # not in that version of the format
                record("hand-made", stream)
        for stream in raw():
            record("raw", stream)
        for stream in mutated([v for v in hand_made() if type(v) is not types.CodeType]):
            record("mutated", stream)
        for code in sources(limit):
            record("library", marshal.dumps(code))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
