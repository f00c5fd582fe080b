"""What runs last in each restored process; the driver's third part (build.py)."""

# ---- the end ----------------------------------------------------------------------------


def report(error, value, message_13="", message_14=""):
    """To be reported as unraisable: with a message where finalization has one in this version, else with the object."""
    message = message_14 if sys.version_info >= (3, 14) else message_13 if sys.version_info >= (3, 13) else ""
    state["unraisable"].append((error, value, message))


def flush_streams(status):
    """Python/pylifecycle.c, flush_std_files."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException as error:
            status = 120
            if name == "stdout":
                report(error.with_traceback(None), stream, "Exception ignored on flushing sys.stdout", "Exception ignored while flushing sys.stdout")
    return status


def is_file(value, base=io.IOBase.__base__):
    # isinstance would run __class__ of lazy objects; io.IOBase itself is an ABC, which asks far more pages
    return issubclass(type(value), base)


identity = object.__hash__  # by address, as id(), which raises an audit event


def standard_files():
    """Identities of sys.__stdin__ and its like, and of what they are made of."""
    found = set()
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        for attribute in ("buffer", "raw", None):
            found.add(identity(stream))
            stream = getattr(stream, attribute, None) if attribute else None
    return found


def finalise_files():
    """Closes every open file as its deallocator would (Modules/_io/iobase.c, iobase_finalize).

    A file that wraps another goes before it, since it may still have something to
    write; among others, the older first. Those that were there before the park are
    frozen, hence not in the collector's lists: state["files"] has them.
    """
    standard = standard_files()
    files = [one for one in (reference() for reference in state["files"]) if one is not None]
    for generation in (2, 1, 0):
        files += [one for one in gc.get_objects(generation) if is_file(one)]
    files = [one for one in files if identity(one) not in standard]
    places = {identity(one): place for place, one in enumerate(files)}
    inner = []
    wrapped = [0] * len(files)
    for place, one in enumerate(files):
        referents = gc.get_referents(one)
        for each in [each for each in referents if type(each) is dict]:
            referents += each.values()
        inside = {places[identity(each)] for each in referents if identity(each) in places} - {place}
        inner.append(inside)
        for each in inside:
            wrapped[each] += 1
    left = list(range(len(files)))
    while left:
        place = next((one for one in left if wrapped[one] == 0), left[0])
        left.remove(place)
        for each in inner[place]:
            wrapped[each] -= 1
        method = getattr(type(files[place]), "__del__", None)
        try:
            if method is not None:
                method(files[place])
        except BaseException as error:
            report(error.with_traceback(error.__traceback__.tb_next), method, "", "Exception ignored while calling deallocator %r" % (method,))
    kept.extend(files)  # finalised once: not again when they are deallocated


def stop_training():
    """All pages that a start writes to are written: the command line looks at them, and ends this process."""
    with open(state["train"], "wb"):
        pass
    os.kill(os.getpid(), 19)  # SIGSTOP


def finish(status):
    """What Py_FinalizeEx does that can be seen, but for the teardown of imported modules.

    A tuple: the mode, the exit status, and what is to be reported as unraisable, which
    is done where no frame of ours is.
    """
    mode = request["exit"]
    main = sys.modules.get("__main__")
    names = getattr(main, "__dict__", {})
    if state["script"]:
        names.pop("__file__", None)
        names.pop("__cached__", None)
    if mode == "exact":
        if "train" in state:
            stop_training()
        return (mode, status, [])
    threading = sys.modules.get("threading")
    if threading is not None:
        try:
            threading._shutdown()
        except BaseException as error:
            report(error, threading, "Exception ignored on threading shutdown", "Exception ignored on threading shutdown")
    if len(sys._current_frames()) > 1:
        # daemon threads go on until finalization stops them: they must not see what follows
        gc.unfreeze()
        return ("exact", status, state["unraisable"])
    if "train" not in state:  # what the imports' own functions do is for the program's end
        atexit._run_exitfuncs()
    flushed = flush_streams(status)
    gc.collect()
    # Objects/moduleobject.c, _PyModule_ClearDict
    for single in (True, False):
        for key in list(names):
            if isinstance(key, str) and key != "__builtins__" and (key.startswith("_") and not key.startswith("__")) == single:
                names[key] = None
    gc.collect()
    try:
        finalise_files()
    except BaseException:
        pass  # an audit hook of the program's refused gc.get_objects, perhaps because __main__'s names are gone
    status = flush_streams(status) if flushed == status else flushed
    if "train" in state:
        stop_training()
    return (mode, status, state["unraisable"])
