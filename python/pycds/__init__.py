"""PyCDS in a running Python: what it does in this process, and a switch to stop it.

PyCDS serves imports from a memory-mapped code archive. It is activated by
``pycds run``, or at every start of an environment that ``pycds install`` was
run for, never by importing this package: that is free of side effects, and
works in any Python, with PyCDS active or not.
"""

import sys

__all__ = ["__version__", "disable", "status"]

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
