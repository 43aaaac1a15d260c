"""`current()`: what a step asks of its attempt and says while it runs; checkpoints; and what it prints, taken down and shown."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import ashore
from ashore import MaterializeError, Retry, Run, Runtime, current, each, pipeline, step
from ashore.capturing import capture
from ashore.events import Event, Metric, Printed, Reported

pytestmark = pytest.mark.anyio

BOUND = 30.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Left(Exception):
    """A runtime's block is left by it: its runs stay as they are, as after a crash."""


class Notes(list[Any]):
    """What steps noted: a class of its own, so that it is no constant of a step's code."""


notes = Notes()


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    notes.clear()


@pytest.fixture
async def rt(home: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=home, grace=0.05) as opened:
        yield opened


async def events_of(run: Run[Any], *kinds: type[Event]) -> list[Any]:
    return [happened.event async for happened in run.events() if isinstance(happened.event, kinds)]


# Which attempt it is.


def about() -> tuple[str, str, int, str]:
    now = current()
    return now.run, now.step, now.attempt, now.key


@step(retry=Retry(2, wait=0))
async def asking(x: int) -> int:
    notes.append(about())
    async with anyio.create_task_group() as group:
        group.start_soon(_ask)
    if current().attempt < 3:
        raise OSError("again")
    return x


async def _ask() -> None:
    await anyio.lowlevel.checkpoint()
    notes.append(about())


@step
def asking_thread(x: int) -> int:
    notes.append(about())
    return x


@step
async def asking_plain(x: int) -> int:
    notes.append(about())
    await anyio.lowlevel.checkpoint()
    notes.append(about())
    return x


async def test_it_knows_its_run_attempt_and_key(rt: Runtime) -> None:
    run = await rt.start(asking(1))
    await run
    assert [note[:3] for note in notes] == [(run.id, "asking", attempt) for attempt in (1, 1, 2, 2, 3, 3)]
    assert len({note[3] for note in notes}) == 1, "the key is the same over attempts, and in tasks of the step"


async def test_it_knows_in_threads_and_in_steps_that_ask_for_nothing(rt: Runtime) -> None:
    @pipeline
    def several() -> Any:
        return [asking_plain(1), asking_plain(2), asking_thread(each([1, 2]))]

    run = await rt.start(several())
    await run
    assert {note[0] for note in notes} == {run.id}
    assert sorted(note[1] for note in notes) == ["asking_plain"] * 4 + ["asking_thread"] * 2
    assert len({note[3] for note in notes}) == 4


async def test_outside_a_run_it_is_a_first_attempt_that_records_nothing() -> None:
    now = current()
    assert (now.run, now.attempt, now.gpus) == ("", 1, ())
    now.metric("loss", 1.0)
    now.progress(1, 2)
    await now.checkpoint({"x": 1})
    assert now.checkpointed("none") == "none"
    assert await asking_plain.fn(3) == 3


# Numbers.


@step
def training(epochs: int) -> int:
    for epoch in range(epochs):
        current().metric("loss", 1 / (epoch + 1), step=epoch)
        current().progress(epoch + 1, epochs)
    current().metric("auc", 0.5)
    return epochs


async def test_numbers_are_recorded_in_batches_and_found_by_sql(rt: Runtime) -> None:
    run = await rt.start(training(100))
    await run
    reported = await events_of(run, Reported)
    assert len(reported) <= 3, "in batches"
    metrics: list[Metric] = [metric for event in reported for metric in event.metrics]
    assert [metric.step for metric in metrics] == [*range(100), None]
    assert reported[-1].progress == (100.0, 100.0)
    cat = await ashore.open(home=rt.stack.home.path)
    try:
        rows = [tuple(row) for row in await cat.sql("select name, at_step, value from metrics where run = ?", [run.id])]
        assert rows == [("loss", epoch, 1 / (epoch + 1)) for epoch in range(100)] + [("auc", None, 0.5)]
        past = await cat.run(run.id)
        assert past["training"].metrics == {"auc": 0.5, "loss": 0.01}
    finally:
        await cat.aclose()


# Checkpoints.


@step(retry=Retry(3, wait=0))
async def resumable(upto: int, size: int) -> int:
    done: int = len(current().checkpointed(b"")) // size
    notes.append(done)
    while done < upto:
        done += 1
        await current().checkpoint(bytes(size * done))
        if current().attempt < 3:
            raise OSError("gone")
    return done


