"""What the driver watches while imports run, and finds out before the park; its second part (build.py)."""

# ---- names and files that imports depended on ------------------------------------------


class OwnPackage:
    """Finds the pycds package and its other name, so that a program can call pycds.park() where it is not installed; notes what nobody finds."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in ("pycds", "snapshot_restore_py"):
            if path is None:
                missed.add(name)  # all other finders were asked
            return None
        folder = request["packages"] + "/" + name
        return external.spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])


def package_folders():
    """Folders that sub-modules are looked up in."""
    found = set()
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        path = names.get("__path__") if type(names) is dict else None
        try:
            found.update(os.path.abspath(one) for one in path or () if type(one) is str and one)
        except Exception:
            pass  # not a list of folders
    return sorted(found)


def site_files():
    """What site looks for at each start: its settings, and folders that need not be there."""
    base = os.path.dirname(sys.executable)
    found = [base + "/pyvenv.cfg", os.path.dirname(base) + "/pyvenv.cfg"]
    site = sys.modules.get("site")
    if site is not None and not sys.flags.no_site:
        found += site.getsitepackages()
        if site.ENABLE_USER_SITE and site.USER_SITE:
            found.append(site.USER_SITE)
    return [os.path.abspath(one) for one in found]


def looked_up_names():
    """Top-level names that a file beside the program would take over, and whether a plain folder would, too."""
    found = dict.fromkeys(missed, True)
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in state["initial"] or top in found or top in ("__main__", "__mp_main__"):
            continue
        spec = getattr(sys.modules.get(top), "__spec__", None)
        origin = getattr(spec, "origin", None)
        if origin not in ("built-in", "frozen"):
            found[top] = origin is None and getattr(spec, "submodule_search_locations", None) is not None
    return [[name, found[name]] for name in sorted(found) if name not in ("pycds", "snapshot_restore_py")]


def names_in(folder):
    """What an import could find in a folder (src/warm/stamps.ts, importable)."""
    try:
        with os.scandir(folder) as entries:
            return {one.name for one in entries if one.name.endswith((".py", ".pyc", ".so", ".pth")) or ("." not in one.name and one.name != "__pycache__" and (one.is_symlink() or one.is_dir()))}
    except OSError:
        return set()


def keep_names():
    """Of folders that imports look into: of those that are new on sys.path."""
    for folder in sys.path:
        folder = os.path.abspath(folder) if isinstance(folder, str) else None
        if folder is not None and folder not in listed:
            listed[folder] = names_in(folder)


def names_gone():
    """Names that imports may have met and that are no longer there; what came is seen by the command line (changedSince)."""
    return sorted(os.path.join(folder, name) for folder, before in listed.items() for name in before - names_in(folder))


def needs_folder(folder):
    """Whether modules came from the folder that sys.path begins with."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        try:
            places = list(getattr(spec, "submodule_search_locations", None) or [])
            file = getattr(module, "__file__", None)
            if not places and isinstance(file, str):
                places = [file]
            if ("." not in name or name == "__main__") and any(os.path.dirname(os.path.abspath(one)) == folder for one in places):
                return True
            # -m package: runpy executes its __main__ in the folder of the package
            if name == "__main__" and spec is not None and isinstance(file, str):
                up = file
                for _ in range(spec.name.count(".") + 1):
                    up = os.path.dirname(up)
                if os.path.abspath(up) == folder:
                    return True
        except Exception:
            pass
    return False


