"""What the daemon says about a run: counted from its events, safe on a terminal."""

from __future__ import annotations

from io import StringIO

import pytest

from ashore.errors import GraphError, TargetError
from ashore.events import (
    ArrivalRefused,
    Arrived,
    Call,
    Column,
    ElementsRan,
    Event,
    Failure,
    FileUse,
    Invoked,
    RunEnded,
    StepFailed,
    StepRan,
)
from ashore.faces.daemon.main import FAILED, NOT_FOUND, TRANSIENT, USAGE, ServedAlready, exit_code
from ashore.faces.daemon.progress import Progress
from ashore.faces.daemon.talk import Talk, printable
from ashore.ids import NO_KEY, CodeId, InvocationId, RunId
from ashore_stores.errors import Corrupt, Full, NewerFormat, ReadOnly, Unavailable

RUN = RunId("0123456789abcdef0123")
READ, FIT = InvocationId(b"r" * 16), InvocationId(b"f" * 16)
BAD = Failure(("builtins:ValueError", "builtins:Exception"), "no number: 'x'\nin line 3", "", where="flights.py:7")


def progress_of(*events: Event) -> Progress:
    progress = Progress()
    calls = (Call(READ, "read", CodeId(b""), fan=True), Call(FIT, "fit", CodeId(b"")))
    for event in (Invoked(RUN, calls), *events):
        progress.receive(event)
    return progress


def elements(*indices: int, reused: int = 0, failed: tuple[int, ...] = (), files: tuple[FileUse, ...] = ()) -> ElementsRan:
    return ElementsRan(
        RUN,
        READ,
        indices,
        b"",
        (Column("value/1", "int", b"", (), ()),),
        failed=tuple((index, BAD) for index in failed),
        reused=tuple((index, RUN) for index in indices[:reused]),
        files=files,
    )


def said(progress: Progress) -> list[str]:
    stream = StringIO()
    Talk(stream).ended(RUN, "grow", progress, 1.26)
    return stream.getvalue().splitlines()


def test_elements_count_one_by_one_and_what_failed_is_named_by_its_file() -> None:
    file = FileUse("file[3]", "inbox/bad.csv", 1, 1, b"")
    progress = progress_of(
        elements(0, 1, 2, reused=2, failed=(3,), files=(file,)),
        StepRan(RUN, READ, NO_KEY, (), 0.0, 0.0, 0.0, elements=4, skipped=1),
        StepRan(RUN, FIT, NO_KEY, (), 0.0, 0.0, 0.0),
        RunEnded(RUN, "done", 0.0),
    )
    assert (progress.settled, progress.steps) == (2, 2)
    assert said(progress) == [
        "run 01234567 grow left out inbox/bad.csv: ValueError: no number: 'x' (flights.py:7)",
        "run 01234567 grow done in 1.3 s: 2 fresh, 2 cached, 1 left out",
    ]


def test_a_failure_is_told_with_its_step_and_place() -> None:
    progress = progress_of(StepFailed(RUN, FIT, BAD, 0.0, 0.0, 0.0), RunEnded(RUN, "failed", 0.0))
    assert said(progress) == [
        "run 01234567 grow failed in fit: ValueError: no number: 'x' (flights.py:7)",
        "run 01234567 grow failed in 1.3 s: 0 fresh, 0 cached, 1 failed",
    ]


def test_a_name_cannot_command_the_terminal() -> None:
    stream = StringIO()
    talk = Talk(stream)
    talk.arrived(Arrived("inbox/*", "inbox/\x1b[31m\n%FF.csv", 2, 1234, 0, b"", 0.0))
    talk.refused(ArrivalRefused("inbox/*", "inbox/größe two.csv", "a folder", 0.0))
    assert stream.getvalue().splitlines() == [
        "arrived inbox/\\x1b[31m\\n\\udcff.csv (1,234 bytes, version 2)",
        "refused inbox/größe two.csv: a folder",
    ]
    assert printable("plain größe, 100%") == "plain größe, 100%"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetError("no such file"), NOT_FOUND),
        (ServedAlready("by process 7"), TRANSIENT),
        (Unavailable("not now"), TRANSIENT),
        (Full("no room"), TRANSIENT),
        (Corrupt("damaged"), FAILED),
        (ReadOnly("no permission"), USAGE),
        (NewerFormat("of a newer ashore"), USAGE),
        (GraphError("wrong"), USAGE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_service_manager_learns_whether_starting_it_again_may_help(error: Exception, code: int) -> None:
    assert exit_code(error) == code
