"""Files that a run waits for in its middle (`arrival`): the same arrivals as those of triggers, recorded once for all who watch."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import aclosing

import anyio

from ashore.events import text_path
from ashore.files import File
from ashore.stack import Stack
from ashore.triggers.ranges import arrivals_in
from ashore.triggers.scan import Pattern, parse_pattern
from ashore.triggers.watch import Notice, TriggerWatch
from ashore_stores.keys import Position


class Inboxes:
    """The folders of a home, watched for as long as somebody waits."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def next(self, pattern: str, after: int, takes: Callable[[File], bool]) -> File:
        """The first file that arrived at `pattern` after this position of the log, or arrives, and that `takes` wants.

        Raises `BadPattern`, and what hinders the watch for good.
        """
        parsed = parse_pattern(pattern, self._stack.home.root)
        watch = TriggerWatch(parsed, self._stack.log, self._stack.ports, _ignore)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(watch.run)
                found = await self._first(parsed, Position(after), takes)
                group.cancel_scope.cancel()
        except* Exception as failed:  # noqa: BLE001  # whatever hinders the watch, as itself
            raise failed.exceptions[0] from None
        return found

    async def _first(self, pattern: Pattern, after: Position, takes: Callable[[File], bool]) -> File:
        async with aclosing(self._stack.log.follow(after)) as frames:  # type: ignore[type-var]  # it is a generator
            async for frame in frames:
                for arrival in arrivals_in(frame):
                    event = arrival.event
                    if event.trigger != pattern.text:
                        continue
                    path = pattern.path(posixpath.basename(text_path(event.path)))
                    file = File(path, event.size, event.mtime_ns, event.digest)
                    if takes(file):
                        return file
        raise AssertionError("a follower of the log ends only when it is cancelled")


def _ignore(notice: Notice) -> None:
    """Nobody is told: whoever waits sees the log."""