def open_files():
    """Descriptors above 2 and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass  # the listing's own
    return found


def module_files():
    found = []
    aside = [] if state["linecache"] is None else [("linecache", state["linecache"])]
    for name, module in list(sys.modules.items()) + aside:
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file and type(module) is not OwnPackage:
            found.append([name, os.path.abspath(file)])
    return found


# ---- the environment ---------------------------------------------------------------------


def watch_environment():
    """Records the names of variables that Python code reads, until the returned function is called."""
    kind = os._Environ
    get, iterate = kind.__getitem__, kind.__iter__

    def __getitem__(self, key):
        if self is os.environ and isinstance(key, str):
            reads.setdefault(key)
        elif self is os.environb and isinstance(key, bytes):
            reads.setdefault(os.fsdecode(key))
        return get(self, key)

    def __iter__(self):
        if self is os.environ or self is os.environb:
            looks_through.add(caller("os", "_collections_abc"))
        return iterate(self)

    kind.__getitem__, kind.__iter__ = __getitem__, __iter__

    def stop():
        kind.__getitem__, kind.__iter__ = get, iterate

    return stop


def wipe_environment():
    """The values that Python was started with; a restored process gets its own."""
    data = os.environ._data
    while data:
        value = data.popitem()[1]
        if len(value) > 1 and sys.getrefcount(value) <= 2:
            wipe(value)


# ---- randomness --------------------------------------------------------------------------


def caller(*through):
    """The name of the module whose code is at work, but for the driver's and those that only pass a call on."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if frame.f_globals is not globals() and name not in through:
            if not (isinstance(name, str) and name.startswith("importlib._bootstrap")):
                return str(name)
            # an extension module, which has no frame, is being made or executed
            spec = frame.f_locals.get("spec") or getattr(frame.f_locals.get("module"), "__spec__", None)
            if spec is not None:
                return spec.name
        frame = frame.f_back
    return "?"


def watch_draws():
    """Counts the calls of os.urandom, os.getrandom and ssl.RAND_bytes by module, until the returned function is called.

    What was made of them is the same in every start. The draws of the modules that
    start.py sets anew are no concern; nor are C code's own, which seed generators.
    """
    import posix

    replaced = []  # ours and stock's

    def told():
        name = caller("random", "secrets", "uuid", "os")
        if name.partition(".")[0] not in ("tempfile", "multiprocessing") and not name.startswith("numpy.random"):
            draws[name] = draws.get(name, 0) + 1

    def count(names, *places):
        for name in names:
            stock = getattr(places[0], name, None)
            if stock is not None:
                replaced.append((counted(name, stock, told), stock))
                for place in places:
                    setattr(place, name, replaced[-1][0])

    def made(module):
        if getattr(module, "__name__", None) == "_ssl":
            count(("RAND_bytes", "RAND_pseudo_bytes"), module)

    count(("urandom", "getrandom"), posix, os)
    if "_ssl" in sys.modules:
        made(sys.modules["_ssl"])
    # by its name a part of importlib: tracebacks and warnings leave it out
    names = {"__name__": "importlib._bootstrap_external", "made": made}
    exec(compile_source(b"def exec_module(self, module):\n stock(self, module)\n made(module)\n", "<frozen importlib._bootstrap_external>", 0x100), names)
    kind = external.ExtensionFileLoader
    names["stock"] = kind.exec_module
    kind.exec_module = names["exec_module"]

    def stop():
        kind.exec_module = names["stock"]
        for ours, stock in replaced:
            # modules have it under names of their own: from os import urandom as _urandom
            for holder in gc.get_referrers(ours):
                if type(holder) is dict:
                    for key in [key for key, value in holder.items() if value is ours]:
                        holder[key] = stock

    return stop


def watch_seeds():
    """Notes whether random's own generator is seeded by the program, until the returned function is called.

    A program that calls random.seed(1) while it is imported expects the same draws in
    each start. Random.seed gets other code for the time being, and stays the same
    function; that random has been imported is learnt from what it asks of os.
    """
    register = os.register_at_fork
    undo = [lambda: setattr(os, "register_at_fork", register)]

    def watch(module):
        seed = module.Random.__dict__.get("seed")
        code = getattr(seed, "__code__", None)
        if code is None or code.co_freevars != ("__class__",) or code.co_varnames[:3] != ("self", "a", "version"):
            return
        stock = type(seed)(code, seed.__globals__, seed.__name__, seed.__defaults__, seed.__closure__)

        def noting(self, a, version):
            if self is module._inst:
                state["seeded"] = a is not None
            return stock(self, a, version)

        names = {}
        exec("class Random:\n def seed(self, a=None, version=2):\n  __class__\n  return __pycds_seed__(self, a, version)\n", names)
        builtins.__pycds_seed__ = noting
        seed.__code__ = names["Random"].seed.__code__
        undo.append(lambda: (setattr(seed, "__code__", code), builtins.__dict__.pop("__pycds_seed__")))

    def register_at_fork(**hooks):
        register(**hooks)
        module = sys.modules.get("random")
        if module is not None and getattr(hooks.get("after_in_child"), "__self__", None) is module.__dict__.get("_inst", undo):
            watch(module)

    os.register_at_fork = register_at_fork
    if "random" in sys.modules:
        watch(sys.modules["random"])

    def stop():
        for step in undo:
            step()

    return stop


