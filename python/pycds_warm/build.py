"""What runs inside Python while a warm image is built.

This file, watch.py, start.py and end.py, one after the other, are the driver: native/warm/run.c
executes it in a namespace of its own (it is no module and never in sys.modules),
puts ``compile_source``, ``park``, ``freeze``, ``let_signals_in``, ``native_reads``, ``wipe``, ``mersenne``,
``fill_mersenne``, ``counted``, ``configure``,
``renew_process``, ``renew_folder`` and ``initial_environment`` there and calls prepare, before_park, restored, plan, finish and refuse_threads. Nothing in it may import a module that a stock start
would not: what is imported is in every restored process.
"""

import builtins
import sys

_before = set(sys.modules)
import atexit
import gc
import io
import os

import _frozen_importlib_external as external
import _weakref

# a program that imports them gets them anew, as it would in a stock start
for _name in set(sys.modules) - _before:
    del sys.modules[_name]

request = {}
state = {"script": False, "interpreter": True, "unraisable": [], "initial": _before, "first": None, "linecache": None, "streams": {}}
reads = {}
draws = {}
looks_through = set()
missed = set()
listed = {}
environment = {}  # names, and hashes of the values: the image is not to hold them


def keep_environment():
    """Takes initial_environment, which is as it was before Python was initialised."""
    while initial_environment:
        entry = initial_environment.pop()
        key, equals, value = entry.partition(b"=")
        if equals and key:
            environment[key] = hash(value)  # from the end: of several with one name the first counts
        for text in (entry, value):
            if len(text) > 1:  # shorter ones are everybody's
                wipe(text)


keep_environment()
del initial_environment
arguments = []
kept = []


# ---- building -------------------------------------------------------------------


def refuse(text):
    """Ends the process: there will be no image."""
    with open(request["work"] + "/refused", "wb") as file:
        file.write(text.encode("utf-8", "replace"))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(3)


def to_json(value):
    """JSON without the json module; lone surrogates stand for bytes that are not UTF-8."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        out = []
        for character in value:
            number = ord(character)
            if number > 0xFFFF:
                number -= 0x10000
                out.append("\\u%04x\\u%04x" % (0xD800 + (number >> 10), 0xDC00 + (number & 0x3FF)))
            elif character in '"\\' or not 32 <= number < 127:
                out.append("\\u%04x" % number)
            else:
                out.append(character)
        return '"' + "".join(out) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(to_json(str(key)) + ":" + to_json(one) for key, one in value.items()) + "}"
    return "[" + ",".join(to_json(one) for one in value) + "]"


def program_words():
    """The interpreter's arguments from the first that is no option of its own, and those before."""
    words = sys.orig_argv[1:]
    at = 0
    while at < len(words):
        word = words[at]
        if word in ("-c", "-m") or not word.startswith("-") or word == "-":
            break
        at += 2 if word in ("-X", "-W", "--check-hash-based-pycs") else 1
    return words[:at], words[at:]


def prepare(work):
    """A plan for a program that is to park on its way, or None for an interpreter that parks at once."""
    with open(work + "/request.json", "rb") as file:
        request.update(eval(file.read().decode(), {"__builtins__": {}, "true": True, "false": False, "null": None}))
    request["work"] = work
    state["inherited"] = set(open_files())
    state["stop"] = [watch_environment(), watch_draws(), watch_seeds()]
    sys.meta_path.append(OwnPackage)
    state["options"], words = program_words()
    if words[:1] == ["-"]:
        refuse("a program on standard input cannot be imaged")
    state["interpreter"] = not words
    state["words"] = words
    # where sys.path begins with the current folder: -c has it as an empty string, -m by its name
    state["folder"] = os.getcwd() if words[:1] in (["-m"], ["-c"]) and not sys.flags.safe_path else None
    keep_names()
    for name in request["preload"]:
        __import__(name)
    if not words:
        return None
    builtins.__pycds_park__ = park
    arguments[:] = words
    plan = make_plan(mark=not request["explicit"])
    keep_names()  # the program's folder
    return plan


# ---- the mark ---------------------------------------------------------------------

IMPORTS = ("Import", "ImportFrom")


