"""Asks importlib what it would do: for each source on stdin, the .pyc it uses, or None for "compiles"."""
import importlib._bootstrap_external as external
import json
import sys


def ask(path):
    used = []

    class Loader(external.SourceFileLoader):
        def get_data(self, name):
            used.append(name)
            return super().get_data(name)

        def source_to_code(self, data, path, *more, **options):  # 3.15 gives the module's name too
            return "compiled"

        def set_data(self, path, data, **options):
            pass

    loader = Loader("m", path)
    marker = object()
    original = external._compile_bytecode
    external._compile_bytecode = lambda data, name=None, bytecode_path=None, source_path=None: (marker, bytecode_path)
    write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        code = loader.get_code("m")
    except OSError:
        return {"gone": True}
    finally:
        external._compile_bytecode = original
        sys.dont_write_bytecode = write
    return {"pyc": code[1] if isinstance(code, tuple) else None}


paths = json.load(sys.stdin)
json.dump([ask(path) for path in paths], sys.stdout)