def seeded_generators():
    """Names of the global generators that the program has seeded; their states, for start.py, are in ``state``."""
    random = sys.modules.get("random")
    numpy = sys.modules.get("numpy.random")
    if state.get("seeded"):
        state["random"] = random.getstate()
    # seeding by hand drops the sequence that the generator was seeded with when it was made
    generator = getattr(getattr(getattr(numpy, "mtrand", None), "_rand", None), "_bit_generator", None)
    state["numpy"] = generator is not None and getattr(generator, "seed_seq", generator) is None
    state["mersenne"] = None if numpy is None or state["numpy"] else mersenne_of(numpy, generator)
    return [name for name, yes in (("random", "random" in state), ("numpy.random", state["numpy"])) if yes]


def mersenne_of(numpy, generator):
    """The capsule of numpy's global generator, if its state lies as it is known to; numpy.seed() takes half a millisecond."""
    try:
        numpy.seed()  # nothing is left of what imports drew
        key = generator.state["state"]["key"]
        return generator.capsule if key.tobytes() == mersenne(generator.capsule) else None
    except Exception:
        return None


def find_generators():
    """Random generators that were made while importing: every restored process would begin with the same state."""
    found = []
    random = sys.modules.get("random")
    numpy = sys.modules.get("numpy.random")
    kinds = []
    known = set()
    if random is not None:
        kinds.append(random.Random)
        known.add(id(random._inst))
    if numpy is not None:
        kinds += [one for one in (getattr(numpy, "Generator", None), getattr(numpy, "RandomState", None)) if one is not None]
        known.add(id(getattr(numpy.mtrand, "_rand", None)))
    if not kinds:
        return found
    kinds = tuple(kinds)
    system = getattr(random, "SystemRandom", ())  # types, not isinstance: that would run __class__ of lazy objects
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if not isinstance(names, dict):
            continue
        for name, value in list(names.items()):
            if issubclass(type(value), kinds) and not issubclass(type(value), system) and id(value) not in known:
                known.add(id(value))
                found.append("%s.%s" % (getattr(module, "__name__", "?"), name))
    # those that no module names: in instances, closures and containers
    others = sum(1 for one in gc.get_objects() if issubclass(type(one), kinds) and not issubclass(type(one), system) and id(one) not in known)
    if others:
        found.append("%d more in objects" % others)
    return found


# ---- while the parked process is read -----------------------------------------------------


def measure():
    """Bytes of Python objects by module: each counts for the first, in order of import, that it can be reached from.

    Runs in the waiting parent, whose heap is the parked child's. Memory of C libraries
    is nobody's.
    """
    modules = [(name, module) for name, module in list(sys.modules.items()) if isinstance(getattr(module, "__dict__", None), dict)]
    seen = {id(globals()), id(state), id(sys.modules)}
    for _, module in modules:
        seen.update((id(module), id(module.__dict__)))
    sizes = {}
    size_of, referents_of = sys.getsizeof, gc.get_referents
    for name, module in modules:
        total = 0
        found = [module.__dict__]
        while found:
            for one in found:
                try:
                    total += size_of(one)
                except Exception:
                    pass  # an object whose own __sizeof__ fails
            following = []
            for one in referents_of(*found):
                if id(one) not in seen:
                    seen.add(id(one))
                    following.append(one)
            found = following
        if total:
            sizes[name] = sizes.get(name, 0) + total
    with open(request["work"] + "/sizes.tmp", "wb") as file:
        file.write(to_json(sizes).encode())
    os.rename(request["work"] + "/sizes.tmp", request["work"] + "/sizes.json")
