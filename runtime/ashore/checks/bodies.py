"""Calls of steps and pipelines as a function's source writes them, in whichever branch: names and numbers of their arguments.

Only what is certain counts: a name that stands for a step or a pipeline wherever the function is called.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from ashore.checks.problems import PROBLEM, Problem
from ashore.errors import did_you_mean
from ashore.works import Step, Work

_OPTIONS: Final = "options"


def problems_in_body(work: Work[Any, Any]) -> Iterator[Problem]:
    """What is wrong with the calls in a pipeline's body; and calls in a step's, which are wrong altogether."""
    tree = _source_of(work)
    if tree is None:
        return
    names = _Names(work, tree)
    for node in ast.walk(tree):
        called = names.work(node.func) if isinstance(node, ast.Call) else None
        if called is None or not isinstance(node, ast.Call):
            continue
        where = f"{work.file}:{work.line + node.lineno - 1}"
        if isinstance(work, Step):
            what = f"{called.name} is called inside the step {work.name}"
            mend = f"Write {called.name}.fn(...), the plain function, or make the call in a pipeline"
            yield Problem(PROBLEM, where, what, mend, work.name)
        elif (problem := _problem(called, node)) is not None:
            yield Problem(PROBLEM, where, *problem, work.name)


def _source_of(work: Work[Any, Any]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function's tree, its lines counted from the first decorator; None if there is no source."""
    try:
        lines, _ = inspect.getsourcelines(work.fn)
        (function,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return function if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else None


class _Names:
    """What the names of a function stand for, where it does not bind them itself."""

    def __init__(self, work: Work[Any, Any], tree: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        fn: Any = work.definition.fn
        self._globals: dict[str, Any] = fn.__globals__
        self._closed = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        self._own = _bound_in(tree)

    def work(self, node: ast.expr) -> Work[Any, Any] | None:
        """The step or pipeline that is called by this expression, if that is certain."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == _OPTIONS:
            return self.work(node.func.value)  # fit.options(...)(...)
        found = self._value(node)
        return found if isinstance(found, Work) and not found.is_method else None

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return None if node.id in self._own else self._named(node.id)
        if isinstance(node, ast.Attribute):
            place = self._value(node.value)
            return vars(place).get(node.attr) if isinstance(place, ModuleType) else None
        return None

    def _named(self, name: str) -> Any:
        if name not in self._closed:
            return self._globals.get(name)
        try:
            return self._closed[name].cell_contents
        except ValueError:  # not bound yet
            return None


def _bound_in(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Every name that is bound anywhere in the function: by assignment, import, definition, or as a parameter."""
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node is not tree:
            bound.add(node.name)
    return bound


def _problem(called: Work[Any, Any], node: ast.Call) -> tuple[str, str] | None:
    """What is wrong with a call, and the mend; of one with * or ** only what is wrong whatever they stand for."""
    names = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
    is_open = len(names) < len(node.keywords) or any(isinstance(argument, ast.Starred) for argument in node.args)
    if not is_open:
        return called.definition.binder.problem(node.args, dict.fromkeys(names))
    known = {parameter.name for parameter in called.parameters}
    if any(parameter.kind is parameter.kind.VAR_KEYWORD for parameter in called.parameters):
        return None
    unknown = next((name for name in names if name not in known), None)
    return (f"{called.name} has no parameter `{unknown}`", did_you_mean(unknown, known)) if unknown else None
