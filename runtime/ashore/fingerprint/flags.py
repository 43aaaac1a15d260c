"""What of Python itself cannot be followed: code that is made or found while it runs, the environment, state outside of Python."""

from __future__ import annotations

import os
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from ashore.fingerprint.reading import Read


class Flag(NamedTuple):
    """Why something is not followed, and what to do."""

    what: str
    mend: str


_EXTRA: Final = "Write the names out, or list what it can reach: @step(cache=Cache(extra=[...]))"
_MADE: Final = "Write the code out as a function, or list what it depends on: @step(cache=Cache(extra=[...]))"
_CHANCE: Final = "Make the generator inside the step from a seed that is a parameter"

_FLAGS: Final[dict[str, Flag]] = {
    **dict.fromkeys(("eval", "exec", "compile"), Flag("{name}(...) runs code that is made while it runs", _MADE)),
    **dict.fromkeys(
        ("__import__", "importlib.import_module", "importlib.__import__", "importlib.reload", "runpy.run_path", "runpy.run_module"),
        Flag(
            "{name}(...) imports what is named while it runs", "Import it by name, or list it: @step(cache=Cache(extra=[module]))"
        ),
    ),
    "sys.modules": Flag("{name} finds modules by a name that is made while it runs", _EXTRA),
    **dict.fromkeys(("globals", "locals", "vars"), Flag("{name}() reaches names that are not written out", _EXTRA)),
    "getattr": Flag("getattr(...) asks for a name that is made while it runs", _EXTRA),
    "operator.attrgetter": Flag("operator.attrgetter(...) asks for attributes by name", _EXTRA),
    **dict.fromkeys(
        ("os.environ", "os.getenv", "os.environb", "os.getenvb"),
        Flag("{name} reads the environment", 'Name what it reads: @step(cache=Cache(env=["{constant}"]))'),
    ),
    "__file__": Flag("__file__ leads to files beside the code", 'Name the files that it reads: @step(cache=Cache(files=["..."]))'),
    **dict.fromkeys(
        ("open", "io.open"),
        Flag("open({constant!r}) reads a file", 'Pass it as a File, or name it: @step(cache=Cache(files=["{constant}"]))'),
    ),
}
_CHANCE_FLAG: Final = Flag("{name} has state of its own, outside of any value that is passed", _CHANCE)
_FOREIGN_FLAG: Final = Flag("{name} calls a library outside of Python", "Name its file: @step(cache=Cache(files=[...]))")
_ENVIRON: Final = type(os.environ)


def flag_of(value: Any, read: Read, module: ModuleType | None) -> Flag | None:
    """Why what was read cannot be followed, if so; `module` is the module of Python's that it was read from."""
    if read.name == "__file__" and read.kind == "global":
        return _filled("__file__", read)
    if isinstance(value, _ENVIRON):
        return _filled("os.environ", read)
    if value is sys.modules:
        return _filled("sys.modules", read)
    if not isinstance(value, type | FunctionType | BuiltinFunctionType):
        return None
    home = value.__module__ or (module.__name__ if module is not None else "")
    name = value.__name__
    if home == "random" or type(getattr(value, "__self__", None)).__module__ == "random":
        return None if isinstance(value, type) else _shown(_CHANCE_FLAG, f"random.{name}", read)
    if home.partition(".")[0] in ("ctypes", "_ctypes", "cffi"):
        return _shown(_FOREIGN_FLAG, read.dotted, read)
    return _filled(name if home == "builtins" else f"{home}.{name}", read)


def _filled(name: str, read: Read) -> Flag | None:
    flag = _FLAGS.get(name) or _FLAGS.get(name.replace("_io.", "").replace("io.", ""))
    if flag is None or _is_clear(name, read):
        return None
    return _shown(flag, name, read)


def _is_clear(name: str, read: Read) -> bool:
    """Whether a constant tells what is asked for; opening a file that is named by an argument is no business of the code."""
    if name == "getattr":
        return read.constant is not None
    return name in ("open", "io.open", "_io.open") and read.constant is None


def _shown(flag: Flag, name: str, read: Read) -> Flag:
    constant = read.constant or "NAME"
    return Flag(flag.what.format(name=name, constant=constant), flag.mend.format(name=name, constant=constant))
