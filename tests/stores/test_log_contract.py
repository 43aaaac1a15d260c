"""The contract of event logs, kept by the reference and by segment files, on real ports and on simulated ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ashore_stores.logs.base import EventLog
from ashore_stores.logs.memory import MemoryEventLog, MemoryHome
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.ports import Ports
from ashore_stores.system import system_ports
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.logs import EventLogContract, Processes, SharedEventLogContract
from ashore_stores.testing.loop import SimLoop
from ashore_stores.testing.world import sim_ports

TINY = LogSettings(segment_bytes=700)
"""Several segments in every test."""


class MemoryProcesses:
    def __init__(self) -> None:
        self.home = MemoryHome()
        self.ports = system_ports()

    async def another(self) -> MemoryEventLog:
        return MemoryEventLog(self.ports, self.home)

    async def kill(self, log: EventLog) -> None:
        assert isinstance(log, MemoryEventLog)
        log.kill()


class TestMemoryEventLog(SharedEventLogContract):
    @pytest.fixture
    def processes(self) -> Processes:
        return MemoryProcesses()

    @pytest.fixture
    async def log(self, anyio_backend: object, processes: Processes) -> AsyncIterator[EventLog]:
        log = await processes.another()
        yield log
        await log.aclose()


class TestSegmentEventLog(EventLogContract):
    @pytest.fixture(params=[LogSettings(), TINY], ids=["large", "tiny"])
    async def log(self, anyio_backend: object, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
        log = await open_segment_log(str(tmp_path / "home" / "log"), system_ports(), request.param)
        yield log
        await log.aclose()


class SimProcesses:
    """Processes of one simulated machine. Each has a disk view, and so locks, of its own."""

    def __init__(self, seed: int, settings: LogSettings) -> None:
        self.seed = seed
        self.settings = settings
        self.disk = SimDisk(seed)
        self.logs: list[tuple[SegmentEventLog, Ports, SimDisk]] = []

    async def another(self) -> SegmentEventLog:
        disk = self.disk.for_process(f"p{len(self.logs) + 1}")
        ports = sim_ports(self.seed, disk=disk, preempt=(0.1, 0.3)[self.seed % 2])
        log = await open_segment_log("/home/log", ports, self.settings)
        self.logs.append((log, ports, disk))
        return log

    async def kill(self, log: EventLog) -> None:
        disk = next(disk for each, _, disk in self.logs if each is log)
        disk.on_death = lambda error: None
        disk.kill()

    async def close(self) -> None:
        for log, _, disk in self.logs:
            if disk.is_alive:
                await log.aclose()


@pytest.mark.parametrize("seed", range(6))
class TestSimulatedSegmentEventLog(SharedEventLogContract):
    """Any order of wake-ups, blocking work preempted at any call of the disk, tiny segments for every second seed."""

    @pytest.fixture
    def anyio_backend(self, seed: int) -> tuple[str, dict[str, Any]]:
        return "asyncio", {"loop_factory": partial(SimLoop, seed)}

    @pytest.fixture
    async def processes(self, anyio_backend: object, seed: int) -> AsyncIterator[Processes]:
        processes = SimProcesses(seed, TINY if seed % 2 else LogSettings())
        yield processes
        await processes.close()

    @pytest.fixture
    async def log(self, processes: Processes) -> EventLog:
        return await processes.another()