@pytest.mark.parametrize("size", [1, 200_000], ids=["inline", "blob"])
async def test_an_attempt_goes_on_from_the_last_checkpoint(rt: Runtime, size: int) -> None:
    assert await resumable(4, size) == 4
    assert notes == [0, 1, 2]


@step
async def endless(x: int) -> str:
    before = current().last_checkpoint
    notes.append((current().attempt, before))
    if before is not None:
        return f"{x} from {before}"
    await current().checkpoint({"at": x})
    notes.append("saved")
    await anyio.sleep_forever()
    return ""


@step
def endless_thread(x: int) -> str:
    before = current().last_checkpoint
    if before is not None:
        return f"{x} from {before}"
    current().checkpoint({"at": x})
    notes.append("saved")
    with suppress(Exception):
        gate.wait(BOUND)
    return ""


class Gate:
    """Set when the test is over."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def wait(self, seconds: float) -> None:
        self.event.wait(seconds)


gate = Gate()


@pytest.mark.parametrize("made", [endless, endless_thread], ids=["async", "thread"])
async def test_a_checkpoint_survives_the_end_of_the_process(home: Path, made: Any) -> None:
    gate.__init__()  # type: ignore[misc]
    run: Run[Any] | None = None
    with anyio.fail_after(BOUND), suppress(Left):
        async with Runtime(home=home, grace=0.05) as first:
            run = await first.start(made(7), key="k")
            while "saved" not in notes:
                await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            raise Left
    assert run is not None
    async with Runtime(home=home) as second:
        again = await second.start(made(7), key="k")
        assert again.id == run.id
        with anyio.fail_after(BOUND):
            assert await again == "7 from {'at': 7}"
    gate.event.set()


async def test_what_cannot_be_kept_is_the_steps_error(rt: Runtime) -> None:
    @step
    async def keeping(x: int) -> int:
        with pytest.raises(MaterializeError):
            current().checkpoint(object())
        return x

    assert await keeping(1) == 1


# What it prints.


@step
def talking(x: int) -> int:
    print(f"out {x}")
    print(f"err {x}", file=sys.stderr)
    logging.getLogger("lib").warning("warned %s", x)
    print("end")
    return x


@step
async def chatting(x: int) -> int:
    print(f"before {x}")
    await anyio.lowlevel.checkpoint()
    print(f"after {x}")
    return x


async def test_what_is_printed_and_logged_is_kept_in_order_and_shown(rt: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    run = await rt.start(talking(1))
    await run
    logs = await run.logs(talking)
    assert [(said.stream, said.text) for said in logs] == [
        ("out", "out 1\n"),
        ("err", "err 1\n"),
        ("log", "WARNING lib: warned 1\n"),
        ("out", "end\n"),
    ]
    shown = capsys.readouterr()
    assert "out 1" in shown.out
    assert "err 1" in shown.err


async def test_texts_of_steps_that_run_at_once_are_told_apart(rt: Runtime) -> None:
    @pipeline
    def two() -> Any:
        return [chatting(1), chatting(2), talking(3)]

    run = await rt.start(two())
    await run
    by_call: dict[str, str] = {}
    for said in await run.logs("chatting"):
        by_call[said.invocation] = by_call.get(said.invocation, "") + said.text
    assert sorted(by_call.values()) == ["before 1\nafter 1\n", "before 2\nafter 2\n"]
    print("of nobody")
    assert "of nobody" not in str(await run.logs())


async def test_attempts_and_failures_keep_what_they_said(rt: Runtime) -> None:
    @step(retry=Retry(1, wait=0))
    async def loud(x: int) -> int:
        print(f"attempt {current().attempt}")
        current().logger.info("structured", x=x)
        raise OSError("no")

    run = await rt.start(loud(1))
    assert await run.wait() == "failed"
    assert str(await run.logs("loud", attempt=2)).startswith("attempt 2\n")
    assert "structured" in str(await run.logs("loud", attempt=1))


async def test_much_is_bounded_and_what_was_dropped_is_counted(rt: Runtime) -> None:
    @step
    def flooding(x: int) -> int:
        print("first line")
        for _ in range(3000):
            print("y" * 1000)
        print("last line")
        return x

    run = await rt.start(flooding(1))
    await run
    logs = await run.logs()
    text = "".join(said.text for said in logs)
    dropped = sum(said.dropped for said in logs)
    assert text.startswith("first line\n")
    assert text.endswith("last line\n")
    assert len(text) <= 1_100_000
    assert len(text) + dropped == len("first line\nlast line\n") + 3000 * 1001
    assert "characters were not kept" in str(logs)
    assert all(len(piece) <= 70_000 for event in await events_of(run, Printed) for _, piece in event.pieces)


async def test_the_streams_are_as_before_when_the_runtime_is_closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_count", 0)  # simulated processes of other tests were killed with a runtime open
    logging.setLogRecordFactory(logging.LogRecord)
    before = sys.stdout, sys.stderr, logging.getLogRecordFactory()
    async with Runtime(home=home):
        assert sys.stdout is not before[0]
        assert sys.stdout.encoding == before[0].encoding
        async with Runtime(home=home.with_name("other")):
            pass
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr, logging.getLogRecordFactory()) == before


async def test_a_logging_handler_of_the_steps_does_not_say_it_twice(rt: Runtime) -> None:
    @step
    def logging_to_stderr(x: int) -> int:
        handler = logging.StreamHandler()
        logger = logging.getLogger("own")
        logger.addHandler(handler)
        logger.warning("once")
        logger.removeHandler(handler)
        return x

    run = await rt.start(logging_to_stderr(1))
    await run
    assert str(await run.logs()).count("once") == 1


@step
async def quick(x: int) -> int:
    print(f"element {x}")
    current().metric("x", x)
    notes.append(current().key)
    return x


async def test_elements_that_run_in_a_row_are_told_apart(rt: Runtime) -> None:
    @pipeline
    def fanned() -> Any:
        return quick(each(list(range(50))))

    run = await rt.start(fanned())
    await run
    assert sorted((said.element, said.text) for said in await run.logs()) == [(x, f"element {x}\n") for x in range(50)]
    reported = await events_of(run, Reported)
    assert sorted((event.element, *[metric.value for metric in event.metrics]) for event in reported) == [(x, x) for x in range(50)]
    assert len(set(notes)) == 50


# In a process of its own.


@step(process=True, retry=Retry(2, wait=0))
def away(x: int) -> tuple[int, str]:
    now = current()
    print(f"attempt {now.attempt}")
    print("trouble", file=sys.stderr)
    now.metric("loss", 0.25, step=x)
    now.progress(1, 2)
    before = len(now.checkpointed(b""))
    now.checkpoint(bytes(200_000 * now.attempt))
    if now.attempt < 3:
        raise OSError("again")
    return before, now.key


async def test_all_of_it_works_in_a_process_of_its_own(rt: Runtime) -> None:
    @pipeline
    def gone(x: int) -> Any:
        return away(x)

    run = await rt.start(gone(7))
    with anyio.fail_after(2 * BOUND):
        before, key = await run
    assert before == 400_000
    assert len(key) == 32
    reported = await events_of(run, Reported)
    assert [metric.value for event in reported for metric in event.metrics] == [0.25] * 3
    logs = await run.logs("away", attempt=2)
    assert {(said.stream, said.text) for said in logs} == {("out", "attempt 2\n"), ("err", "trouble\n")}


def staged(home: Path) -> list[Path]:
    """What is written, and not yet whole."""
    return [path for path in (home / "artifacts" / "tmp").rglob("*") if path.is_file()]


async def test_cancelled_while_it_keeps_a_checkpoint_it_leaves_nothing(home: Path) -> None:
    @step
    async def keeping(x: int) -> int:
        while True:
            notes.append(x)
            await current().checkpoint(bytes(3_000_000 + len(notes)))

    with anyio.fail_after(BOUND):
        async with Runtime(home=home, grace=5.0) as opened:
            run = await opened.start(keeping(1))
            while len(notes) < 2:
                await anyio.sleep(0.001)
            await run.cancel()
            assert run.state == "cancelled"
            assert opened.running() == []
    async with Runtime(home=home) as opened:
        assert await (await opened.start(training(1))) == 1
    assert staged(home) == []
