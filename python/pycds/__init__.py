"""PyCDS in a running Python: what it does in this process, and a switch to stop it.

PyCDS serves imports from a memory-mapped code archive. It is activated by
``pycds run``, or at every start of an environment that ``pycds install`` was
run for, never by importing this package: that is free of side effects, and
works in any Python, with PyCDS active or not.

For warm images (``pycds warm``) a program can say where it is to be parked, and
what to do before and after: ``park``, ``register_before_snapshot`` and
``register_after_restore``. Outside of one they do nothing, or are never called.
"""

import sys

__all__ = ["__version__", "disable", "fast_exit", "park", "register_after_restore", "register_before_snapshot", "status"]

__version__ = "0.1.0"


def status() -> "dict[str, object]":
    """Tell what PyCDS does in this process.

    The key ``active`` is always there: true when imports are served from an
    archive. When it is false, ``reason`` says why. An active runtime adds what
    it knows, such as the archive's path and its counts of hits and misses.
    """
    runtime = sys.modules.get("_pycds")
    if runtime is None:
        return {
            "active": False,
            "reason": "the runtime is not loaded in this process; start it with "
            "`pycds run`, or run `pycds install` for this environment",
        }
    return runtime.status()


def disable() -> bool:
    """Import the stock way from now on; true if PyCDS was active until now.

    Modules that are imported already stay as they are. There is no way back
    within the process.
    """
    runtime = sys.modules.get("_pycds")
    return False if runtime is None else runtime.disable()


def fast_exit() -> bool:
    """End this process without taking its modules apart; true if it will.

    Exit functions run, threads are joined, every open file is flushed and the
    exit status is as ever; ``__del__`` methods of what only imported modules
    hold are not called. The same as the environment variable ``PYCDS_EXIT=fast``.
    """
    runtime = sys.modules.get("_pycds")
    return False if runtime is None else runtime.fast_exit()


_before_snapshot: "list[tuple]" = []
_after_restore: "list[tuple]" = []


def register_before_snapshot(function, *arguments, **keywords):
    """Have ``function`` called before the process is parked; the last registered first.

    What must not be in an image goes here: close connections and files, stop
    threads, forget credentials. Returns ``function``, so it works as a decorator.
    The name is that of AWS Lambda SnapStart's hook.
    """
    _before_snapshot.append((function, arguments, keywords))
    return function


def register_after_restore(function, *arguments, **keywords):
    """Have ``function`` called first in every restored process, in order of registration.

    The environment, the arguments and the standard streams are those of the new
    start by then. Returns ``function``.
    """
    _after_restore.append((function, arguments, keywords))
    return function


def park() -> None:
    """Be parked here, if ``pycds warm create --park`` runs this program; else nothing.

    Every start of the image returns from this call.
    """
    parking = sys.modules["builtins"].__dict__.get("__pycds_park__")
    if parking is not None:
        parking()
