"""A file's steps and pipelines, checked without running one of them.

Importing the file checks its decorators and options. Then each `def` pipeline is wired, with its defaults, or with stand-ins where
it has none; every call that a body writes is looked at where it stands, whichever branch it is in; and so is what has to be
recorded: defaults, and the types that steps give.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from ashore.checks.bodies import problems_in_body
from ashore.checks.problems import PROBLEM, Problem, line_in, of_error
from ashore.checks.recording import problems_of_defaults, problems_of_types
from ashore.checks.wiring import problems_of_wiring
from ashore.errors import AshoreError, GraphError, TargetError
from ashore.home import project_root
from ashore.targets import load_module, works_in
from ashore.triggers.scan import BadPattern, parse_pattern
from ashore.works import Pipeline, Step, Work
from ashore_stores.ports import Disk


class Checked(NamedTuple):
    """A file that was checked."""

    file: str
    steps: int
    pipelines: int
    problems: list[Problem]


def check_file(path: str, disk: Disk) -> Checked:
    """Import a file, by path or as a module's name, and check what it defines. Raises `TargetError` if there is none."""
    try:
        module = load_module(path)
    except TargetError:
        raise
    except BaseException as error:  # a file may raise anything, SystemExit too, when it is imported
        if isinstance(error, KeyboardInterrupt):
            raise
        return Checked(path, 0, 0, [_not_imported(path, error)])
    works = works_in(module)
    problems = [problem for work in works for problem in _problems_of(work, disk)]
    problems += _doubles(works)
    pipelines = sum(isinstance(work, Pipeline) for work in works)
    return Checked(path, len(works) - pipelines, pipelines, _distinct(problems))


def _not_imported(path: str, error: BaseException) -> Problem:
    file = os.path.abspath(path)
    if isinstance(error, AshoreError):
        return of_error(error, line_in(file, error.__traceback__) or path, "")
    where = line_in(file, error.__traceback__) or path
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Problem(PROBLEM, where, f"the file cannot be imported: {told}", "See it with --traceback by `ashore run`", "")


def _problems_of(work: Work[Any, Any], disk: Disk) -> Iterator[Problem]:
    where = f"{work.file}:{work.line}"
    try:
        _ = work.parameters, work.returns, work.outputs
    except GraphError as error:
        yield of_error(error, where, work.name)
        return
    yield from problems_of_defaults(work, where)
    yield from problems_in_body(work)
    if isinstance(work, Step):
        yield from problems_of_types(work, where)
    elif isinstance(work, Pipeline):
        yield from _problems_of_trigger(work, where, disk)
        yield from problems_of_wiring(work, where)


def _problems_of_trigger(work: Pipeline[Any, Any], where: str, disk: Disk) -> Iterator[Problem]:
    trigger = work.options.on
    if trigger is not None:
        try:
            parse_pattern(trigger.pattern, project_root(disk, os.path.dirname(work.file)))
        except BadPattern as error:
            yield Problem(PROBLEM, where, f"the trigger of {work.name} cannot be watched: {error}", "", work.name)


def _doubles(works: list[Step[Any, Any] | Pipeline[Any, Any]]) -> Iterator[Problem]:
    seen: dict[str, Work[Any, Any]] = {}
    for work in sorted(works, key=lambda work: work.line):
        first = seen.setdefault(work.name, work)
        if first.definition is not work.definition:
            what = f"two of this file are called {work.name}, the other at {first.file}:{first.line}"
            yield Problem(PROBLEM, f"{work.file}:{work.line}", what, "Rename one: runs are found by name", work.name)


def _distinct(problems: list[Problem]) -> list[Problem]:
    """Each once, though the graph and the look at the body both found it; in the order of the file."""
    found: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        found.setdefault((problem.where, problem.what), problem)
    return sorted(found.values(), key=lambda problem: (_line(problem.where), problem.what))


def _line(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return file, int(line) if line.isdecimal() else 0