def is_import(statement):
    """Imports, and try and if statements that hold nothing else of weight."""
    kind = type(statement).__name__
    if kind in IMPORTS or kind == "Pass":
        return True
    if kind == "Expr":
        return type(statement.value).__name__ == "Constant"
    if kind == "Assign":
        return type(statement.value).__name__ == "Constant" and type(statement.targets[0]).__name__ == "Name"
    if kind == "If":
        return all(map(is_import, statement.body + statement.orelse))
    if kind == "Try":
        inner = [one for handler in statement.handlers for one in handler.body]
        return all(map(is_import, statement.body + inner + statement.orelse + statement.finalbody))
    return False


def compile_marked(source, file, mark):
    """Code of a main module; with ``mark``, it parks before the first statement behind its imports."""
    if not mark or "__pycds_park__" not in builtins.__dict__:
        return compile_main(source, file)
    tree = compile(source, file, "exec", flags=0x400, dont_inherit=True)  # PyCF_ONLY_AST
    at = 0
    while at < len(tree.body) and is_import(tree.body[at]):
        at += 1
    if not any(type(one).__name__ in IMPORTS + ("If", "Try") for one in tree.body[:at]):
        at = next((k for k, one in enumerate(tree.body) if type(one).__name__ not in ("Expr", "ImportFrom")), len(tree.body))
    call = compile("__pycds_park__()", file, "exec", flags=0x400, dont_inherit=True).body[0]
    near = tree.body[min(at, len(tree.body) - 1)] if tree.body else call
    for node in (call, call.value, call.value.func):
        node.lineno, node.end_lineno = near.lineno, near.lineno
        node.col_offset, node.end_col_offset = near.col_offset, near.col_offset
    tree.body.insert(at, call)
    return compile(tree, file, "exec", dont_inherit=True)


def mark_module():
    """Has runpy execute the marked code of the module that becomes __main__."""
    import runpy

    stock = runpy._get_module_details

    def _get_module_details(*args, **kwargs):
        name, spec, code = stock(*args, **kwargs)
        source = spec.loader.get_source(name) if hasattr(spec.loader, "get_source") else None
        if source is not None and not name.endswith("__init__"):
            code = compile_marked(source, code.co_filename, True)
        return name, spec, code

    runpy._get_module_details = _get_module_details

    def stop():
        runpy._get_module_details = stock

    state["unmark"] = stop


# ---- parking ------------------------------------------------------------------------


def hooks(name):
    module = sys.modules.get("pycds")
    return list(getattr(module, name, ()))


def before_park():
    """The last steps of the building process; after it nothing but the fork."""
    builtins.__dict__.pop("__pycds_park__", None)
    state.pop("unmark", lambda: None)()
    if OwnPackage in sys.meta_path:
        sys.meta_path.remove(OwnPackage)
    for hook, call_arguments, keywords in reversed(hooks("_before_snapshot")):
        hook(*call_arguments, **keywords)
    if sys.gettrace() is not None or sys.getprofile() is not None:
        refuse("a trace or profile function is set (a debugger or coverage)")
    monitoring = getattr(sys, "monitoring", None)
    tools = [monitoring.get_tool(number) for number in range(6)] if monitoring else []
    if any(tools):
        refuse("sys.monitoring is in use by " + ", ".join(filter(None, tools)))
    # what our caller left open is not the program's
    files = ["%d (%s)" % one for one in sorted(open_files().items()) if one[0] not in state["inherited"]]
    if files:
        refuse("files are open: " + ", ".join(files[:8]))
    gone = names_gone()
    if gone:
        refuse("files went while it ran: " + ", ".join(gone[:8]) + " \u2014 build it again")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    del stream  # make_streams() asks whether anybody has one
    for stop in state.pop("stop"):
        stop()
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_bytes(1)  # its generator is made now, so that a start only has to reseed it
    import_for_commands()
    changed = {key: value for key, value in os.environ._data.items() if environment.get(key) != hash(value)}
    state["changed"] = changed
    state["removed"] = [key for key in environment if key not in os.environ._data]
    needed = state["folder"] is not None and needs_folder(state["folder"])
    facts = {
        "version": ".".join(map(str, sys.version_info[:3])),
        "hexversion": sys.hexversion,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "stdlib": os.path.dirname(os.__file__),
        "options": state["options"],
        "interpreter": state["interpreter"],
        "modules": module_files(),
        # a start from another folder has that in the first place: the restorer looks there by names
        "path": [os.path.abspath(one) for at, one in enumerate(sys.path) if isinstance(one, str) and (needed or (one and (at or one != state["folder"])))],
        "packages": package_folders(),
        "site": site_files(),
        "names": looked_up_names(),
        "safePath": bool(sys.flags.safe_path),
        "folder": state["folder"],
        "needsFolder": needed,
        "reads": sorted({*reads, *map(os.fsdecode, native_reads())}),
        "looksThrough": sorted(looks_through),
        "draws": [[name, draws[name]] for name in sorted(draws)],
        "generators": find_generators(),
        "seeded": seeded_generators(),
    }
    with open(request["work"] + "/facts.json", "wb") as file:
        file.write(to_json(facts).encode())
    del facts
    reads.clear()
    wipe_environment()
    gc.collect()
    if sys.flags.dev_mode or sys.warnoptions:
        request["exit"] = "exact"  # such a start wants to be told what is left open, which only the full teardown finds
    state["files"] = [_weakref.ref(one) for one in gc.get_objects() if is_file(one)]
    make_streams()
    if request["exit"] != "exact":
        freeze()


