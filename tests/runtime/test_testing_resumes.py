"""`assert_resumes`: it passes what is right, names what is not, and finds engines that are broken on purpose."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import ashore
from ashore import File, Handle, InsideLoop, Resource, approval, current, each, pipeline, resource, step
from ashore.engine.state import Machine
from ashore.events import Failure, StepFailed, StepRan, StepStarted
from ashore.ids import InvocationId, RunId
from ashore.testing import Resumed, assert_resumes
from ashore.testing.lives import Crash
from ashore.testing.resuming import _End, _History, _Trial

charges: Counter[str] = Counter()


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def double(x: int) -> int:
    return 2 * x


@step
async def late_sum(xs: list[int]) -> int:
    await anyio.sleep(7 * 24 * 3600.0)  # a week takes no time
    return sum(xs)


@step
def odd(x: int) -> int:
    raise ValueError(f"{x} is odd")


@pipeline
def sums(n: int) -> dict[str, Handle[int]]:
    xs = numbers(n)
    return {"of doubles": late_sum(double(each(xs))), "plain": late_sum(xs)}


@pipeline
def fails(n: int) -> list[Handle[int]]:
    return [late_sum(numbers(n)), odd(n), odd(n + 2)]


def test_a_pipeline_comes_to_the_same_end_wherever_it_is_killed() -> None:
    proof = assert_resumes(sums(4), schedules=4)
    assert proof.value == {"of doubles": 12, "plain": 6}
    assert proof.events >= 12
    assert proof.crashes >= 4 * 12
    assert proof.held == 0


def test_a_failing_one_fails_the_same_way() -> None:
    assert assert_resumes(fails(3), schedules=3).value is None


def test_a_single_step_is_a_run_as_well() -> None:
    assert assert_resumes(double(21), schedules=2).value == 42


def test_each_crash_is_at_another_event_and_resumed_by_another_process() -> None:
    """What the log has after the crash is the prefix that was asked for, and the rest is written by somebody else."""
    trial = _Trial(sums(2), None, None, None, {})
    trial._call.claim()
    whole = trial.whole(3)
    for crash in whole.crashes(with_late=False):
        history = trial.resumed(3, crash)
        assert [type(event) for event in history.before] == [type(event) for event in whole.log[: crash.events]]
        assert history.log[: crash.events] == history.before


# Effects on the outside.


@step
def charge(order: str) -> str:
    charges[order] += 1
    return f"paid {order}"


@step
def charge_once(order: str, bank: Resource[dict[str, str]] = resource()) -> str:
    if order not in bank:  # the bank knows the order already
        bank[order] = "paid"
        charges[order] += 1
    return f"paid {order}"


@pipeline
def shop(count: int) -> list[Handle[str]]:
    return [charge(f"order {n}") for n in range(count)]


@pipeline
def careful_shop(count: int) -> list[Handle[str]]:
    return [charge_once(f"order {n}") for n in range(count)]


def test_a_step_that_charges_again_after_a_crash_is_found() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_resumes(shop(2), schedules=2, effects=charges)
    said = str(caught.value)
    assert "happened more often than without the crash: 'order " in said
    assert "2 times, not 1" in said
    assert "schedule 0, killed before event " in said
    assert "StepStarted" in said


def test_one_that_does_not_is_not() -> None:
    bank: dict[str, str] = {}
    proof = assert_resumes(careful_shop(2), schedules=3, effects=charges, fresh=bank.clear, resources={"bank": lambda: bank})
    assert proof.value == ["paid order 0", "paid order 1"]
    assert charges == {"order 0": 1, "order 1": 1}


@step(effects=True)
async def charge_for_good(order: str) -> str:
    charges[order] += 1
    return f"paid {order}"


@pipeline
async def effects_shop(count: int) -> list[str]:
    return [await charge_for_good(f"order {n}") for n in range(count)]


def test_an_effect_is_held_where_nobody_knows_and_nobody_is_charged_twice() -> None:
    with pytest.raises(AssertionError, match=r"resumed it is held by RunHeld: .*charge_for_good"):
        assert_resumes(effects_shop(2), schedules=1, effects=charges)
    proof = assert_resumes(effects_shop(2), schedules=2, effects=charges, may_hold=True)
    assert proof.value == ["paid order 0", "paid order 1"]
    assert 0 < proof.held < proof.crashes / 2


@step(effects=True, on_lost="retry")
async def charge_by_key(order: str, bank: Resource[dict[str, str]] = resource()) -> str:
    key = current().key
    if key not in bank:  # a bank that takes idempotency keys
        bank[key] = order
        charges[order] += 1
    return f"paid {order}"


@pipeline
async def keyed_shop(count: int) -> list[str]:
    return list(await asyncio.gather(*(charge_by_key(f"order {n}") for n in range(count))))


def test_with_the_key_of_the_attempt_an_outside_may_be_asked_again() -> None:
    bank: dict[str, str] = {}
    proof = assert_resumes(keyed_shop(3), schedules=2, effects=charges, fresh=bank.clear, resources={"bank": lambda: bank})
    assert proof.value == [f"paid order {n}" for n in range(3)]
    assert proof.held == 0


def test_a_run_that_is_held_for_no_reason_is_found() -> None:
    """An unchanged pipeline comes to rest for an effect that was under way, and for nothing else."""
    history = _History(_End("held", None), Counter(), [], last=[StepStarted(RunId("r"), InvocationId(b"1"), 0.0)])
    whole = _History(_End("done", b"1"), Counter(), [])
    assert history.problem(whole, may_hold=True, same=None) == ""
    history.last.append(StepFailed(RunId("r"), InvocationId(b"1"), Failure((), "", ""), 0.0, 0.0, 0.0))
    assert "no step was under way" in history.problem(whole, may_hold=True, same=None)


def test_what_the_dead_process_does_in_its_finally_blocks_does_not_count() -> None:
    @step
    async def cleans(order: str) -> str:
        try:
            await anyio.sleep(5.0)
        finally:
            charges["cleaned up"] += 1
        return order

    trial = _Trial(cleans("a"), charges, None, None, {})
    trial._call.claim()
    assert trial.resumed(1, Crash(5)).effects == {"cleaned up": 1}  # of the second life


def test_an_end_that_depends_on_the_order_is_found_without_any_crash() -> None:
    order: list[int] = []

    @step
    async def place(n: int) -> int:
        await anyio.sleep(1.0)
        order.append(n)
        return order.index(n)

    @pipeline
    def race() -> list[Handle[int]]:
        return [place(n) for n in range(4)]

    with pytest.raises(AssertionError, match="changes the end, without any crash"):
        assert_resumes(race(), schedules=20, fresh=order.clear)


def test_values_may_be_compared_by_the_users_own_measure() -> None:
    drawn: list[float] = []

    @step
    def draw(n: int) -> float:
        drawn.append(1.0)
        return n + len(drawn) / 1e6

    with pytest.raises(AssertionError):
        assert_resumes(draw(1), schedules=2)
    assert_resumes(draw(1), schedules=2, same=lambda one, other: abs(one - other) < 0.1)


@pipeline
async def asks(n: int) -> str:
    await ashore.sleep("1d")
    if await approval("double?", timeout="2d"):
        return f"doubled: {await double(n)}"
    return "as it is"


@pipeline
async def waits_for_ever() -> bool:
    return await approval("really?")


def test_questions_are_answered_as_they_are_asked() -> None:
    assert assert_resumes(asks(4), schedules=2, approve=True).value == "doubled: 8"
    assert assert_resumes(asks(4), schedules=2, approve=False).value == "as it is"
    assert assert_resumes(asks(4), schedules=1).value == "as it is"  # nobody answers in two days
    with pytest.raises(AssertionError, match="comes to rest"):
        assert_resumes(waits_for_ever(), schedules=1)


# Code that real steps have inside.


def test_steps_may_have_loops_and_threads_of_their_own() -> None:
    @step
    def loops(n: int) -> int:
        async def inner() -> int:
            await asyncio.sleep(0)
            return n

        return asyncio.run(inner()) + anyio.run(inner)

    @step
    async def threads(n: int) -> int:
        return await asyncio.to_thread(lambda: n) + await anyio.to_thread.run_sync(lambda: n)

    @pipeline
    def both(n: int) -> list[Handle[int]]:
        return [loops(n), threads(n)]

    assert assert_resumes(both(2), schedules=1).value == [4, 4]


def test_files_of_this_machine_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")

    @step
    def length(file: File) -> int:
        return len(Path(file.path).read_text())

    @pipeline
    def of_file(file: File) -> Handle[int]:
        return double(length(file))

    assert assert_resumes(of_file(File(tmp_path / "a.txt")), schedules=2).value == 10


async def _inside() -> None:
    assert_resumes(double(1))


def test_it_has_a_loop_of_its_own() -> None:
    with pytest.raises(InsideLoop, match="plain `def test_"):
        anyio.run(_inside)


# Engines that are broken on purpose.


def forgets_outcomes(self: Machine, event: Any) -> None:
    if not isinstance(event, StepRan):
        received(self, event)


def takes_the_first_for_all(self: Machine, event: Any) -> None:
    received(self, event)
    if isinstance(event, StepRan):
        for node in self.nodes:
            if node.work.name == "double" and node.state == 0 and not node.missing:
                self.completed(node, event.outputs)


received = Machine.receive


def test_a_runtime_that_does_recorded_steps_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "receive", forgets_outcomes)
    with pytest.raises(AssertionError, match="done again though it was on record"):
        assert_resumes(sums(2), schedules=1)


def test_a_runtime_that_mixes_results_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @pipeline
    def two() -> list[Handle[int]]:
        return [double(1), double(2), double(3)]

    assert assert_resumes(two(), schedules=1).value == [2, 4, 6]
    monkeypatch.setattr(Machine, "receive", takes_the_first_for_all)
    with pytest.raises(AssertionError, match=r"another end: without the crash it is done, with \[2, 4, 6\]; resumed it is"):
        assert_resumes(two(), schedules=1)


def test_the_outside_is_asked_about_the_moment_before_the_record_too() -> None:
    """The bank knows, the log does not yet: a bank that forgets with each process is charged twice."""
    with pytest.raises(AssertionError, match="more often"):
        assert_resumes(careful_shop(1), schedules=1, effects=charges, resources={"bank": dict})


def test_the_proof_says_what_was_done() -> None:
    proof = assert_resumes(double(2), schedules=2)
    assert isinstance(proof, Resumed)
    assert (proof.schedules, proof.value) == (2, 4)
