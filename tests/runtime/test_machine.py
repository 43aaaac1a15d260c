"""The machine by itself: ready exactly once, skipped exactly what must be, live = folded, and all of it in linear time."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scenarios.graphs_outside import outside
from tests.scenarios.graphs_program import build
from tests.scenarios.graphs_random import random_spec

from ashore import Handle, Runtime, each, pipeline, step
from ashore.calls import Bound
from ashore.engine.state import DONE, FAILED, READY, SKIPPED, Machine
from ashore.events import Event, Failure, Output, StepFailed, StepRan, StepSkipped, decode, encode
from ashore.graph import Graph, Node, Wiring, wire
from ashore.ids import CacheKey, RunId
from ashore.results import decode_result, encode_result
from ashore.runs import Driven
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports

RUN = RunId("r" * 20)
FAILURE = Failure(("builtins:ValueError",), "no", "", (), "", b"")
DEEP = 100_000
MANY = 30_000


@step
async def join(number: int, inputs: Any) -> int:
    return number


@step
async def add(number: int, x: int) -> int:
    return number + x


@step
async def after(x: int) -> int:
    return x + 1


def output_of(node: Node) -> tuple[Output, ...]:
    return (Output(node.invocation * 2, 1, "value/1", "int", b"\x01"),)


def graph_of(inputs: list[list[int]]) -> Graph:
    """Node n takes the outputs of the nodes in `inputs[n]`, all of them before it."""

    @pipeline
    def wired() -> Any:
        handles: list[Handle[int]] = []
        for number, places in enumerate(inputs):
            handles.append(join(number, [handles[place] for place in places]))
        return handles

    return wire(wired, {})


@dataclass
class Plan:
    inputs: list[list[int]]
    failing: set[int]
    seed: int


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    size = draw(st.integers(1, 14))
    inputs = [draw(st.lists(st.integers(0, number - 1), max_size=4)) if number else [] for number in range(size)]
    return Plan(inputs, draw(st.sets(st.integers(0, size - 1), max_size=3)), draw(st.integers(0, 1000)))


class Life:
    """A machine whose ready nodes are taken and settled in a random order; every transition is an event, too."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.machine = Machine(graph_of(plan.inputs))
        self.events: list[Event] = []
        self.taken: list[int] = []
        self.running: list[Node] = []

    def live(self) -> None:
        machine = self.machine
        machine.begin()
        while machine.ready or self.running:
            if machine.ready and (not self.running or self.random.random() < 0.5):
                self.take(machine.ready.popleft())
            else:
                self.settle(self.running.pop(self.random.randrange(len(self.running))))

    def take(self, node: Node) -> None:
        done = {other.index for other in self.machine.nodes if other.state == DONE}
        assert set(self.plan.inputs[node.index]) <= done  # ready means ready
        self.taken.append(node.index)
        self.running.append(node)

    def settle(self, node: Node) -> None:
        if node.index in self.plan.failing:
            self.events.append(StepFailed(RUN, node.invocation, FAILURE, 0.0, 0.0, 0.0))
            skipped = self.machine.failed(node, FAILURE)
            self.events += [StepSkipped(RUN, other.invocation, tuple(other.because)) for other in skipped]
        else:
            self.events.append(StepRan(RUN, node.invocation, CacheKey(b""), output_of(node), 0.0, 0.0, 0.0))
            self.machine.completed(node, output_of(node))


def skipped_by(plan: Plan) -> set[int]:
    """The oracle: what depends, over any number of steps, on something that fails and is not skipped itself."""
    lost: set[int] = set()
    for number, places in enumerate(plan.inputs):
        if any(place in lost or place in plan.failing for place in places):
            lost.add(number)
    return lost


@given(plans())
def test_every_node_is_ready_once_or_skipped_by_what_failed(plan: Plan) -> None:
    life = Life(plan)
    life.live()
    skipped = skipped_by(plan)
    assert life.machine.is_settled  # no lost wake-up: nothing is left when nothing is ready
    assert sorted(life.taken) == sorted(set(range(len(plan.inputs))) - skipped)
    states = {SKIPPED: skipped, FAILED: plan.failing - skipped}
    for state, numbers in states.items():
        assert {node.index for node in life.machine.nodes if node.state == state} == numbers
    assert {node.index for node in life.machine.failures} == plan.failing - skipped


@given(plans(), st.data())
def test_whoever_folds_a_prefix_of_the_bytes_can_go_on_from_it(plan: Plan, data: st.DataObject) -> None:
    life = Life(plan)
    life.live()
    body = encode(life.events)
    cut = data.draw(st.integers(0, len(life.events)))
    folded = Machine(graph_of(plan.inputs))
    for event in decode(body, len(life.events))[:cut]:
        folded.receive(event)
    folded.begin()
    ready = [node.index for node in folded.ready if node.state == READY]
    assert len(set(ready)) == len(ready)
    done = {node.index for node in folded.nodes if node.state == DONE}
    settled = {node.index for node in folded.nodes if node.state >= DONE}
    assert set(ready) == {n for n, places in enumerate(plan.inputs) if set(places) <= done and n not in settled}
    for event in decode(body, len(life.events)):  # what it has already changes nothing
        folded.receive(event)
    assert folded.fold() == life.machine.fold()
    assert folded.is_settled


@given(plans())
def test_the_first_outcome_is_final(plan: Plan) -> None:
    life = Life(plan)
    life.live()
    before = life.machine.fold()
    for node in life.machine.nodes:
        life.machine.completed(node, output_of(node))
        life.machine.failed(node, FAILURE)
        life.machine.skipped(node)
        life.machine.receive(StepFailed(RUN, node.invocation, FAILURE, 0.0, 0.0, 0.0))
    assert life.machine.fold() == before
    assert life.machine.unsettled == 0


