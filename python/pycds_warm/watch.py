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
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file and type(module) is not OwnPackage:
            found.append([name, os.path.abspath(file)])
    return found


# ---- the environment ---------------------------------------------------------------------


def watch_environment():
    """Records the names of variables that Python code reads, until the returned function is called."""
    kind = os._Environ
    stock = kind.__getitem__

    def __getitem__(self, key):
        if self is os.environ and isinstance(key, str):
            reads.setdefault(key)
        return stock(self, key)

    kind.__getitem__ = __getitem__

    def stop():
        kind.__getitem__ = stock

    return stop


# ---- randomness --------------------------------------------------------------------------


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
