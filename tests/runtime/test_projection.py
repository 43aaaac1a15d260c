"""The index is the fold of the log: at every prefix, however it was sliced, in every kind of index, as a plain fold says it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.histories import (
    CANCELLED,
    ENVIRONMENT,
    FAILURE,
    OWNERS,
    Frames,
    Story,
    code_of,
    histories,
    outputs_of,
    story_of,
)

from ashore.catalogue import Catalogue
from ashore.catalogue.artifacts import Artifact, FileVersion
from ashore.catalogue.projector import Projector
from ashore.codec import encode as packed
from ashore.events import (
    Arrived,
    Awaited,
    Call,
    Event,
    FileUse,
    Input,
    Invoked,
    RunEnded,
    RunStarted,
    StepFailed,
    StepRan,
    StepStarted,
    encode,
)
from ashore.ids import CacheKey, InvocationId, RunId, hash_id
from ashore.projection import PROJECTION_VERSION, Projection
from ashore_stores import Batch, MemoryArtifactStore, MemoryEventLog, Position, system_ports
from ashore_stores.index.base import MetadataIndex
from ashore_stores.index.changes import TABLES
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.index.sqlite import SqliteIndex
from ashore_stores.testing.index import dump

few = settings(max_examples=40)
PORTS = system_ports()


async def logged(frames: Frames) -> MemoryEventLog:
    log = MemoryEventLog(PORTS)
    await log.own()
    for frame in frames:
        log.queue(batch(frame))
    return log


def batch(frame: Sequence[Event]) -> Batch:
    topics = {event.run.encode() for event in frame if hasattr(event, "run")}
    return Batch(encode(frame), len(frame), topics=tuple(sorted(topics)))


async def projected(frames: Frames, index: MetadataIndex | None = None) -> MetadataIndex:
    """All at once."""
    index = index or MemoryIndex()
    fresh = await Projector(await logged(frames), index, PORTS.clock).catch_up()
    assert (fresh.behind, fresh.notes) == (0, ())
    return index


def run(main: Callable[[], Awaitable[None]]) -> None:
    anyio.run(main)


# --- index = fold ---


async def as_told(index: MetadataIndex, story: Story) -> None:
    """The views say what the plain fold says."""
    runs = await index.query("select id, pipeline, state, started, ended, no, user, trigger, arrivals_upto from runs order by no")
    assert runs.rows == [
        (id, told.started.pipeline, told.state, told.started.at, told.ended, told.position, "<user>", *_arrivals(told.started))
        for id, told in story.runs.items()
    ]
    steps = await index.query(
        "select run, invocation, step, scope, state, ready, started, ended, cached_from, cached_invocation,"
        " elements_done, elements_cached, elements_failed, elements, elements_skipped, because, error from steps"
    )
    assert set(steps.rows) == {_step(story, id, name) for id, told in story.runs.items() for name in told.made}
    assert len(steps) == sum(len(told.made) for told in story.runs.values())
    edges = await index.query("select source, target, kind, run, argument from edges")
    assert set(edges.rows) == story.edges()
    artifacts = await index.query("select id from artifacts where kind <> 'file'")
    executed = ((id, name) for id, told in story.runs.items() for name, made in told.made.items() if made.state == "done")
    assert sorted(artifacts.rows) == sorted((artifact,) for name in executed for artifact in story.artifacts(name, -1))
    files = await index.query("select path, digest from artifacts where kind = 'file'")
    assert set(files.rows) == {(path, f"sha256-{digest.hex()}") for path, digest in story.files}
    tags = await index.query("select no, tag, run, step, artifact, is_current from tags order by no")
    assert tags.rows == _tagged(story)
    triggers = await index.query("select no, path, version, run from triggers")
    assert sorted(triggers.rows, key=str) == sorted(_taken(story), key=str)


def _arrivals(started: RunStarted) -> tuple[str | None, int | None]:
    return (started.arrivals.trigger, started.arrivals.upto) if started.arrivals else (None, None)


def _step(story: Story, id: RunId, name: InvocationId) -> tuple[Any, ...]:
    told = story.runs[id]
    made = told.made[name]
    origin = (made.origin[0], made.origin[1].hex()) if made.origin else (None, None)
    counts: tuple[int | None, ...] = (*made.elements, made.size, made.skipped)
    if not any(made.elements) and made.size is None and not made.has_elements:
        counts = (None,) * 5
    shown = (name.hex(), made.call.step, made.call.scope, story.shown_state(told, made))
    return (id, *shown, *made.times, *origin, *counts, made.because, made.error)


def _tagged(story: Story) -> list[tuple[Any, ...]]:
    last = {(event.pipeline, event.step, event.name): position for position, event in story.tags}
    rows = []
    for position, event in story.tags:
        made = story.runs[event.made_in].made[event.invocation]
        run, invocation = made.origin or (event.made_in, event.invocation)
        is_current = position == last[event.pipeline, event.step, event.name]
        artifact = f"{invocation.hex()}:0@{run}"
        rows.append((position, event.name, event.made_in, event.step, artifact, int(is_current)))
    return rows


def _taken(story: Story) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for position, event in story.arrivals:
        version = event.version if isinstance(event, Arrived) else None
        takers: list[RunId | None] = [
            id
            for id, told in story.runs.items()
            if isinstance(event, Arrived)
            and told.started.arrivals
            and told.started.arrivals.after < position <= told.started.arrivals.upto
        ]
        rows += [(position, event.path, version, id) for id in takers or [None]]
    return rows


@given(histories())
@few
def test_the_views_are_the_fold_of_the_log_at_every_prefix(frames: Frames) -> None:
    async def main() -> None:
        log, index, story = await logged([]), MemoryIndex(), Story()
        projector = Projector(log, index, PORTS.clock)
        for frame in frames:
            log.queue(batch(frame))
            for event in frame:
                story.receive(event)
            fresh = await projector.catch_up()
            assert fresh.position == story.position
            await as_told(index, story)

    run(main)


@given(histories(), st.lists(st.booleans(), min_size=1, max_size=8))
@few
def test_however_it_is_sliced_and_whoever_projects_the_rows_are_the_same(frames: Frames, handed_over: list[bool]) -> None:
    async def main() -> None:
        log, index = await logged(frames), MemoryIndex()
        projector, position = Projector(log, index, PORTS.clock), 0
        for number, frame in enumerate(frames):
            position += len(frame)
            if handed_over[number % len(handed_over)]:  # another process goes on, which knows nothing yet
                projector = Projector(log, index, PORTS.clock)
            if number % 3:
                await projector.catch_up(Position(position))
        await projector.catch_up()
        assert await dump(index) == await dump(await projected(frames))
        await projector.rebuild()
        assert await dump(index) == await dump(await projected(frames))

    run(main)


@given(histories())
@settings(max_examples=10)
def test_memory_and_sqlite_hold_the_same(tmp_path_factory: pytest.TempPathFactory, frames: Frames) -> None:
    async def main() -> None:
        folder = tmp_path_factory.mktemp("home") / "index"
        index = SqliteIndex(PORTS.disk, PORTS.random, str(folder), PROJECTION_VERSION)
        try:
            assert await dump(await projected(frames, index)) == await dump(await projected(frames))
        finally:
            await index.aclose()

    run(main)


@given(histories())
@few
def test_valid_histories_leave_no_strays(frames: Frames) -> None:
    projection, position = Projection(), 1
    for frame in frames:
        projection.fold(position, frame)
        position += len(frame)
    assert projection.strays == 0


# --- lineage ---


@given(histories())
@few
def test_lineage_is_what_a_plain_recursion_finds(frames: Frames) -> None:
    async def main() -> None:
        story = story_of(frames)
        log, index = await logged(frames), MemoryIndex()
        async with Catalogue(log, MemoryArtifactStore(), index, PORTS) as catalogue:
            for id, told in story.runs.items():
                for name, made in told.made.items():
                    if made.state == "done":
                        await _check_lineage(catalogue, story, (id, name))
            for path, digest in story.files:
                await _check_file(catalogue, story, path, digest)

    run(main)


async def _check_lineage(catalogue: Catalogue, story: Story, name: tuple[str, bytes]) -> None:
    for number, text in enumerate(story.artifacts(name, -1)):
        artifact = await catalogue.artifact(text)
        assert artifact.id == text
        for within in (None, *story.runs):
            here = [one for one in story.occurrences(name) if within is None or one[0] == within]
            up: dict[str, str] = {}
            for one in [name] if within is None else here:
                story.upstream(one, within, up, set())
            assert _kinds(await artifact.ancestors(within)) == _without(up, name)
            starts = [consumer for one in here for consumer in story.consumers(one, number)]
            assert _kinds(await artifact.descendants(within)) == _without(story.downstream(starts, within), name)


async def _check_file(catalogue: Catalogue, story: Story, path: str, digest: bytes) -> None:
    file = hash_id(path.encode(), digest)
    version = await catalogue.artifact(f"file-{file.hex()}")
    readers = {
        (id, name)
        for id, told in story.runs.items()
        for name, made in told.made.items()
        if any((use.path, use.digest) == (path, digest) for use in made.files)
    }
    for within in (None, *story.runs):
        starts = [one for one in readers if within is None or one[0] == within]
        assert _kinds(await version.descendants(within)) == story.downstream(starts, within)
    history = await catalogue.file(path)
    assert {(one.run, one.invocation) for one in history.readers if one.digest == version.digest} == {
        (id, name.hex()) for id, name in readers
    }


def _kinds(found: Sequence[Artifact[Any] | FileVersion]) -> dict[str, str]:
    kinds = {one.id: one.kind for one in found}
    assert len(kinds) == len(found)
    return kinds


def _without(kinds: dict[str, str], name: tuple[str, bytes]) -> dict[str, str]:
    return {id: kind for id, kind in kinds.items() if not (id.startswith(name[1].hex()) and id.endswith(f"@{name[0]}"))}


# --- by example ---

RUN = RunId("7f" * 10)
A, B = InvocationId(hash_id(b"a")), InvocationId(hash_id(b"b"))


def started(run: RunId = RUN, **more: Any) -> RunStarted:
    return RunStarted(run, "train", "f.py:train", (), (), OWNERS[0], ENVIRONMENT, 5.0, **more)


def called(name: InvocationId, step: str = "fit", **more: Any) -> Call:
    return Call(name, step, code_of(step), **more)


def ran(name: InvocationId, step: str = "fit", run: RunId = RUN, at: float = 7.0, **more: Any) -> StepRan:
    return StepRan(run, name, CacheKey(hash_id(name)), outputs_of(step, 1), at, at + 1, at + 3, **more)


@pytest.mark.anyio
async def test_waiting_and_running_time_are_apart() -> None:
    index = await projected([[started(), Invoked(RUN, (called(A),)), ran(A)]])
    assert (await index.query("select state, waited, took, started from steps")).rows == [("done", 1.0, 2.0, 8.0)]


@pytest.mark.anyio
async def test_what_is_not_settled_when_its_run_ends_is_shown_as_cancelled_or_skipped() -> None:
    frames: Frames = [[started(), Invoked(RUN, (called(A), called(B, "load"))), StepStarted(RUN, A, 6.0)]]
    states = "select step, state from steps order by no"
    assert (await (await projected(frames)).query(states)).rows == [("fit", "running"), ("load", "waiting")]
    frames.append([RunEnded(RUN, "cancelled", 9.0)])
    assert (await (await projected(frames)).query(states)).rows == [("fit", "cancelled"), ("load", "skipped")]


@pytest.mark.anyio
async def test_a_failure_is_told_of_the_step_and_of_its_run() -> None:
    failed = StepFailed(RUN, A, FAILURE, 6.0, 6.5, 7.0)
    index = await projected([[started(), Invoked(RUN, (called(A),)), failed, RunEnded(RUN, "failed", 9.0, b"", (A,))]])
    (row,) = (await index.query("select error, location, traceback from runs")).rows
    assert row == ("fit: ValueError: no <rows>", "f.py:3", "Traceback ...\nin step fit")
    (row,) = (await index.query("select state, error, location, took from steps")).rows
    assert row == ("failed", "ValueError: no <rows>", "f.py:3", 0.5)


@pytest.mark.anyio
async def test_a_later_success_takes_the_failure_back() -> None:
    failed = StepFailed(RUN, A, CANCELLED, 6.0, 6.5, 7.0)
    index = await projected([[started(), Invoked(RUN, (called(A),)), failed], [ran(A), RunEnded(RUN, "done", 12.0)]])
    assert (await index.query("select state, error from steps")).rows == [("done", None)]


@pytest.mark.anyio
async def test_a_reused_step_that_runs_again_reuses_nothing_any_more() -> None:
    other = RunId("11" * 10)
    first: list[Event] = [started(), Invoked(RUN, (called(A),)), ran(A)]
    second: list[Event] = [started(other), Invoked(other, (called(A),)), ran(A, run=other, reused_run=RUN, reused_invocation=A)]
    index = await projected([first, second])
    assert (await index.query("select cached_from from steps where state = 'cached'")).rows == [(RUN,)]
    whole: list[Event] = [*first, *second, ran(A, run=other)]
    for frames in ([first, second, whole[-1:]], [whole]):
        index = await projected(frames)
        assert (await index.query("select state, cached_from from steps where run = ?", (other,))).rows == [("done", None)]
        assert len(await index.query("select * from reuse")) == 0


@pytest.mark.anyio
async def test_reuse_of_what_was_itself_reused_leads_to_where_it_was_made() -> None:
    second, third = RunId("11" * 10), RunId("22" * 10)
    frames: Frames = [
        [started(), Invoked(RUN, (called(A),)), ran(A)],
        [started(second), Invoked(second, (called(A),)), ran(A, run=second, reused_run=RUN, reused_invocation=A)],
        [started(third), Invoked(third, (called(A),)), ran(A, run=third, reused_run=second, reused_invocation=A)],
    ]
    origins = "select run, cached_from from steps where state = 'cached' order by no"
    assert (await (await projected(frames)).query(origins)).rows == [(second, RUN), (third, RUN)]
    log, index = await logged(frames), MemoryIndex()
    for position in (3, 6, 9):  # by processes that know nothing of what came before
        await Projector(log, index, PORTS.clock).catch_up(Position(position))
    assert (await index.query(origins)).rows == [(second, RUN), (third, RUN)]


@pytest.mark.anyio
async def test_parameters_can_be_compared_in_sql_whatever_they_are() -> None:
    params = {
        **{"lr": 0.1, "name": "<b>", "none": None, "big": 2**70, "nan": float("nan"), "nested": {"a": [1, 2]}, "bytes": b"\xff"},
        "long": ["x" * 100] * 1000,
    }
    call = called(A, params=tuple((name, packed(value)) for name, value in params.items()))
    broken = called(B, params=(("odd", b"\xc1not msgpack"),))
    index = await projected([[started(), Invoked(RUN, (call, broken))]])
    assert (await index.query("select step from params where name = 'lr' and value = 0.1")).rows == [("fit",)]
    shown: dict[str, Any] = dict((await index.query("select name, value from params")).rows)
    assert shown["name"] == "<b>"
    assert shown["none"] is None
    assert shown["nested"] == '{"a":[1,2]}'
    assert len(shown["long"]) < 1000
    assert "not readable" in shown["odd"]
    assert set(shown) == {*params, "odd"}


@pytest.mark.anyio
async def test_events_about_what_nobody_announced_are_passed_over() -> None:
    lost = RunId("99" * 10)
    frames: Frames = [
        [started(), Invoked(RUN, (called(A, inputs=(Input("x", B),)),)), ran(B), ran(A)],
        [ran(A, run=lost), RunEnded(lost, "done", 1.0), StepStarted(lost, A, 1.0), Invoked(lost, (called(B),))],
        [RunEnded(RUN, "done", 9.0)],
    ]
    index = await projected(frames)
    assert (await index.query("select id, state from runs")).rows == [(RUN, "done")]
    assert (await index.query("select state from steps")).rows == [("done",)]


@pytest.mark.anyio
async def test_a_slice_tells_each_row_once() -> None:
    """Counts, not times: a step that began and ended within a slice is one row of the outcomes."""
    projection = Projection()
    calls = tuple(called(InvocationId(hash_id(bytes([n])))) for n in range(100))
    events: list[Event] = [started(), Invoked(RUN, calls)]
    events += [StepStarted(RUN, call.invocation, 6.0) for call in calls]
    events += [ran(call.invocation) for call in calls]
    events.append(RunEnded(RUN, "done", 9.0))
    projection.fold(1, events)
    rows = {(type(change).__name__, change.table.name): len(change.rows) for change in projection.take()}
    assert rows == {("Put", "run"): 1, ("Put", "step"): 100, ("Put", "outcome"): 100, ("Keep", "call"): 1, ("Keep", "form"): 1}
    assert projection.take() == []


@pytest.mark.anyio
async def test_the_newest_version_of_a_file_is_the_one_that_arrived_last() -> None:
    digests = [hash_id(bytes([n])) * 2 for n in range(2)]
    arrivals: list[Event] = [Arrived("t", "in/a.csv", n + 1, 1, 1, digests[n % 2], float(n)) for n in range(3)]
    use = FileUse("file", "in/a.csv", 1, 1, digests[1])
    log = await logged([arrivals, [started(), Invoked(RUN, (called(A, files=(use,)),)), ran(A)]])
    async with Catalogue(log, MemoryArtifactStore(), MemoryIndex(), PORTS) as catalogue:
        history = await catalogue.file("a.csv")
        assert [(one.version, one.digest) for one in history.versions] == [
            (3, f"sha256-{digests[0].hex()}"),
            (2, f"sha256-{digests[1].hex()}"),
        ]
        assert [(one.step, one.argument, one.digest) for one in history.readers] == [("fit", "file", f"sha256-{digests[1].hex()}")]


def test_every_table_is_written_by_some_history() -> None:
    """A guard of these tests: histories reach every table."""
    seen: set[str] = set()

    @given(histories())
    @settings(max_examples=60, database=None, derandomize=True)
    def look(frames: Frames) -> None:
        projection, position = Projection(), 1
        for frame in frames:
            projection.fold(position, frame)
            position += len(frame)
        seen.update(change.table.name for change in projection.take())

    look()
    told_by_example = {"awaited", "made_of"}  # see the next test
    assert seen == {table.name for table in TABLES} - told_by_example


@pytest.mark.anyio
async def test_what_a_body_made_may_come_of_all_that_it_had_been_given() -> None:
    c, d = InvocationId(hash_id(b"c")), InvocationId(hash_id(b"d"))
    given = (Awaited("", 0, A, 0), Awaited("", 1, B, 0))
    frames: Frames = [
        [started(), Invoked(RUN, (called(A), called(B, "load"))), ran(A), ran(B, "load")],
        [Invoked(RUN, (called(c, given=1), called(d, inputs=(Input("x", c, 0),))), given), ran(c), ran(d)],
    ]
    index = await projected(frames)
    edges = await index.query("select source, target, kind from edges order by 1, 2")
    ids = {name: f"{name.hex()}:0@{RUN}" for name in (A, B, c, d)}
    assert set(edges.rows) == {(ids[A], ids[c], "flagged"), (ids[c], ids[d], "made")}  # B was given to it only later
    async with Catalogue(await logged(frames), MemoryArtifactStore(), MemoryIndex(), PORTS) as catalogue:
        last = await catalogue.artifact(ids[d])
        assert _kinds(await last.ancestors()) == {ids[c]: "made", ids[A]: "flagged"}
        first = await catalogue.artifact(ids[A])
        assert set(_kinds(await first.descendants())) == {ids[c], ids[d]}
        assert _kinds(await (await catalogue.artifact(ids[B])).descendants()) == {}
