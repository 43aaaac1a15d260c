"""Fakes in the place of steps, for one runtime: `Runtime(MemoryStack(), replace={charge: fake})`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ashore.definitions import Definition
from ashore.errors import WrongArgument, user_line
from ashore.supplies import supplies_of
from ashore.works import Step, Work

Replacements: TypeAlias = Mapping[Definition, Step[Any, Any]]
"""By definition, so that a method or a call with options finds its own, too."""


def replacements(asked: Mapping[Any, Callable[..., Any]]) -> Replacements:
    """What stands for which step. Raises `WrongArgument` for what is no step, or a fake that cannot be called as the step is."""
    found: dict[Definition, Step[Any, Any]] = {}
    for work, fake in asked.items():
        if not isinstance(work, Step):
            what = f"replace={{...}} takes steps to replace, and got {work!r}"
            raise WrongArgument(what, where=user_line(), mend="Write replace={charge: fake}, with the step itself")
        found[work.definition] = _replaced(work, fake.fn if isinstance(fake, Work) else fake)
    return found


def _replaced(work: Step[Any, Any], fake: Callable[..., Any]) -> Step[Any, Any]:
    """A step that looks as `work` does to its callers, and runs `fake`: the code is the fake's, and so are the results."""
    original = work.definition
    _ = original.parameters, original.outputs  # what they promise stays that of the original: read before they are copied
    definition = copy.copy(original)
    code = getattr(fake, "__code__", None)
    if code is None:
        what = f"what replaces {work.name} is {fake!r}, which is no Python function"
        raise WrongArgument(what, where=user_line(), mend="Give a function, a lambda or a method")
    where = f"{code.co_filename}:{code.co_firstlineno}"
    definition.fn = fake
    definition.file, definition.line = code.co_filename, code.co_firstlineno
    definition.is_async = inspect.iscoroutinefunction(fake)
    definition.supplied = supplies_of(fake, work.name, where, {})
    _check_fits(work, definition, where)
    return Step(definition, original.options)


def _check_fits(work: Step[Any, Any], definition: Definition, where: str) -> None:
    positional: list[None] = []
    named = {supply.parameter: None for supply in definition.supplied}
    for parameter in work.parameters:
        if parameter.kind is parameter.kind.POSITIONAL_ONLY or (
            parameter.kind is parameter.kind.POSITIONAL_OR_KEYWORD and not work.is_simple
        ):
            positional.append(None)
        elif parameter.kind not in (parameter.kind.VAR_POSITIONAL, parameter.kind.VAR_KEYWORD):
            named[parameter.name] = None
    try:
        inspect.signature(definition.fn).bind(*positional, **named)
    except TypeError as error:
        what = f"what replaces {work.name} cannot be called as {work.name}{work.definition.binder.shown()} is: {error}"
        raise WrongArgument(what, where=where, mend="Give it the same parameters, by the same names") from error
