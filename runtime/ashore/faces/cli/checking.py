"""`ashore check`: files of steps and pipelines, checked without running them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ashore.checks import NOTE, PROBLEM, Checked, Problem, check_file
from ashore.faces.cli.session import Session, session_of
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.terminal import DIM, GREEN, RED, YELLOW, printable
from ashore.faces.cli.texts import plural
from ashore_stores.system import system_ports


def check(settings: Settings, files: Sequence[str]) -> int:
    """Check files; the exit code says whether a problem was found."""
    with session_of(settings) as session:
        disk = system_ports().disk
        checked = [check_file(file, disk) for file in files]
        for one in checked:
            _tell(session, one)
    return FAILED if any(problem.level == PROBLEM for one in checked for problem in one.problems) else DONE


def _tell(session: Session, one: Checked) -> None:
    problems = [problem for problem in one.problems if problem.level == PROBLEM]
    if session.settings.json:
        record = {"file": one.file, "steps": one.steps, "pipelines": one.pipelines, "well": not problems}
        session.terminal.record(record | {"problems": [problem._asdict() for problem in one.problems]})
        return
    for problem in one.problems:
        _line(session, problem)
    notes = len(one.problems) - len(problems)
    counted = ", ".join([plural(one.steps, "step"), plural(one.pipelines, "pipeline")])
    verdict = plural(len(problems), "problem") if problems else "no problem"
    noted = f", {plural(notes, 'note')}" if notes else ""
    session.terminal.say(f"{one.file}: {counted}: {verdict}{noted}", RED if problems else GREEN)


def _line(session: Session, problem: Problem) -> None:
    terminal = session.terminal
    level = terminal.painted(problem.level, YELLOW if problem.level == NOTE else RED)
    terminal.painted_result(f"{printable(_near(problem.where))}: {level}: {printable(problem.what)}")
    if problem.mend:
        terminal.painted_result(f"    {terminal.painted(printable(problem.mend), DIM)}")


def _near(where: str) -> str:
    """A place as seen from the working directory, if it lies below it."""
    return where.removeprefix(f"{os.getcwd()}/")
