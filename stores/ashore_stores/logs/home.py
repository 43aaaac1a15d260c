"""The open files through which one process takes part in a log: lock file, watermark, owners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ashore_stores.errors import Missing, ReadOnly, StoreError
from ashore_stores.logs.owners import Owners
from ashore_stores.logs.segments import NOWHERE, Layout, LogSettings
from ashore_stores.logs.watermark import State, Watermark
from ashore_stores.ports import Disk, DiskFile, Ports

APPEND, FLUSH = 0, 1
"""Slots of the lock file. Whoever takes both takes APPEND first."""


class Home:
    """A log's folder, open. Where it cannot be written, `why_not` says why, and reading goes on."""

    def __init__(self, ports: Ports, layout: Layout, settings: LogSettings) -> None:
        self.disk: Disk = ports.disk
        self.layout = layout
        self.settings = settings
        self.owners = Owners(ports.disk, ports.random, layout.owners)
        self.why_not: ReadOnly | None = None
        self._is_anchored = False
        self._lock: DiskFile | None = None
        self._watermark: Watermark | None = None

    def open(self) -> None:
        """Make what is not there yet; safe against others who do the same."""
        try:
            self._refuse_network()
            self._open_for_writing()
        except ReadOnly as error:
            self.why_not = error
            self._open_for_reading()

    def _refuse_network(self) -> None:
        self.disk.make_folder(self.layout.folder)
        if not self.settings.allow_network and self.disk.is_network(self.layout.folder):
            raise ReadOnly(
                f"{self.layout.folder} lies on a network file system, which may not keep locks between machines: it can be read, "
                "not written; move the home to a local disk, or allow it if one machine alone writes here"
            )

    def _open_for_writing(self) -> None:
        layout = self.layout
        for folder in (layout.segments, layout.owners):
            self.disk.make_folder(folder)
        if self._lock is None:  # opened once: a second handle, once closed, would drop the locks
            self._lock = self.disk.open(layout.lock, write=True, create=True)
        self._watermark = Watermark(self.disk.open(layout.watermark, write=True, create=True))

    def _open_for_reading(self) -> None:
        if self._watermark is None:
            try:
                self._watermark = Watermark(self.disk.open(self.layout.watermark))
            except Missing:
                return

    def own(self) -> bytes:
        """This process's owner id. Raises `ReadOnly`."""
        if self.why_not is not None:
            raise self.why_not
        return self.owners.own()

    @property
    def watermark(self) -> Watermark:
        """For writing, under the flush lock."""
        if self.why_not is not None or self._watermark is None:
            raise self.why_not or ReadOnly(f"{self.layout.folder} is not open for writing")
        return self._watermark

    def state(self) -> State:
        """What the watermark says now."""
        return State(NOWHERE, 0, is_marked=False) if self._watermark is None else self._watermark.read()

    @contextmanager
    def held(self, slot: int) -> Iterator[None]:
        """Hold a lock against other processes. Raises `ReadOnly`."""
        if self._lock is None or self.why_not is not None:
            raise self.why_not or ReadOnly(f"{self.layout.folder} is not open for writing")
        self._lock.lock(slot, wait=True)
        try:
            yield
        finally:
            self._lock.unlock(slot)

    def try_hold(self, slot: int) -> bool:
        """Take a lock if nobody has it; `let_go` it."""
        return self._lock is not None and self.why_not is None and self._lock.lock(slot, wait=False)

    def let_go(self, slot: int) -> None:
        if self._lock is not None:
            self._lock.unlock(slot)

    def flush_folders(self) -> None:
        """Make the names of the log's files survive a power cut; the first time in a process those of the folders above, too."""
        self.disk.flush_folder(self.layout.segments)
        if not self._is_anchored:
            self.disk.flush_folder(self.layout.folder)
            above = _above(self.layout.folder)
            self.disk.flush_folder(above)
            with suppress(StoreError):  # not ours to read, hence not made by us
                while above != (above := _above(above)):
                    self.disk.flush_folder(above)
            self._is_anchored = True

    def close(self) -> None:
        self.owners.let_go()
        if self._watermark is not None:
            with suppress(StoreError):  # it may be behind after a power cut; that is allowed for
                if self.why_not is None:
                    self._watermark.flush()
            self._watermark.close()
        if self._lock is not None:
            self._lock.close()


def _above(path: str) -> str:
    return path.rpartition("/")[0] or "/"