def make_streams():
    """Standard streams as they are on a pipe, a file and a terminal, of which a start takes the one that fits: making them writes to 70 pages."""
    files = [*os.pipe(), os.open(os.devnull, os.O_RDWR)]
    kinds = [files[0], files[2]]
    try:
        files += os.openpty()
        kinds.append(files[4])
    except OSError:
        pass  # none left: a start on a terminal makes its own
    for name, number, mode in STREAMS:
        if not is_only_ours(name):
            continue
        old = sys.__dict__[name]
        kept = os.dup(number)
        made = state["streams"][name] = {}
        for one in kinds:
            os.dup2(one, number)
            stream = io.TextIOWrapper.__new__(io.TextIOWrapper)
            write_stream(stream, old, name, number, mode)
            made[kind_of_stream(number, os.fstat(number))] = stream
        os.dup2(kept, number)
        os.close(kept)
        sys.__dict__[name] = sys.__dict__["__%s__" % name] = stream
    for one in files:
        os.close(one)


def is_only_ours(name):
    """Whether a standard stream is as Python made it, and nobody but sys has it: then another one can take its place."""
    stream = sys.__dict__.get("__%s__" % name)
    if type(stream) is not io.TextIOWrapper or sys.__dict__.get(name) is not stream or set(stream.__dict__) != {"mode"}:
        return False
    del stream
    other = {"a": object()}
    other["b"] = other["a"]
    return sys.getrefcount(sys.__dict__[name]) == sys.getrefcount(other["a"])


def import_for_commands():
    """What stock imports for -c (Python/pythonrun.c), kept aside until a start has one: the others are not to see it."""
    if not state["interpreter"] or sys.version_info < (3, 13) or "linecache" in sys.modules:
        return
    before = set(sys.modules)
    import linecache

    if set(sys.modules) - before == {"linecache"}:
        state["linecache"] = linecache
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refuse_threads(ids):
    """Names what started the threads that were left when the process forked."""
    names = []
    threading = sys.modules.get("threading")
    python = {one.native_id: one.name for one in threading.enumerate()} if threading is not None else {}
    main = ids[0] if ids else 0
    for number in ids:
        if number == main or number == min(ids):
            continue
        if number in python:
            names.append("the Python thread %r" % python[number])
        else:
            names.append(thread_library(number) or "an unknown thread")
    refuse("%d threads run besides the main one: %s" % (len(ids) - 1, ", ".join(sorted(set(names))) or "unknown"))


def thread_library(number):
    """The library that a thread belongs to: the first one on its stack besides the C library's."""
    try:
        with open("/proc/self/task/%d/syscall" % number) as file:
            stack = int(file.read().split()[-2], 16)
        code = []
        with open("/proc/self/maps") as file:
            for line in file:
                words = line.split(None, 5)
                if "x" in words[1] and len(words) == 6 and words[5].startswith("/"):
                    low, high = (int(one, 16) for one in words[0].split("-"))
                    code.append((low, high, words[5].strip()))
        with open("/proc/self/mem", "rb", 0) as file:
            file.seek(stack)
            memory = file.read(65536)
        for at in range(0, len(memory) - 7, 8):
            value = int.from_bytes(memory[at:at + 8], "little")
            for low, high, path in code:
                if low <= value < high and not os.path.basename(path).startswith(("libc.", "libc-", "ld-", "libpthread", "libpython")):
                    return path
    except (OSError, ValueError, IndexError):
        pass
    return None
