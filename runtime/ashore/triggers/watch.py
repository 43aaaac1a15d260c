"""Watches one trigger's folder for as long as it runs.

The scan is the truth (at the start, when hints were lost, and each SCAN_EVERY seconds), hints only make it quick. All work on the
disk is done by workers; the loop is never blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from ashore.events import ArrivalRefused, Arrived
from ashore.triggers.arrivals import FILES_AT_ONCE, Recorder, Taken, batches
from ashore.triggers.complete import Candidates
from ashore.triggers.scan import BadPattern, Found, Pattern, Refused, look, scan
from ashore_stores.errors import Missing, NotDurable, Unavailable
from ashore_stores.logs.base import EventLog
from ashore_stores.ports import Change, Ports, Watch

SCAN_EVERY: Final = 60.0
"""Seconds between two scans."""

CALM: Final = 0.05
"""Seconds between losing the hints and asking for new ones, so that a storm does not become a storm of scans."""


@dataclass(frozen=True, slots=True)
class FolderMade:
    """The folder was not there: it is now."""

    folder: str


@dataclass(frozen=True, slots=True)
class Hindered:
    """Arrivals wait for something; the watch goes on and tries again by itself."""

    trigger: str
    reason: str


Notice: TypeAlias = Arrived | ArrivalRefused | FolderMade | Hindered
"""What a watch tells. `Arrived` and `ArrivalRefused` are durable when told, and told only by the watch that recorded them."""


class TriggerWatch:
    """The watch of one pattern. `run` never returns; cancelling it loses nothing, the next one scans."""

    def __init__(self, pattern: Pattern, log: EventLog, ports: Ports, tell: Callable[[Notice], None]) -> None:
        self._pattern = pattern
        self._ports = ports
        self._tell = tell
        self._recorder = Recorder(pattern, log, ports)
        self._candidates = Candidates()
        self._scan_due = 0.0
        self._is_lost = False
        """Hints were lost: watch anew, and scan."""
        self._news = anyio.Event()
        self._told: str | None = None

    def __repr__(self) -> str:
        return f"<TriggerWatch {self._pattern.text!r} {self._candidates!r}>"

    async def run(self) -> None:
        """Raises `BadPattern` or `ReadOnly` if there can be no such folder, `Fenced` if this owner was taken over."""
        while True:
            if await self._ports.workers.run(self._make_folder):
                self._tell(FolderMade(self._pattern.folder))
            async with AsyncExitStack() as stack:
                watch = await self._open(stack)
                if watch is not None:
                    await self._serve(watch)
            await self._ports.clock.sleep(CALM)

    def _make_folder(self) -> bool:
        """See to it that the folder is there; whether it had to be made."""
        disk, folder = self._ports.disk, self._pattern.folder
        stat = disk.stat(folder)
        if stat is None:
            disk.make_folder(folder)
        elif stat.kind not in ("directory", "link"):
            raise BadPattern(f"{self._pattern.text!r} cannot be watched: {folder!r} is not a folder")
        return stat is None

    async def _open(self, stack: AsyncExitStack) -> Watch | None:
        """Hints about the folder; none where the system has no more to give: then the scans do it alone."""
        try:
            return await stack.enter_async_context(self._ports.watcher.watch(self._pattern.folder))
        except Missing:
            return None
        except Unavailable as error:
            self._hinder(f"{error}; looking every {SCAN_EVERY:.0f} s only")
            return _NoHints(self._ports)

    async def _serve(self, watch: Watch) -> None:
        """Until hints are lost. The scan comes after the watch began, so that nothing falls between the two."""
        self._is_lost = False
        self._scan_due = self._ports.clock.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, watch)
            while not self._is_lost:
                await self._round()
                await self._rest()
            group.cancel_scope.cancel()

    async def _listen(self, watch: Watch) -> None:
        while True:
            changes = await watch.changes()
            now = self._ports.clock.monotonic()
            for change in changes:
                if not change.name:
                    self._is_lost = True
                elif self._pattern.matches(change.name):
                    self._candidates.hint(change.name, now, complete=change.complete)
            self._news.set()
            await checkpoint()  # in a storm there are always more

    async def _rest(self) -> None:
        """Until a hint comes or the next look or scan is due."""
        delay = min(self._scan_due, self._candidates.next_due()) - self._ports.clock.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(self._alarm, max(delay, 0.0))
            await self._news.wait()
            group.cancel_scope.cancel()
        self._news = anyio.Event()

    async def _alarm(self, delay: float) -> None:
        await self._ports.clock.sleep(delay)
        self._news.set()

    async def _round(self) -> None:
        """Look at what is due, and take what is complete."""
        clock = self._ports.clock
        if clock.monotonic() >= self._scan_due:
            looked = await self._ports.workers.run(self._scan)
            self._scan_due = clock.monotonic() + SCAN_EVERY
            await self._settle()
        else:
            names = self._candidates.take_due(clock.monotonic())
            looked = await self._ports.workers.run(self._look, names) if names else []
            self._candidates.dismiss(set(names) - {found.name for found in looked if isinstance(found, Found)})
        complete = await self._complete([found for found in looked if isinstance(found, Found)])
        await self._take(complete, [found for found in looked if isinstance(found, Refused)])

    async def _complete(self, looked: Sequence[Found]) -> list[Found]:
        """Which of these files are complete. Lets others run now and then: it may be a hundred thousand."""
        complete = []
        for number, found in enumerate(looked, start=1):
            if self._candidates.look(found.name, found.stat, self._ports.clock.monotonic()):
                complete.append(found)
            if number % FILES_AT_ONCE == 0:
                await checkpoint()
        return complete

    def _scan(self) -> list[Found | Refused]:
        """What the folder holds and the log does not. On a worker."""
        found = scan(self._ports.disk, self._pattern)
        return [one for one in found if isinstance(one, Refused) or not self._recorder.is_recorded(one)]

    def _look(self, names: Sequence[str]) -> list[Found | Refused]:
        """As `_scan`, for these names. On a worker.

        What was closed is read even if size and time are as recorded: two writes may fall within the resolution of the time.
        """
        looked = (look(self._ports.disk, self._pattern, name) for name in names)
        return [one for one in looked if one is not None and self._is_news(one)]

    def _is_news(self, looked: Found | Refused) -> bool:
        return isinstance(looked, Refused) or self._candidates.is_settled(looked.name) or not self._recorder.is_recorded(looked)

    async def _settle(self) -> None:
        try:
            await self._recorder.settle()
        except (Unavailable, NotDurable) as error:
            self._hinder(str(error))

    async def _take(self, complete: Sequence[Found], refused: Sequence[Refused]) -> None:
        try:
            for refusal in await self._recorder.refuse(refused):
                self._tell(refusal)
            for batch in batches(complete):
                self._taken(await self._recorder.take(batch))
        except (Unavailable, NotDurable) as error:
            self._hinder(str(error))
            self._again([found.name for found in complete])  # those that were taken after all are then known

    def _taken(self, taken: Taken) -> None:
        self._told = None
        for arrived in taken.arrived:
            self._tell(arrived)
        for refused in taken.refused:
            self._tell(refused)
        self._again(taken.again)

    def _again(self, names: Sequence[str]) -> None:
        now = self._ports.clock.monotonic()
        for name in names:
            self._candidates.again(name, now)

    def _hinder(self, reason: str) -> None:
        if self._told != reason:
            self._told = reason
            self._tell(Hindered(self._pattern.text, reason))


class _NoHints:
    """Stands in for a watch."""

    def __init__(self, ports: Ports) -> None:
        self._clock = ports.clock

    async def changes(self) -> Sequence[Change]:
        while True:
            await self._clock.sleep(SCAN_EVERY)