@pytest.mark.parametrize("seed", range(12))
def test_a_running_run_is_the_fold_of_its_log_at_every_batch(seed: int) -> None:
    outside.open(os.devnull)
    spec = json.dumps(random_spec(Random(seed), 14))

    async def main() -> int:
        ports = sim_ports(seed)
        async with Runtime(home="/home/.ashore", ports=ports) as rt:
            run = await rt.start_soon(build(spec))
            course = run._course
            assert isinstance(course, Driven)
            machine, told = course.drive.machine, []
            batches = 0

            def compare(events: list[Event]) -> None:
                nonlocal batches
                batches += 1
                told.extend(events)
                live = machine.fold()
                # the machine hears of an event right after the journal: the last one may be on its way still
                assert set(map(repr, folded(told[:-1]))) <= set(map(repr, live)) <= set(map(repr, folded(told)))

            def folded(events: list[Event]) -> list[Any]:
                other = Machine(wire(build, {"spec": spec}))
                for event in events:
                    other.receive(event)
                return other.fold()

            course.drive.journal.listeners.append(compare)
            await run.wait()
            frames = await rt.stack.log.about(run.id.encode())
            recorded = [event for frame in frames for event in decode(frame.batch.body, frame.count)]
            assert folded(recorded) == machine.fold()
            return batches

    assert simulate(main, seed) > 0


# Size.


@pipeline
def chain(length: int) -> Handle[int]:
    handle = after(0)
    for _ in range(length - 1):
        handle = after(handle)
    return handle


def test_a_chain_as_deep_as_you_like_is_wired_and_run() -> None:
    machine = Machine(wire(chain, {"length": DEEP}))
    ended = drain(machine)
    assert ended == DEEP
    assert machine.is_settled


def test_a_failure_at_the_start_of_a_deep_chain_skips_it_all() -> None:
    machine = Machine(wire(chain, {"length": MANY}))
    machine.begin()
    skipped = machine.failed(machine.ready.popleft(), FAILURE)
    assert len(skipped) == MANY - 1
    assert machine.is_settled
    assert not machine.ready


def test_a_wide_fan_is_wired_run_and_shaped() -> None:
    @pipeline
    def wide(width: int) -> Any:
        first = after(0)
        return [add(number, first) for number in range(width)]

    graph = wire(wide, {"width": MANY})
    machine = Machine(graph)
    assert drain(machine) == MANY + 1
    assert len(decode_result(encode_result(graph.result), lambda output: output.size)) == MANY


def drain(machine: Machine) -> int:
    machine.begin()
    ready: deque[Node] = machine.ready
    ended = 0
    while ready:
        node = ready.popleft()
        machine.completed(node, output_of(node))
        ended += 1
    return ended


def calls_in(work: Callable[[], object]) -> int:
    """How many function calls `work` makes: a measure of its time that is the same each time."""
    count = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


SHAPES: dict[str, Callable[[int], list[list[int]]]] = {
    "chain": lambda size: [[number - 1] if number else [] for number in range(size)],
    "wide": lambda size: [[]] + [[0] for _ in range(size - 1)],
    "gathered": lambda size: [[] for _ in range(size - 1)] + [list(range(size - 1))],
    "diamonds": lambda size: [[n - 1, n - 2] if n > 2 and n % 3 == 0 else [n - n % 3] if n % 3 else [] for n in range(size)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fails", [False, True])
def test_work_grows_with_the_graph_and_not_faster(shape: str, fails: bool) -> None:
    def life(size: int) -> None:
        machine = Machine(graph_of(SHAPES[shape](size)))
        if fails:
            machine.begin()
            machine.failed(machine.ready.popleft(), FAILURE)
        drain(machine)
        machine.cancel(lambda node: True)

    life(10)
    small, large = calls_in(lambda: life(400)), calls_in(lambda: life(1_600))
    assert large < 4.4 * small


def test_handles_of_a_deep_chain_can_be_shown() -> None:
    @step
    def split(x: int) -> tuple[int, int]:
        return x, x

    @pipeline
    def halved() -> Any:
        handle: Any = split(0)[0]
        for _ in range(10_000):
            handle = split(handle)[0]
        assert len(repr(handle)) < 1_000
        return handle

    assert len(wire(halved, {}).nodes) == 10_001


# A whole run.


@pytest.mark.anyio
async def test_a_failure_in_a_long_chain_is_one_failure_and_the_rest_is_skipped(rt: Runtime) -> None:
    @step
    async def upto(x: int) -> int:
        if x == 5_000:
            raise ValueError("half")
        return x + 1

    @pipeline
    def half(length: int) -> Handle[int]:
        handle = upto(0)
        for _ in range(length - 1):
            handle = upto(handle)
        return handle

    run = await rt.start(half(10_000))
    assert await run.wait() == "failed"
    assert run.counts() == {"done": 5_000, "cached": 0, "failed": 1, "skipped": 4_999, "cancelled": 0, "running": 0, "waiting": 0}
    assert [str(error) for error in run.error.failures] == ["half"]  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_a_fan_out_of_many_elements_is_few_frames(rt: Runtime) -> None:
    @pipeline
    def many(count: int) -> Handle[list[int]]:
        return after(each(range(count)))

    before = rt.stack.log.statistics().frames
    assert sum(await many(10_000)) == sum(range(1, 10_001))
    assert rt.stack.log.statistics().frames - before < 60


def test_equal_calls_are_one_node_and_keys_tell_them_apart() -> None:
    wiring = Wiring()

    def called(key: str) -> Any:
        return wiring.called(after.options(key=key).bind((1,), {})).node

    assert called("a") is called("a")
    assert called("a") is not called("b")
    assert isinstance(after.bind((1,), {}), Bound)
