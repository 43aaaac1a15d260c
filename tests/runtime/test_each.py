"""Fan-out by element: stages without a barrier, iterators, products, policies, limits."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.runtime.engine_misbehaving import BOUND, executed

from ashore import ElementsFailed, File, GraphError, Handle, NotFound, RunFailed, Runtime, SourceFailed, each, fixed, pipeline, step
from ashore.catalogue import Catalogue
from ashore.events import ElementsRan, ElementsTaken, StepFailed, decode
from ashore.testing import assert_resumes
from ashore_stores.index.memory import MemoryIndex

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


async def events_of(rt: Runtime, run: Any) -> list[Any]:
    return [event for frame in await rt.stack.log.about(run.id.encode()) for event in decode(frame.batch.body, frame.count)]


@step
async def double(x: int) -> int:
    executed.append(f"double {x}")
    await anyio.lowlevel.checkpoint()
    return 2 * x


@step(cache=True)
async def odd(x: int) -> int:
    executed.append(f"odd {x}")
    await anyio.lowlevel.checkpoint()
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@step
async def add(x: int, y: int) -> int:
    executed.append(f"add {x} {y}")
    return x + y


@step
async def total(xs: list[int]) -> int:
    executed.append("total")
    return sum(xs)


# Stages.


async def test_an_element_goes_on_while_others_of_its_stage_run(rt: Runtime) -> None:
    gate, seen = anyio.Event(), anyio.Event()

    @step
    async def slow(x: int) -> int:
        if x == 0:
            await gate.wait()
        return x

    @step
    async def following(x: int) -> int:
        if x == 3:
            seen.set()
        return 10 * x

    @pipeline
    def staged() -> Handle[list[int]]:
        return following(each(slow(each(range(4)))))

    run = await rt.start(staged())
    with anyio.fail_after(BOUND):
        await seen.wait()  # while the first element of the first stage has not ended
        gate.set()
        assert await run == [0, 10, 20, 30]


async def test_an_element_starts_when_its_own_handle_has_its_value(rt: Runtime) -> None:
    gate, seen = anyio.Event(), anyio.Event()

    @step
    async def slow(x: int) -> int:
        if x == 0:
            await gate.wait()
        return x

    @step
    async def following(pair: list[int]) -> int:
        if pair == [1, 7]:
            seen.set()
        return sum(pair)

    @pipeline
    def staged() -> Handle[list[int]]:
        pairs: Any = [[slow(0), 5], [slow(1), 7], [8]]
        return following(each(pairs))

    run = await rt.start(staged())
    with anyio.fail_after(BOUND):
        await seen.wait()
        gate.set()
        assert await run == [5, 8, 8]


async def test_a_place_that_failed_is_left_out_of_all_that_follows(rt: Runtime) -> None:
    @pipeline
    def staged() -> Any:
        kept = odd(each(range(6), on_error="skip"))
        doubled = double(each(kept))
        return doubled, add(*each(doubled, range(6))), add(*each.product(kept, [10, 20])), total(doubled)

    run = await rt.start(staged())
    doubled, added, combined, summed = await run
    assert doubled == [2, 6, 10]
    assert added == [2 + 1, 6 + 3, 10 + 5]  # side by side by place: those of 1, 3 and 5
    assert combined == [11, 21, 13, 23, 15, 25]
    assert summed == 18


async def test_what_an_element_came_from_stands_before_it_in_the_log(rt: Runtime) -> None:
    """Also where a stage is over before the one that it goes over has written anything."""

    @step
    async def first(x: int) -> int:
        if x == 0:
            await anyio.sleep(0.1)
        return x

    @step
    async def second(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x

    @pipeline
    def staged() -> Any:
        return second(each(first(each(range(3)))))

    run = await rt.start(staged())
    assert await run.wait() == "failed"
    ran = [event for event in await events_of(rt, run) if isinstance(event, ElementsRan)]
    assert [event.failed != () for event in ran[:2]] == [False, True]
    assert ran[0].invocation != ran[1].invocation
    assert 2 in ran[0].indices


async def test_stages_after_one_that_failed_end_skipped_and_what_ran_is_kept(rt: Runtime) -> None:
    @pipeline
    def staged() -> Any:
        return total(double(each(odd(each([1, 3, 4, 5])))))

    run = await rt.start(staged())
    with anyio.fail_after(BOUND):
        assert await run.wait() == "failed"
    counts = run.counts()
    assert (counts["failed"], counts["skipped"]) == (1, 2)


async def test_lists_of_different_lengths_are_told_with_their_place(rt: Runtime) -> None:
    @pipeline
    def uneven() -> Any:
        return add(*each(double(each([1, 2, 3])), [1, 2]))

    with pytest.raises(RunFailed) as caught:
        await uneven()
    (error,) = caught.value.failures
    assert isinstance(error, GraphError)
    assert "different lengths (2, 3)" in str(error)
    assert error.where.startswith(__file__)


async def test_a_product_of_many_is_no_list(rt: Runtime) -> None:
    """A billion combinations begin at once, a few at a time."""
    enough = anyio.Event()

    @step
    async def pair(x: int, y: int) -> int:
        executed.append((x, y))
        if len(executed) > 40:
            enough.set()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return x * y

    @pipeline
    def combined() -> Any:
        return pair(*each.product(range(1_000), range(1_000_000), limit=8))

    @pipeline
    def small() -> Any:
        return add(*each.product(double(each([1, 2])), double(each([10, 20]))))

    assert await small() == [22, 42, 24, 44]
    executed.clear()


# Policies.


async def test_collect_runs_all_and_fails_with_all(rt: Runtime) -> None:
    @pipeline
    def staged() -> Any:
        collected = odd(each([1, 2, 3, 4], on_error="collect"))
        return total(double(each(collected))), total(collected)

    run = await rt.start(staged())
    with pytest.raises(RunFailed) as caught:
        await run
    (error,) = caught.value.failures
    assert isinstance(error, ElementsFailed)
    assert {place: str(one) for place, one in error.failures.items()} == {1: "2 is even", 3: "4 is even"}
    assert all(isinstance(one, ValueError) for one in error.exceptions)
    assert sorted(executed) == ["double 1", "double 3", "odd 1", "odd 2", "odd 3", "odd 4"]  # the good ones went on
    assert "total" not in executed
    assert run.counts() == {"done": 0, "cached": 0, "failed": 1, "skipped": 3, "cancelled": 0, "running": 0, "waiting": 0}
    assert sum(isinstance(event, StepFailed) for event in await events_of(rt, run)) == 1


@pytest.mark.parametrize("policy", ["stop", "skip", "collect"])
async def test_a_run_after_one_that_failed_does_what_failed_and_nothing_else(rt: Runtime, policy: Any) -> None:
    is_mended = anyio.Event()

    @step(cache=True)
    async def mended(x: int) -> int:
        executed.append(x)
        if x == 2 and not is_mended.is_set():
            raise ValueError("two")
        return x

    @pipeline
    def all_of_them() -> Any:
        return mended(each(range(5), on_error=policy))

    first = await rt.start(all_of_them())
    await first.wait()
    is_mended.set()
    done = set(executed) - {2}
    executed.clear()
    assert await all_of_them() == [0, 1, 2, 3, 4]
    assert set(executed) == set(range(5)) - done
    assert done == (set(range(5)) - {2} if policy != "stop" else {0, 1})


# Limits.


async def test_no_more_than_the_limit_are_under_way(rt: Runtime) -> None:
    now, most = [0], [0]

    @step
    async def busy(x: int) -> int:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await anyio.sleep(0.001)
        now[0] -= 1
        return x

    @pipeline
    def limited() -> Any:
        return busy(each(range(30), limit=4))

    assert await limited() == list(range(30))
    assert most == [4]


async def test_progress_is_told_as_counts_by_state(rt: Runtime) -> None:
    gate, stuck = anyio.Event(), anyio.Event()

    @step
    async def picky(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        if x == 4:
            stuck.set()
            await gate.wait()
        return x

    @pipeline
    def staged() -> Any:
        return double(each(picky(each(range(6), on_error="skip", limit=1))))

    run = await rt.start(staged())
    with anyio.fail_after(BOUND):
        await stuck.wait()
        assert run.elements(picky) == {"done": 3, "failed": 1, "left out": 0, "running": 1, "waiting": 1}
        gate.set()
        await run
    assert run.elements("double") == {"done": 5, "failed": 0, "left out": 1, "running": 0, "waiting": 0}


# Iterators.


async def test_an_iterator_is_taken_as_it_gives_and_its_elements_go_on(rt: Runtime) -> None:
    first = anyio.Event()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await first.wait()  # the next is given only when the one before has gone through both stages
        yield 2

    @step
    async def last(x: int) -> int:
        first.set()
        return x + 1

    @pipeline
    def streamed() -> Any:
        return last(each(double(each(numbers()))))

    run = await rt.start(streamed())
    with anyio.fail_after(BOUND):
        assert await run == [3, 5]
    taken = [event for event in await events_of(rt, run) if isinstance(event, ElementsTaken)]
    assert sum(len(event.elements) for event in taken) == 2
    assert taken[-1].is_end


async def test_an_endless_iterator_is_held_back(rt: Runtime) -> None:
    given = []
    gate = anyio.Event()

    async def endless() -> AsyncIterator[int]:
        for number in itertools.count():
            given.append(number)
            yield number

    @step
    async def stuck(x: int) -> int:
        if x >= 20:
            gate.set()
            await anyio.sleep_forever()
        return x

    @pipeline
    def streamed() -> Any:
        return stuck(each(endless(), limit=3))

    run = await rt.start(streamed())
    with anyio.fail_after(BOUND):
        await gate.wait()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
    assert len(given) <= 24
    await run.cancel()
    assert run.state == "cancelled"


async def test_an_endless_iterator_ends_when_what_follows_it_has_failed(rt: Runtime) -> None:
    closed = anyio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            for number in itertools.count(1):
                await anyio.lowlevel.checkpoint()
                yield number
        finally:
            closed.set()

    @step
    async def picky(x: int) -> int:
        if x > 10:
            raise ValueError("too many")
        return x

    @pipeline
    def streamed() -> Any:
        return picky(each(double(each(endless()))))

    run = await rt.start(streamed())
    with anyio.fail_after(BOUND):
        assert await run.wait() == "failed"
        await closed.wait()
    assert run.counts()["skipped"] == 1


@pytest.mark.parametrize("wrong", [ValueError("dry"), SystemExit(3), None])
async def test_an_iterator_that_breaks_is_a_failure_with_its_place(rt: Runtime, wrong: BaseException | None) -> None:
    async def broken() -> AsyncIterator[Any]:
        yield 1
        if wrong is None:
            yield object()
        else:
            raise wrong

    @pipeline
    def streamed() -> Any:
        return double(each(broken()))

    run = await rt.start(streamed())
    with anyio.fail_after(BOUND), pytest.raises(RunFailed) as caught:
        await run
    (error,) = caught.value.failures
    assert isinstance(error, SourceFailed)
    assert "broken, which double(each(...)) goes over" in str(error)
    assert error.where.startswith(__file__)


async def test_an_iterator_is_gone_over_by_one_call(rt: Runtime) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    class Again:
        async def __aiter__(self) -> AsyncIterator[int]:
            yield 2

    once: Any = numbers()
    again: Any = Again()

    @pipeline
    def twice() -> Any:
        return double(each(once)), odd(each(once))

    @pipeline
    def many() -> Any:
        return double(each(again)), add(*each(again, [1]))

    with pytest.raises(GraphError, match="only once"):
        await twice()
    assert await many() == ([4], [3])
    await once.aclose()


async def test_counts_of_events_and_bytes(rt: Runtime) -> None:
    """An element costs a place in a column, not an event."""

    @pipeline
    def staged() -> Any:
        return total(double(each(double(each(range(5_000))))))

    run = await rt.start(staged())
    await run
    events = await events_of(rt, run)
    assert sum(isinstance(event, ElementsRan) for event in events) <= 24
    assert len(events) <= 40


# What came from what.


async def test_an_element_names_what_it_was_made_of(rt: Runtime, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)

    @step
    async def read(file: File, offset: int) -> int:
        return ord(file.name[0]) + offset

    @pipeline
    def traced(files: list[File]) -> Any:
        base = double(5)
        texts = read(each(files), fixed(base))
        kept = double(each(texts))
        seconds: Any = [double(1), double(2)]
        return add(*each.product(kept, seconds)), add(*each(kept, texts))

    run = await rt.start(traced([File(str(tmp_path / "a.txt")), File(str(tmp_path / "b.txt"))]))
    await run
    stack = rt.stack
    async with Catalogue(stack.log, stack.artifacts, MemoryIndex(), stack.ports) as catalogue:
        past = await catalogue.run(run.id)
        combined, paired = past["add"]
        one = await combined.element(1)  # of a.txt, with the second of the two
        assert await one.load() == 2 * (97 + 10) + 4
        inputs = await one.inputs()
        assert repr(inputs["x"]).startswith("<Element 0 of double")
        assert await inputs["y"].load() == 4  # type: ignore[union-attr]  # an artifact
        names = [repr(origin) for origin in await one.ancestors()]
        assert sum("a.txt" in name for name in names) == 1
        assert not any("b.txt" in name for name in names)
        assert sum("Element 0 of read" in name for name in names) == 1
        last = await paired.element(1)
        assert {repr(origin) for origin in (await last.inputs()).values()} == {
            f"<Element 1 of double in run {run.id[:8]}: done>",
            f"<Element 1 of read in run {run.id[:8]}: done>",
        }
        with pytest.raises(NotFound, match="no element 9"):
            await combined.element(9)


# Over crashes.


async def numbers_as_they_come() -> AsyncIterator[int]:
    for number in (1, 2, 2, 5):
        yield number


async def numbers_in_time() -> AsyncIterator[int]:
    """What came is on record, and what comes is not: seconds lie between them."""
    async for number in numbers_as_they_come():
        yield number
        await anyio.sleep(3)


@step(cache=True)
async def noted(x: int) -> int:
    executed.append(f"noted {x}")
    if x == 4:
        raise ValueError("four")
    return x


@pipeline
def over_an_iterator(offset: int) -> Any:
    return total(double(each(noted(each(numbers_in_time(), limit=2))))), add(*each.product(noted(each([1, 3])), [offset, 5]))


@pipeline
def with_failures(offset: int) -> Any:
    kept = noted(each([1, 4, offset], on_error="skip"))
    return total(double(each(kept))), double(each(noted(each([7, 4, 8], on_error="collect"))))


@pytest.mark.parametrize("made", [over_an_iterator, with_failures])
def test_resumed_after_each_event_the_missing_elements_run_and_nothing_else(made: Any) -> None:
    proven = assert_resumes(made(3), schedules=4)
    assert proven.crashes > 20


# In bodies that decide while they run.


@pipeline
async def deciding(offset: int) -> Any:
    kept = noted(each(numbers_as_they_come()))
    first = await total(double(each(kept)))
    try:
        await noted(each([offset, 4, 6, 4], on_error="collect"))
    except ElementsFailed as error:
        first += len(error.failures)
    later = double(each(kept))  # its elements are all there
    return first, [item async for item in later], await add(*each.product(kept, [offset, 5]))


async def test_a_body_goes_over_fan_outs(rt: Runtime) -> None:
    run = await rt.start(deciding(3))
    first, later, combined = await run
    assert first == 20 + 2
    assert later == [2, 4, 4, 10]
    assert combined == [4, 6, 5, 7, 5, 7, 8, 10]


def test_a_body_that_goes_over_fan_outs_resumes() -> None:
    assert assert_resumes(deciding(3), schedules=3).crashes > 20
