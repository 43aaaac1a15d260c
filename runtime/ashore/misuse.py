"""A handle is not its value: every use of one as a value raises `NotAValue`, which says what to do instead.

The refusals are put on the class at run time only. Type checkers must not see them, so that they report the same mistakes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from ashore.errors import NotAValue, user_frame

_SIGNS: Final = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "divmod": "divmod(...)",
}  # fmt: skip
"""Operators that also have a reflected and an in-place form."""

_USES: Final = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "neg": "-", "pos": "+", "abs": "abs(...)", "invert": "~", "int": "int(...)",
    "float": "float(...)", "complex": "complex(...)", "index": "a place for numbers", "round": "round(...)",
    "trunc": "math.trunc(...)", "floor": "math.floor(...)", "ceil": "math.ceil(...)", "bytes": "bytes(...)", "contains": "in",
    "reversed": "reversed(...)", "setitem": "[...] = ...", "delitem": "del ...[...]", "format": "a formatted text",
    "fspath": "a place for paths", "array": "an array's construction",
}  # fmt: skip


def refusal(shown: str, use: str) -> NotAValue:
    """The error for a handle (shown as its call) that is used as a value."""
    frame = user_frame()
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
    what = f"{shown} is a handle, not its value: it cannot be {use}{_in_function(frame)}"
    mend = "Pass it to a step (code that looks at values goes into a function with @step); in an `async def`, await it first"
    return NotAValue(what, where=where, mend=mend)


def _in_function(frame: FrameType | None) -> str:
    name = frame.f_code.co_name if frame else "<module>"
    return "" if name.startswith("<") else f" (in {name}; if that should be a step, it lacks its @step)"


def _refuser(use: str) -> Callable[..., Any]:
    def refuse(handle: Any, *args: Any, **kwargs: Any) -> Any:
        raise refusal(repr(handle), use)

    return refuse


def _bool(handle: Any) -> bool:
    """asyncio asks whether a task has a coroutine; nobody else may ask."""
    asker = str(sys._getframe(1).f_globals.get("__name__", ""))
    if asker == "asyncio" or asker.startswith("asyncio."):
        return True
    raise refusal(repr(handle), "asked whether it is true")


def refuse_misuse(handle_class: type[Any]) -> None:
    """Make every operator and protocol that only a value has raise `NotAValue`."""
    uses = dict(_USES)
    for name, sign in _SIGNS.items():
        uses[name] = uses[f"r{name}"] = uses[f"i{name}"] = sign
    for name, use in uses.items():
        setattr(handle_class, f"__{name}__", _refuser(f"used in {use}" if " " in use else f"used with {use}"))

    def equal(handle: Any, other: object) -> bool:
        if isinstance(other, handle_class):
            return handle is other
        raise refusal(repr(handle), "compared with a value")

    def not_equal(handle: Any, other: object) -> bool:
        return not equal(handle, other)

    special = {"__eq__": equal, "__ne__": not_equal, "__hash__": object.__hash__, "__bool__": _bool}
    for name, method in special.items():
        setattr(handle_class, name, method)
