"""The catalogue as its users have it: runs, steps, values, lineage, files, SQL, and what it says when something is not there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, assert_type

import anyio
import msgspec
import pytest
from tests.runtime.test_projection import batch

from ashore import Handle, RunCancelled, RunFailed, Runtime, pipeline, step
from ashore.catalogue import Artifact, Catalogue, FileVersion, NotFound, PastRun
from ashore.codec import encode as packed
from ashore.errors import AshoreError
from ashore.events import (
    Arrivals,
    Call,
    Column,
    ElementsRan,
    EnvironmentSeen,
    Event,
    Failure,
    FileUse,
    Input,
    Invoked,
    Output,
    OwnerSeen,
    RunEnded,
    RunStarted,
    StepDefined,
    StepFailed,
    StepRan,
    StepSkipped,
    raw_digest,
)
from ashore.html import block as html_block
from ashore.html import table as html_table
from ashore.html import text as html_text
from ashore.ids import CacheKey, CodeId, InvocationId, RunId, hash_id
from ashore_stores import MemoryArtifactStore, MemoryEventLog, MemoryHome, Sink, digest_of, system_ports
from ashore_stores.index.base import BadQuery
from ashore_stores.index.memory import MemoryIndex

pytestmark = pytest.mark.anyio

PORTS = system_ports()
OWNER, ENVIRONMENT = b"o" * 16, b"e" * 16
FIRST, SECOND, FAILED = RunId("7f3a" * 5), RunId("7fcc" * 5), RunId("aa01" * 5)
XSS = "<script>alert('x')</script>"
BIG = packed("b" * 100_000)


def named(text: str) -> InvocationId:
    return InvocationId(hash_id(text.encode()))


READ, SPLIT, FIT, FIT2, EACH = (named(text) for text in ("read", "split", "fit 0.1", "fit 0.2", "each"))
CSV = FileUse("file", "/data/in/jan.csv", 10, 1_000, hash_id(b"jan") * 2)


@step
def fit(train: dict[str, int], lr: float) -> float:
    return lr


@step
def shown_step(text: str) -> int:
    return len(text)


@pipeline
def retrain(lr: float) -> Handle[float]:
    return fit({}, lr)


def inline(value: Any) -> Output:
    data = packed(value)
    return Output(raw_digest(digest_of(data)), len(data), "value/1", type(value).__name__, data)


def blob(data: bytes) -> Output:
    return Output(raw_digest(digest_of(data)), len(data), "value/1", "str")


def call(name: InvocationId, step: str, **more: Any) -> Call:
    return Call(name, step, CodeId(hash_id(step.encode())), **more)


def ran(run: RunId, name: InvocationId, *outputs: Output, at: float = 10.0, **more: Any) -> StepRan:
    return StepRan(run, name, CacheKey(hash_id(name)), outputs, at, at + 1, at + 3, **more)


def begun(run: RunId, at: float, **more: Any) -> RunStarted:
    params = (("lr", packed(0.1)), ("note", packed(XSS)))
    return RunStarted(run, "retrain", "flights.py:retrain", params, (CSV,), OWNER, ENVIRONMENT, at, **more)


CALLS = (
    call(READ, "read", files=(CSV,)),
    call(SPLIT, "split", inputs=(Input("table", READ),)),
    call(FIT, "fit", inputs=(Input("train", SPLIT, 0), Input("rest", SPLIT, -1)), params=(("lr", packed(0.1)),)),
    call(FIT2, "fit", inputs=(Input("train", SPLIT, 0),), params=(("lr", packed(0.2)),)),
    call(EACH, "each", fan=True),
)

PREFACE: list[Event] = [
    OwnerSeen(OWNER, 77, "mill", XSS, "python", 1.0),
    EnvironmentSeen(ENVIRONMENT, "3.11.7", "linux", {"pandas": "3.0.1"}, "abc123+"),
    StepDefined(CodeId(hash_id(b"fit")), "fit", "trainer", "flights.py", 12, (("code", "x"),)),
]


def first() -> list[Event]:
    elements = [inline(n * n) for n in (0, 1, 3)]
    digests = b"".join(one.digest for one in elements)
    column = Column("value/1", "int", digests, tuple(one.size for one in elements), tuple(one.data for one in elements))
    failure = Failure(("builtins:ValueError",), "bad row", "")
    result = ["t", [inline(0.5), blob(BIG)]]
    return [
        begun(FIRST, 100.0, key="jan", arrivals=Arrivals("in/*.csv", 3, 5)),
        Invoked(FIRST, CALLS),
        ran(FIRST, READ, blob(BIG)),
        ran(FIRST, SPLIT, inline({"rows": 3}), inline(7)),
        ran(FIRST, FIT, inline(0.5)),
        ran(FIRST, FIT2, inline(0.25)),
        ElementsRan(FIRST, EACH, (3, 0, 1), b"", (_turned(column),), ((2, failure),), ((1, SECOND),)),
        ran(FIRST, EACH, elements=4, skipped=1),
        RunEnded(FIRST, "done", 130.0, msgspec.msgpack.encode(result)),
    ]


def _turned(column: Column) -> Column:
    """The last element first, as outcomes come."""
    digests = [column.digests[at : at + 32] for at in range(0, 96, 32)]
    order = (2, 0, 1)
    return Column(
        column.format,
        column.type,
        b"".join(digests[n] for n in order),
        tuple(column.sizes[n] for n in order),
        tuple(column.data[n] for n in order),
    )


def second() -> list[Event]:
    """The same again: reading is a source and runs, what follows is reused."""
    return [
        begun(SECOND, 200.0),
        Invoked(SECOND, CALLS[:3]),
        ran(SECOND, READ, blob(BIG)),
        ran(SECOND, SPLIT, inline({"rows": 3}), inline(7), reused_run=FIRST, reused_invocation=SPLIT),
        ran(SECOND, FIT, inline(0.5), reused_run=FIRST, reused_invocation=FIT),
        RunEnded(SECOND, "done", 201.0, msgspec.msgpack.encode(["o", inline(0.5)])),
    ]


def failed() -> list[Event]:
    failure = Failure(("builtins:ValueError", "builtins:Exception"), XSS, "Traceback\n", (), "flights.py:7", packed((XSS,)))
    return [
        begun(FAILED, 300.0),
        Invoked(FAILED, CALLS[:3]),
        StepFailed(FAILED, READ, failure, 300.0, 301.0, 302.0),
        StepSkipped(FAILED, SPLIT, (READ,)),
        RunEnded(FAILED, "failed", 303.0, b"", (READ,)),
    ]


def _produce(sink: Sink) -> None:
    sink.write(BIG)


async def filled(*frames: Sequence[Event], home: MemoryHome | None = None) -> tuple[MemoryEventLog, MemoryArtifactStore]:
    log, artifacts = MemoryEventLog(PORTS, home), MemoryArtifactStore()
    await log.own()
    for frame in frames:
        log.queue(batch(frame))
    await artifacts.put(_produce)
    return log, artifacts


@pytest.fixture
async def cat(anyio_backend: str) -> AsyncIterator[Catalogue]:
    log, artifacts = await filled(PREFACE, first(), second(), failed())
    async with Catalogue(log, artifacts, MemoryIndex(), PORTS) as catalogue:
        yield catalogue


# --- runs ---


async def test_runs_are_listed_newest_first_and_can_be_chosen(cat: Catalogue) -> None:
    assert [run.id for run in await cat.runs()] == [FAILED, SECOND, FIRST]
    assert [run.id for run in await cat.runs("retrain", state="done", limit=1)] == [SECOND]
    assert [run.id for run in await cat.runs(retrain, state="failed")] == [FAILED]
    assert await cat.runs("other") == []
    assert (await cat.runs(retrain).last()).id == FAILED
    with pytest.raises(NotFound, match=r"no run of retrain that is cancelled"):
        await cat.runs(retrain, state="cancelled").last()


async def test_a_run_is_found_by_the_beginning_of_its_id(cat: Catalogue) -> None:
    assert (await cat.run("7f3")).id == FIRST
    assert (await cat.run(FIRST)).id == FIRST
    assert (await cat.run("@last")).id == FAILED
    with pytest.raises(NotFound, match=r"'7f' is the beginning of 2 runs: 7fcc7fcc \(retrain\), 7f3a7f3a"):
        await cat.run("7f")
    with pytest.raises(NotFound, match="no run 'bb' is on record"):
        await cat.run("bb")
    for text in ("", "xyz", "7f%", "7" * 21):
        with pytest.raises(NotFound, match="no run id"):
            await cat.run(text)


async def test_a_run_says_what_ran_with_what_by_whom_on_what(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    assert (run.pipeline, run.target, run.state, run.key) == ("retrain", "flights.py:retrain", "done", "jan")
    assert run.params == {"lr": 0.1, "note": XSS}
    assert (run.started, run.ended, run.took) == (100.0, 130.0, 30.0)
    assert (run.host, run.user, run.pid, run.python, run.git_commit) == ("mill", XSS, 77, "3.11.7", "abc123+")
    assert run.versions == {"pandas": "3.0.1"}
    assert run.arrivals == ("in/*.csv", 3, 5)
    assert run.counts() == {"done": 5}
    assert [one.step for one in run.invocations] == ["read", "split", "fit", "fit", "each"]
    assert ("fit" in run, fit in run, "score" in run) == (True, True, False)


async def test_awaiting_a_run_gives_its_result(cat: Catalogue) -> None:
    assert await (await cat.run(FIRST)) == (0.5, "b" * 100_000)
    assert await (await cat.runs(retrain, state="done").last()) == 0.5


async def test_a_failed_run_says_what_failed_it(cat: Catalogue) -> None:
    run = await cat.run(FAILED)
    assert run.trouble == f"read: ValueError: {XSS}"
    assert run.location == "flights.py:7"
    assert isinstance(run.error, RunFailed)
    assert XSS in str(run.error.failures[0])
    with pytest.raises(RunFailed) as raised:
        await run
    assert [(type(error), str(error)) for error in raised.value.failures] == [(ValueError, XSS)]
    assert (run["split"].state, run["split"].because) == ("skipped", "read")
    assert run["fit"].state == "skipped"
    with pytest.raises(NotFound, match="read of run aa01aa01 has no output: it is failed, ValueError"):
        _ = run["read"].out


async def test_awaiting_a_run_of_another_process_waits_for_its_end() -> None:
    home = MemoryHome()
    whole = first()
    log, artifacts = await filled(PREFACE, whole[:-1], home=home)
    reading = MemoryEventLog(PORTS, home)
    async with Catalogue(reading, artifacts, MemoryIndex(), PORTS) as catalogue:
        run = await catalogue.run("@last")
        assert (run.state, run.took, run.error) == ("running", None, None)
        with pytest.raises(AshoreError, match=r"rt.run\('7f3a7f3a"):
            await run.cancel()
        found: list[Any] = []

        async def waits() -> None:
            found.append(await run)

        async with anyio.create_task_group() as group:
            group.start_soon(waits)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            log.queue(batch([RunEnded(SECOND, "done", 1.0)]))
            log.queue(batch(whole[-1:]))
        assert found == [(0.5, "b" * 100_000)]


async def test_a_cancelled_run_is_not_a_result() -> None:
    log, artifacts = await filled(PREFACE, [begun(FIRST, 1.0), RunEnded(FIRST, "cancelled", 2.0)])
    async with Catalogue(log, artifacts, MemoryIndex(), PORTS) as catalogue:
        run = await catalogue.run("@last")
        assert isinstance(run.error, RunCancelled)
        await run.cancel()
        with pytest.raises(RunCancelled):
            await run


# --- invocations ---


async def test_a_step_acts_as_its_one_invocation(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    assert len(run["read"]) == 1
    assert (run["read"].state, run["read"].waited, run["read"].took, run["read"].cached_from) == ("done", 1.0, 2.0, None)
    assert run["read"][0].step == "read"


async def test_a_step_with_several_invocations_says_how_to_choose(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    with pytest.raises(NotFound, match=r"fit has 2 invocations in run 7f3a7f3a: fit\(lr=0.1\), fit\(lr=0.2\).*\.where\("):
        _ = run[fit].out
    assert await run[fit].where(lr=0.2).out.load() == 0.25
    assert await run["fit"][0].out.load() == 0.5
    assert [one.params for one in run["fit"]] == [{"lr": 0.1}, {"lr": 0.2}]
    with pytest.raises(NotFound, match="no invocation of fit"):
        _ = run["fit"].where(lr=0.3).one
    with pytest.raises(AttributeError):
        _ = run["read"].colour


async def test_a_wrong_step_name_is_met_with_the_right_one(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    with pytest.raises(NotFound, match=r"no step 'splitt'. Did you mean `split`"):
        run["splitt"]
    with pytest.raises(NotFound, match="It has each, fit, read, split"):
        run["zzzzz"]


async def test_values_come_from_the_log_and_from_the_store(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    assert await run["read"].out.load() == "b" * 100_000
    assert await run["split"].out.load() == ({"rows": 3}, 7)
    assert [await output.load() for output in run["split"].outputs] == [{"rows": 3}, 7]
    assert await run["each"].out.load() == [0, 1, 9]
    elements = run["each"].elements
    assert (elements.count, elements.done, elements.cached, elements.failed, elements.skipped) == (4, 2, 1, 1, 1)


async def test_a_reused_step_names_its_source_and_gives_the_same_value(cat: Catalogue) -> None:
    run = await cat.run(SECOND)
    one = run["split"].one
    assert (one.state, one.cached_from) == ("cached", FIRST)
    assert await one.out.load() == ({"rows": 3}, 7)
    assert await run[fit].out.load() == 0.5
    original = (await cat.run(FIRST))["fit"][0].out
    assert run[fit].out == original
    assert (run[fit].out.kind, original.kind) == ("reused", "made")


async def test_inputs_are_what_that_run_gave(cat: Catalogue) -> None:
    first, second = await cat.run(FIRST), await cat.run(SECOND)
    (file,) = second["read"].inputs.values()
    assert isinstance(file, FileVersion)
    assert (file.path, file.digest) == ("/data/in/jan.csv", f"sha256-{CSV.digest.hex()}")
    assert second["split"].inputs == {"table": second["read"].out}
    assert second["split"].inputs != first["split"].inputs
    taken = second[fit].inputs
    assert taken["train"] == first["split"].outputs[0]
    assert await taken["rest"].load() == ({"rows": 3}, 7)


async def test_elements_that_failed_are_named_by_their_file_or_number() -> None:
    failures = ((11, Failure(("builtins:ValueError",), "bad row", "")), (2, Failure(("builtins:OSError",), "gone", "")))
    events: list[Event] = [
        begun(FIRST, 100.0),
        Invoked(FIRST, (call(READ, "read", files=(FileUse("file[11]", "/data/in/11.csv", 3, 4, b"d" * 32),), fan=True),)),
        ElementsRan(FIRST, READ, (), b"", (), failures),
    ]
    log, artifacts = await filled(PREFACE, events)
    async with Catalogue(log, artifacts, MemoryIndex(), PORTS) as catalogue:
        read = (await catalogue.run(FIRST))["read"].one
        assert list((await read.left_out()).items()) == [("read[2]", "OSError: gone"), ("/data/in/11.csv", "ValueError: bad row")]


async def test_inputs_are_in_the_order_of_their_numbers() -> None:
    files = tuple(FileUse(f"file[{n}]", f"/data/in/{n}.csv", 3, 4, b"d" * 32) for n in range(12))
    log, artifacts = await filled(PREFACE, [begun(FIRST, 100.0), Invoked(FIRST, (call(READ, "read", files=files, fan=True),))])
    async with Catalogue(log, artifacts, MemoryIndex(), PORTS) as catalogue:
        run = await catalogue.run(FIRST)
        assert list(run["read"].inputs) == [f"file[{n}]" for n in range(12)]


async def test_looking_up_by_the_object_itself_types_what_comes_back(cat: Catalogue) -> None:
    """For the type checker; at run time it is the same as by name."""
    run = await cat.runs(retrain, state="done").last()
    assert_type(run, PastRun[float])
    assert_type(await run, float)
    assert_type(run[fit].out, Artifact[float])
    assert_type(await run[fit].out.load(), float)
    assert_type(await run["fit"].out.load(), Any)
    assert_type(await (await cat.runs("retrain", state="done").last()), Any)


# --- artifacts ---


def ids(found: Sequence[Artifact[Any] | FileVersion]) -> list[str]:
    return [one.id for one in found]


def artifact_id(run: RunId, name: InvocationId, output: int = 0) -> str:
    return f"{name.hex()}:{output}@{run}"


async def test_an_artifact_is_found_by_the_beginning_of_its_id(cat: Catalogue) -> None:
    artifact = await cat.artifact(f"{SPLIT.hex()[:8]}:1")
    assert artifact.id == artifact_id(FIRST, SPLIT, 1)
    assert isinstance(artifact, Artifact)
    assert (artifact.step, artifact.type, artifact.digest) == ("split", "int", f"sha256-{inline(7).digest.hex()}")
    assert await artifact.load() == 7
    assert (await cat.artifact(artifact.short)).id == artifact.id
    assert (await cat.artifact(artifact.id)).id == artifact.id


async def test_of_several_runs_the_newest_artifact_of_a_name_is_meant(cat: Catalogue) -> None:
    assert (await cat.artifact(READ.hex()[:8])).id == artifact_id(SECOND, READ)
    assert (await cat.artifact(f"{READ.hex()[:8]}@7f3a")).id == artifact_id(FIRST, READ)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no artifact id"),
        ("fit", "no artifact id"),
        ("%", "no artifact id"),
        ("0:x", "no artifact id"),
        (f"{FIT.hex()[:8]}:1", "no artifact '.*' is on record"),
        (f"{FIT.hex()[:8]}:0@bb", "no artifact '.*' is on record"),
        ("file-", "no id"),
        ("file-00000000", "no version of a file"),
        (f"{FIT.hex()}00:0", "no id"),
    ],
)
async def test_a_wrong_artifact_id_says_what_is_wrong(cat: Catalogue, text: str, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        await cat.artifact(text)


async def test_lineage_goes_to_any_depth_and_through_reuse(cat: Catalogue) -> None:
    artifact = await cat.artifact(f"{FIT.hex()}:0")
    file = f"file-{hash_id(CSV.path.encode(), CSV.digest).hex()}"
    split = [artifact_id(FIRST, SPLIT, 0), artifact_id(FIRST, SPLIT, 1)]
    assert ids(await artifact.ancestors()) == [*split, artifact_id(FIRST, READ), file]
    assert ids(await artifact.ancestors(run=SECOND)) == [artifact_id(SECOND, READ), *split, file]
    assert ids(await artifact.ancestors(run=FAILED)) == []
    assert ids(await artifact.ancestors(run="ab")) == []
    again = await cat.artifact(artifact_id(SECOND, READ))
    assert ids(await again.descendants()) == [*split, artifact_id(FIRST, FIT)]
    assert {one.kind for one in await again.descendants()} == {"reused"}
    second_output = await cat.artifact(split[1])
    assert ids(await second_output.descendants(run=FIRST)) == [artifact_id(FIRST, FIT)]
    first_output = await cat.artifact(split[0])
    assert ids(await first_output.descendants(run=FIRST)) == [artifact_id(FIRST, FIT), artifact_id(FIRST, FIT2)]


async def test_what_read_this_file(cat: Catalogue) -> None:
    for path in ("/data/in/jan.csv", "in/jan.csv", "./jan.csv"):
        history = await cat.file(path)
        assert history.path == "/data/in/jan.csv"
    assert [(one.run, one.step, one.argument, one.state) for one in history.readers] == [
        (FAILED, "read", "file", "failed"),
        (SECOND, "read", "file", "done"),
        (FIRST, "read", "file", "done"),
    ]
    assert history.runs == [FAILED, SECOND, FIRST]
    assert ids(await history.newest.descendants(run=FIRST)) == [
        artifact_id(FIRST, name, output) for name, output in ((READ, 0), (SPLIT, 0), (SPLIT, 1), (FIT, 0), (FIT2, 0))
    ]
    assert (await cat.artifact(history.newest.short)) == history.newest
    with pytest.raises(NotFound, match=r"no file 'feb\.csv'"):
        await cat.file("feb.csv")


async def test_a_path_that_may_be_several_is_not_guessed_and_wildcards_are_none() -> None:
    uses = tuple(FileUse(f"f[{n}]", path, 1, 1, b"d" * 32) for n, path in enumerate(("/a/x.csv", "/b/x.csv", "/a/y%.csv")))
    log, artifacts = await filled([begun(FIRST, 1.0), Invoked(FIRST, (call(READ, "read", files=uses),))])
    async with Catalogue(log, artifacts, MemoryIndex(), PORTS) as catalogue:
        with pytest.raises(NotFound, match=r"may be any of /a/x.csv, /b/x.csv"):
            await catalogue.file("x.csv")
        with pytest.raises(NotFound, match="no file"):
            await catalogue.file("%")
        assert (await catalogue.file("y%.csv")).path == "/a/y%.csv"


# --- SQL ---


async def test_sql_gives_rows_and_columns(cat: Catalogue) -> None:
    answer = await cat.sql("select step, took from steps where run = ? order by no limit 2", (FIRST,))
    assert (answer.columns, answer.rows, len(answer)) == (("step", "took"), [("read", 2.0), ("split", 2.0)], 2)
    assert list(answer) == answer.rows
    assert answer.records()[0] == {"step": "read", "took": 2.0}
    assert (answer.behind, answer.notes) == (0, ())


async def test_an_answer_can_be_a_data_frame(cat: Catalogue) -> None:
    pytest.importorskip("pandas")
    frame = (await cat.sql("select step, took from steps where run = ? order by no limit 2", (FIRST,))).df()
    assert list(frame.columns) == ["step", "took"]
    assert frame["took"].sum() == 4.0


async def test_sql_only_reads(cat: Catalogue) -> None:
    for statement in ("delete from run", "attach 'x' as x", "drop view runs"):
        with pytest.raises(BadQuery, match="can only be read"):
            await cat.sql(statement)
    assert len(await cat.sql("select * from runs")) == 3


@pytest.mark.parametrize("text", ["'", "' or 1=1 --", '"; drop table run; --', "\0", "%", "_", "x" * 10_000])
async def test_names_are_never_sql(cat: Catalogue, text: str) -> None:
    assert await cat.runs(text) == []
    assert await cat.runs(state=text) == []
    for ask in (cat.run, cat.artifact, cat.file):
        with pytest.raises(NotFound):
            await ask(text)
    assert len(await cat.runs()) == 3


# --- what is shown ---


async def test_html_escapes_everything_that_users_wrote(cat: Catalogue) -> None:
    shown = [run._repr_html_() for run in await cat.runs()]
    shown.append((await cat.sql("select user, params, error, ? as x from runs", (XSS,)))._repr_html_())
    shown.append((await cat.sql(f'select 1 as "{XSS}"'))._repr_html_())
    shown.append((await cat.runs())._repr_html_())
    for html in shown:
        assert "&lt;script&gt;" in html
    for run in await cat.runs():
        for one in run.invocations:
            shown += [one._repr_html_(), *(thing._repr_html_() for thing in (*one.outputs, *one.inputs.values()))]
    for html in shown:
        assert "<script" not in html
        assert "\x1b" not in html
        assert len(html) < 20_000
        assert not re.search(r"(src|href|@import|url\()", html)  # nothing is loaded from anywhere
        assert not re.search(r"[^-](color|background)\s*:", html)  # as light as the page, or as dark
        assert set(re.findall(r"</?(\w+)", html)) <= {"p", "b", "code", "pre", "span", "table", "tr", "th", "td"}


def test_html_of_values_is_short_and_on_one_line() -> None:
    assert html_text("<a href='x'>&\x1b[31m\n") == "&lt;a href=&#x27;x&#x27;&gt;&amp;\\x1b[31m\\n"
    assert len(html_text("x" * 10_000)) == 200
    shown = html_table(["<n>"], [[str(n)] for n in range(1_000)])
    assert "&lt;n&gt;" in shown
    assert shown.count("<tr>") == 1 + 30
    assert "970 more rows" in shown
    assert html_block("a\n" * 100).count("\n") == 30


async def test_a_live_run_is_shown_in_html_too(tmp_path: Path) -> None:
    async with Runtime(home=tmp_path / ".ashore") as rt:
        run = await rt.start(shown_step("<script>"))
        await run
        assert "<b>shown_step</b>" in run._repr_html_()
        assert "1 done" in run._repr_html_()


async def test_plain_reprs_are_short_and_say_what_matters(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    assert repr(run) == "<PastRun 7f3a7f3a of retrain: done (5 done)>"
    assert repr(run["read"]) == f"<Invocation {READ.hex()[:8]} of read: done in 2 s>"
    assert repr(run["fit"]) == "<2 Invocations of fit in run 7f3a7f3a>"
    assert repr((await cat.run(SECOND))["fit"]).endswith("of fit: cached from run 7f3a7f3a>")
    assert "of split in run 7f3a7f3a: int" in repr(run["split"].outputs[1])
    assert "read: ValueError" in repr(await cat.run(FAILED))
    assert repr(await cat.sql("select 1 as x")) == "<Answer 1 rows of x>"


async def test_a_long_list_leaves_invocations_out_and_says_how_to_have_them(
    cat: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ashore.catalogue.catalogue._BROUGHT_ALONG", 4)
    newest, _, oldest = await cat.runs()
    assert len(newest.invocations) == 3
    with pytest.raises(NotFound, match=r'cat.run\("7f3a7f3a"\)'):
        oldest["fit"]
    assert "7f3a7f3a" in oldest._repr_html_() + repr(oldest)


async def test_closing_closes_what_it_was_given() -> None:
    log, artifacts = await filled(PREFACE)
    closed: list[Callable[[], Any]] = []

    async def close() -> None:
        closed.append(close)

    async with Catalogue(log, artifacts, MemoryIndex(), PORTS, close=close) as catalogue:
        assert await catalogue.runs() == []
    await catalogue.aclose()
    assert closed == [close]


async def test_a_past_run_is_a_run(cat: Catalogue) -> None:
    run = await cat.run(FIRST)
    assert isinstance(run, PastRun)
    assert [happened.position for happened in [one async for one in run.events()]] == list(range(4, 13))
    assert await run.wait() == "done"
