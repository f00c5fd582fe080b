"""What runs first in each restored process; the driver's second part (build.py)."""

# ---- a restored process ---------------------------------------------------------------


def restored(words, variables, ignored):
    """Makes the parked process one that has just been started: called first, once."""
    arguments[:] = map(os.fsdecode, words)
    data = os.environ._data
    data.clear()  # empty already, but for what the program's own fork handlers set
    for entry in variables:
        key, equals, value = entry.partition(b"=")
        if equals and key:
            data.setdefault(key, value)
    if b"PYCDS_WARM_TRAIN" in data:
        os.unsetenv(b"PYCDS_WARM_TRAIN")
        state["train"] = data.pop(b"PYCDS_WARM_TRAIN")
    for key, value in state["changed"].items():
        os.putenv(key, value)
        data[key] = value
    for key in state["removed"]:
        if key in data:
            os.unsetenv(key)
            del data[key]
    zone = data.get(b"TZ")
    if environment.get(b"TZ") != (None if zone is None else hash(zone)):
        import time

        time.tzset()
    start_normally_if_stock_would_not_start(variables)
    for name, number, mode in STREAMS:
        renew_stream(name, number, mode)
    renew_random()
    if ignored:
        import _signal

        for number in range(1, 65):
            if ignored >> (number - 1) & 1 and _signal.getsignal(number) not in (_signal.SIG_IGN, None):
                _signal.signal(number, _signal.SIG_IGN)
    if "train" in state and not state["interpreter"]:
        stop_training()
    words = state["words"]
    sys.orig_argv[1:] = state["options"] + words + arguments
    if words:
        sys.argv[1:] = words[2 if words[0] in ("-c", "-m") else 1:] + arguments
        if state["folder"] is not None and sys.path[:1] == [state["folder"]]:
            sys.path[0] = state["first"] = os.getcwd()
        if all(type(one) is str for one in sys.argv + sys.orig_argv):
            configure(sys.argv, sys.orig_argv, state["first"])
    if not renew_process():
        start_normally(variables)
    if words:
        renew_folder()  # else the plan is made where the start is
    for hook, call_arguments, keywords in () if "train" in state else hooks("_after_restore"):
        let_signals_in()
        hook(*call_arguments, **keywords)


def start_normally_if_stock_would_not_start(variables):
    """Python/pylifecycle.c, init_sys_streams: a folder as standard input is a fatal error of the interpreter's."""
    try:
        folder = os.fstat(0).st_mode & 0o170000 == 0o040000
    except OSError:
        return
    if folder:
        start_normally(variables)


def start_normally(variables):
    entries = dict(entry.split(b"=", 1) for entry in variables if b"=" in entry)
    os.execve(sys.executable, sys.orig_argv[:1] + state["options"] + state["words"] + arguments, entries)


STREAMS = (("stdin", 0, "rb"), ("stdout", 1, "wb"), ("stderr", 2, "wb"))


def renew_stream(name, number, mode):
    """Python/pylifecycle.c, create_stdio: one that was made while building, or else into the object that is there, since imports may have kept it."""
    hidden = "__%s__" % name
    old = getattr(sys, hidden, None)
    ours = getattr(sys, name, None) is old
    try:
        about = os.fstat(number)
    except OSError:
        setattr(sys, hidden, None)
        if ours:
            setattr(sys, name, None)
        return
    if old is None:
        return
    made = state["streams"].get(name, {})
    new = made.pop(kind_of_stream(number, about), None) if ours and old in made.values() else None
    if new is not None:  # now sys alone has it, and what it holds is written when sys lets it go
        setattr(sys, hidden, new)
        setattr(sys, name, new)
        return
    for kind in [one for one, stream in made.items() if stream is old]:
        del made[kind]
    write_stream(old, old, name, number, mode)


def write_stream(stream, like, name, number, mode):
    """Initialises a TextIOWrapper on a standard descriptor, with another one's encoding."""
    write = mode == "wb"
    buffered = like.line_buffering or not like.write_through
    buffer = io.open(number, mode, -1 if buffered or not write else 0, closefd=False)
    raw = buffer.raw if hasattr(buffer, "raw") else buffer
    raw.name = "<%s>" % name
    terminal = raw.isatty()
    stream.__init__(
        buffer, like.encoding, like.errors, newline="\n",
        line_buffering=buffered and (terminal or number == 2), write_through=not buffered and write,
    )
    stream.mode = "w" if write else "r"


def kind_of_stream(number, about):
    """What the making of a stream depends on: buffer size, line buffering, and whether and where it can seek."""
    kind = about.st_mode & 0o170000
    if kind in (0o010000, 0o140000):  # pipes and sockets
        return ("pipe", about.st_blksize)
    if kind not in (0o020000, 0o100000):  # devices and files
        return None
    if kind == 0o020000 and os.isatty(number):
        return ("terminal", about.st_blksize)
    try:
        return ("file", about.st_blksize) if os.lseek(number, 0, 1) == 0 else None
    except OSError:
        return None


