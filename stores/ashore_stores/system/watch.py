"""This machine's change notices: inotify on Linux, the `watchfiles` package elsewhere. Hints only; a scan is the truth."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio

from ashore_stores.errors import Missing, Unavailable
from ashore_stores.ports import Change, Watch
from ashore_stores.system.disk import translated

HINTS_AT_ONCE: Final = 512


class SystemWatcher:
    """inotify on Linux, the `watchfiles` package elsewhere."""

    def watch(self, path: str) -> AbstractAsyncContextManager[Watch]:
        """Raises `Missing` if nothing is there, `Unavailable` if the system has no watches left."""
        return _inotify_watch(path) if sys.platform == "linux" else _portable_watch(path)


@asynccontextmanager
async def _inotify_watch(path: str) -> AsyncIterator[Watch]:
    inotify_library = importlib.import_module("asyncinotify")  # loads libc by ctypes: only for those who watch
    try:
        inotify = inotify_library.Inotify(cache_size=64, sync_timeout=0)
    except OSError as error:
        raise Unavailable(f"cannot watch {path!r}: {error.strerror} (fs.inotify.max_user_instances)") from error
    with inotify:
        watch = InotifyWatch(inotify, inotify_library.Mask)
        watch.add(path)
        yield watch


class InotifyWatch:
    def __init__(self, inotify: Any, mask: Any) -> None:
        self._inotify = inotify
        itself_gone = mask.DELETE_SELF | mask.MOVE_SELF
        self._complete = int(mask.CLOSE_WRITE | mask.MOVED_TO)
        self._look = int(itself_gone | mask.Q_OVERFLOW | mask.IGNORED | mask.UNMOUNT)
        self._of_entries = mask.CLOSE_WRITE | mask.MOVED_TO | mask.CREATE | mask.DELETE | mask.MOVED_FROM | itself_gone
        self._of_file = mask.CLOSE_WRITE | mask.MODIFY | mask.ATTRIB | itself_gone

    def add(self, path: str) -> None:
        try:
            self._inotify.add_watch(path, self._of_entries if os.path.isdir(path) else self._of_file)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise Unavailable(f"cannot watch {path!r}: no watch is left (fs.inotify.max_user_watches)") from error
            raise translated(error, "watch", path) from error

    async def changes(self) -> Sequence[Change]:
        while not (found := self._taken()):
            await anyio.wait_readable(self._inotify.fd)
        return found

    def _taken(self) -> list[Change]:
        """What is there now, up to a bound, so that a storm does not hold up the loop. Of equal hints the last one stays.

        So the last hint about a name is the last thing that happened to it: closed, deleted, made again is not "complete".
        """
        found: dict[Change, None] = {}
        for _ in range(HINTS_AT_ONCE):
            event = self._inotify.sync_get()
            if event is None:
                break
            change = self._change(int(event.mask), event.name)
            found.pop(change, None)
            found[change] = None
        return list(found)

    def _change(self, mask: int, name: object) -> Change:
        is_entry = name is not None and not mask & self._look
        return Change(str(name) if is_entry else "", bool(mask & self._complete))


@asynccontextmanager
async def _portable_watch(path: str) -> AsyncIterator[Watch]:
    watchfiles = importlib.import_module("watchfiles")
    watch = PortableWatch(path, watchfiles.awatch)
    try:
        yield watch
    finally:
        await watch.aclose()


class PortableWatch:
    """Tells that something changed, never that it is complete."""

    def __init__(self, path: str, awatch: Callable[..., Any]) -> None:
        if not os.path.lexists(path):
            raise Missing(f"cannot watch {path!r}: there is nothing")
        self._path = path
        self._is_folder = os.path.isdir(path)
        self._awatch = awatch
        self._stream: Any = None

    async def changes(self) -> Sequence[Change]:
        if self._stream is None:  # the first, or one that a cancellation ended
            self._stream = self._awatch(self._path, recursive=False, watch_filter=None, step=50)
        stream, self._stream = self._stream, None
        found: set[tuple[Any, str]] = await anext(stream)
        self._stream = stream
        return [
            Change(name, False) for name in sorted({os.path.basename(changed) if self._is_folder else "" for _, changed in found})
        ]

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
