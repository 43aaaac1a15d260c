"""Who may begin: whatever is asked for and whoever leaves, no limit is passed, nobody is forgotten, order and priority hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore import Capacity, Limit, Retry, StepError
from ashore.engine.limits import Admission, Wish
from ashore.engine.retrying import next_wait
from ashore.policies import Policy

CAPACITY = Capacity(cpus=4, memory=100, gpus=2)

policies = st.builds(
    Policy,
    limit=st.sampled_from([None, Limit(1), Limit(3), Limit(rate="2/5s"), Limit(2, rate="3/10s")]),
    priority=st.integers(0, 2),
    cpus=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    memory=st.sampled_from([0, 30, 100]),
    gpus=st.sampled_from([0, 0, 1, 2]),
).filter(lambda policy: policy.is_admitted)


class World:
    """An admission, everything that was asked of it, and what must hold at every moment."""

    def __init__(self) -> None:
        self.admission = Admission(CAPACITY)
        self.now = 0.0
        self.wishes: list[Wish] = []
        self.begun: list[tuple[float, Wish]] = []

    def ask(self, policy: Policy) -> None:
        key = repr((policy.limit, policy.cpus, policy.memory, policy.gpus))
        wish = Wish(policy, key, lambda: None)
        self.wishes.append(wish)
        self.admission.ask(wish)
        self.admit()

    def leave(self, place: int) -> None:
        living = [wish for wish in self.wishes if not wish.is_over]
        if living:
            self.admission.leave(living[place % len(living)])
            self.admit()

    def admit(self) -> None:
        self.begun += [(self.now, wish) for wish in self.admission.admit(self.now)]
        self.check()

    def check(self) -> None:
        inside = [wish for wish in self.wishes if wish.is_in and not wish.is_over]
        assert sum(wish.policy.cpus for wish in inside) <= CAPACITY.cpus
        assert sum(wish.policy.memory for wish in inside) <= CAPACITY.bytes
        gpus = [number for wish in inside for number in wish.gpus]
        assert sorted(gpus) == sorted(set(gpus))
        assert all(len(wish.gpus) == wish.policy.gpus for wish in inside)
        for key in {wish.key for wish in self.wishes}:
            limit = next(wish.policy.limit for wish in self.wishes if wish.key == key)
            if limit is None:
                continue
            if limit.concurrency is not None:
                assert sum(wish.key == key for wish in inside) <= limit.concurrency
            if limit.pace is not None:
                count, seconds = limit.pace
                starts = [at for at, wish in self.begun if wish.key == key]
                assert all(later - earlier >= seconds - 1e-6 for earlier, later in zip(starts, starts[count:], strict=False))

    def drain(self) -> None:
        """Let time pass and everybody leave, until nobody waits: nobody may be forgotten."""
        for _ in range(4 * len(self.wishes) + 4):
            for wish in self.wishes:
                if wish.is_in and not wish.is_over:
                    self.admission.leave(wish)
            if self.admission.next_at is not None:
                self.now = max(self.now, self.admission.next_at)
            self.admit()
        assert self.admission.waiting == 0
        assert self.admission.inside == sum(wish.is_in and not wish.is_over for wish in self.wishes)


@given(st.lists(st.one_of(policies, st.integers(0, 20), st.floats(0.1, 8)), max_size=40))
def test_no_limit_is_passed_and_nobody_is_forgotten(steps: list[Policy | int | float]) -> None:
    world = World()
    for one in steps:
        if isinstance(one, Policy):
            world.ask(one)
        elif isinstance(one, int):
            world.leave(one)
        else:
            world.now += one
            world.admit()
    world.drain()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_one_queue_goes_by_priority_then_by_order(priorities: list[int]) -> None:
    admission = Admission(CAPACITY)
    limit = Limit(1)
    first = Wish(Policy(limit=limit), "queue", lambda: None)
    admission.ask(first)
    assert admission.admit(0.0) == [first]
    wishes = [Wish(Policy(limit=limit, priority=priority), "queue", lambda: None) for priority in priorities]
    for wish in wishes:
        admission.ask(wish)
    order: list[Wish] = [first]
    while len(order) <= len(wishes):
        admission.leave(order[-1])
        order += admission.admit(0.0)
    places = {id(wish): place for place, wish in enumerate(wishes)}
    expected = sorted(range(len(wishes)), key=lambda place: (-priorities[place], place))
    assert [places[id(wish)] for wish in order[1:]] == expected


def test_a_large_wish_is_not_overtaken_for_ever() -> None:
    world = World()
    world.ask(Policy(cpus=1.0))
    world.ask(Policy(cpus=4.0))
    small = Policy(cpus=0.5)
    for _ in range(5):
        world.ask(small)
    assert [wish.policy.cpus for _, wish in world.begun] == [1.0]
    world.leave(0)
    assert [wish.policy.cpus for _, wish in world.begun] == [1.0, 4.0]


def test_queues_that_are_done_with_are_forgotten() -> None:
    admission = Admission(CAPACITY)
    for number in range(100):
        wish = Wish(Policy(limit=Limit(1)), number, lambda: None)
        admission.ask(wish)
        admission.admit(0.0)
        admission.leave(wish)
        admission.admit(0.0)
    assert len(admission._queues) == 0


# Again, and when.


@given(
    st.tuples(
        st.integers(0, 10),
        st.floats(0, 100),
        st.floats(1, 10),
        st.floats(0, 1000),
        st.booleans(),
        st.integers(1, 12),
        st.floats(0, 0.999),
    )
)
def test_waits_grow_to_their_cap_and_jitter_shortens_them(drawn: Any) -> None:
    times, wait, factor, cap, jitter, failed, chance = drawn
    retry = Retry(times, wait=wait, factor=factor, jitter=jitter, cap=cap)
    found = next_wait(retry, failed, OSError(), lambda: chance)
    if failed > times:
        assert found is None
        return
    assert found is not None
    most = min(wait * factor ** (failed - 1), cap)
    assert most / 2 - 1e-9 <= found <= most + 1e-9
    assert jitter or found == pytest.approx(most)


@pytest.mark.parametrize(
    ("on", "error", "again"),
    [
        (Exception, ValueError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        (Exception, SystemExit(), False),
        (BaseException, SystemExit(), True),
        (BaseException, KeyboardInterrupt(), False),
        (lambda error: error.args == (1,), ValueError(1), True),
        (lambda error: error.args == (1,), ValueError(2), False),
        (lambda error: True, SystemExit(), False),
    ],
)
def test_what_is_worth_it(on: Any, error: BaseException, again: bool) -> None:
    found = next_wait(Retry(1, on=on), 1, error, lambda: 0.0)
    assert (found is not None) is again


def test_no_policy_no_retry() -> None:
    assert next_wait(None, 1, OSError(), lambda: 0.0) is None


def test_a_predicate_that_raises_is_named() -> None:
    with pytest.raises(StepError, match="raised ZeroDivisionError"):
        next_wait(Retry(1, on=lambda error: bool(1 // 0)), 1, OSError("x"), lambda: 0.0)