def renew_random():
    """What a fork does not reseed by itself (docs/warm.md has the table)."""
    modules = sys.modules
    ssl = modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    numpy = modules.get("numpy.random")
    if state["mersenne"] is not None:
        fill_mersenne(state["mersenne"])
    elif numpy is not None and not state["numpy"]:
        numpy.seed()
    if "random" in state:
        modules["random"].setstate(state["random"])  # a fork has seeded it anew
    process = modules.get("multiprocessing.process")
    if process is not None:
        process._current_process._config["authkey"] = process.AuthenticationString(os.urandom(32))
    tempfile = modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None
    uuid = modules.get("uuid")
    if uuid is not None:
        uuid._last_timestamp = None


def add_first(entry):
    if not sys.flags.safe_path:
        put_first(entry)


def put_first(entry):
    sys.path.insert(0, entry)
    state["first"] = entry


def importer_of(path):
    """Python/import.c, get_path_importer."""
    cache = sys.path_importer_cache
    if path in cache:
        return cache[path]
    cache[path] = None
    for hook in sys.path_hooks:
        try:
            cache[path] = hook(path)
            break
        except ImportError:
            pass
    return cache[path]


def plan():
    plan = make_plan(mark=False)
    renew_folder()
    return plan


def make_plan(mark):
    """Modules/main.c, pymain_run_python, up to where the program's code is run."""
    try:
        plan = plan_program(mark)
        configure(sys.argv, sys.orig_argv, state["first"])
        return plan
    except SystemExit:
        raise
    except BaseException as error:
        # no frames of ours in what the user sees
        return ("raise", error.with_traceback(None))


def plan_program(mark):
    first = arguments[0]
    main = sys.modules["__main__"].__dict__
    if first == "-c":
        return plan_command(arguments[1])
    if first == "-m":
        sys.argv[:] = ["-m"] + arguments[2:]
        try:
            add_first(os.getcwd())
        except OSError:
            pass
        sys.audit("cpython.run_module", arguments[1])
        if mark:
            mark_module()
        return ("module", arguments[1], True)
    sys.argv[:] = arguments
    name = first
    if not first.startswith("/"):
        try:
            name = os.getcwd() + "/" + first
        except OSError:
            pass
    if importer_of(name) is not None:
        put_first(name)
        sys.audit("cpython.run_module", "__main__")
        if mark:
            mark_module()
        return ("module", "__main__", False)
    add_first(os.path.dirname(os.path.realpath(first)))
    sys.audit("cpython.run_file", name)
    try:
        with io.open_code(name) as file:
            source = file.read()
    except IsADirectoryError:
        sys.stderr.write("%s: %r is a directory, cannot continue\n" % (sys.orig_argv[0], name))
        return ("exit", 1)
    except OSError as error:
        sys.stderr.write("%s: can't open file %r: [Errno %d] %s\n" % (sys.orig_argv[0], name, error.errno, error.strerror))
        return ("exit", 2)
    if "__file__" not in main:
        main["__file__"] = name
        main["__cached__"] = None
        state["script"] = True
    if name.endswith(".pyc"):
        loader = external.SourcelessFileLoader("__main__", name)
        main["__loader__"] = loader
        return ("code", loader.get_code("__main__"))
    main["__loader__"] = external.SourceFileLoader("__main__", name)
    return ("code", compile_marked(source, name, mark))


def plan_command(text):
    sys.argv[:] = ["-c"] + arguments[2:]
    add_first("")
    text += "\n"
    if sys.version_info >= (3, 14):
        text = dedent(text)
    sys.audit("cpython.run_command", text)
    try:
        text.encode()
    except UnicodeEncodeError:
        sys.stderr.write("Unable to decode the command from the command line:\n")
        raise
    code = compile_main(text, "<string>")
    if sys.version_info >= (3, 13):
        if "linecache" not in sys.modules and state["linecache"] is not None and not is_beside("linecache"):
            sys.audit("import", "linecache", None, sys.path, sys.meta_path, sys.path_hooks)
            sys.modules["linecache"] = state["linecache"]
        import linecache

        # Python/pythonrun.c, run_mod; the first 3.13s register by name
        linecache._register_code(code if hasattr(linecache, "_interactive_cache") else "<string>", text, "<string>")
    return ("code", code)


def is_beside(name):
    """Whether the current folder may have a module of this name, which sys.path has first."""
    suffixes = external._get_supported_file_loaders()
    return any(os.access(name + suffix, os.F_OK) for suffix in [""] + [one for loader, each in suffixes for one in each])


def compile_main(source, name):
    """Code of text, which is UTF-8 whatever a comment in it says, or of a file's bytes."""
    text = isinstance(source, str)
    data = source.encode() if text else source
    if b"\0" in data:
        return compile(source, name, "exec", dont_inherit=True)  # an error, in compile's words
    # PyCF_SOURCE_IS_UTF8, PyCF_IGNORE_COOKIE (Include/cpython/compile.h)
    return compile_source(data, name, 0x900 if text else 0x100)


def dedent(text):
    """Objects/unicodeobject.c, _PyUnicode_Dedent: as textwrap.dedent, which is not imported by a stock start."""
    margin = None
    lines = text.split("\n")
    for line in lines:
        if line.strip(" \t") == "":
            continue
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if margin is None:
            margin = indent
        else:
            while not indent.startswith(margin):
                margin = margin[:-1]
    return "\n".join("" if line.strip(" \t") == "" else line[len(margin or ""):] for line in lines)
