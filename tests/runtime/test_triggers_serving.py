"""Who serves a pipeline: one living process per home."""

from __future__ import annotations

from functools import partial

import pytest

from ashore.events import OwnerSeen
from ashore.triggers.serving import Holder, claim_serving
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.ports import Ports
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import SimProcess


async def serve(ports: Ports, answers: dict[str, Holder | None], name: str, pipelines: list[str]) -> None:
    log = await open_segment_log("/home/log", ports)
    me = OwnerSeen(await log.own(), ports.disk.process(), f"host of {name}", "user", "ashore serve", 1000.0)
    answers[name] = await claim_serving(log, me, [(pipeline, f"flights.py:{pipeline}") for pipeline in pipelines])
    await ports.clock.sleep(1000.0)


async def second_comer(seed: int, *, is_first_dead: bool) -> tuple[Holder | None, int]:
    """What a second daemon hears, and the number of the first one's process."""
    disk, answers = SimDisk(seed), dict[str, Holder | None]()
    first = SimProcess(disk.for_process("first"), seed)
    first.start(partial(serve, answers=answers, name="first", pipelines=["grow", "retrain"]))
    await first.ports.clock.sleep(100.0)
    assert answers == {"first": None}
    if is_first_dead:
        first.kill()
    second = SimProcess(disk.for_process("second"), seed)
    second.start(partial(serve, answers=answers, name="second", pipelines=["other", "retrain"]))
    await first.ports.clock.sleep(100.0)
    return answers["second"], first.disk.process()


@pytest.mark.parametrize("seed", range(5))
def test_a_second_daemon_hears_who_serves_and_since_when(seed: int) -> None:
    holder, process = simulate(partial(second_comer, seed, is_first_dead=False), seed)
    assert holder == Holder("retrain", process, "host of first", "ashore serve", 1000.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_daemon_is_taken_over_from(seed: int) -> None:
    assert simulate(partial(second_comer, seed, is_first_dead=True), seed)[0] is None


async def race(seed: int) -> list[Holder | None]:
    disk, answers = SimDisk(seed), dict[str, Holder | None]()
    processes = [SimProcess(disk.for_process(name), seed) for name in ("a", "b", "c")]
    for process in processes:
        process.start(partial(serve, answers=answers, name=process.disk.name, pipelines=["grow"]))
    await processes[0].ports.clock.sleep(100.0)
    return list(answers.values())


@pytest.mark.parametrize("seed", range(10))
def test_of_daemons_that_start_together_one_serves(seed: int) -> None:
    answers = simulate(partial(race, seed), seed)
    assert len(answers) == 3
    assert answers.count(None) == 1
