"""Elements are taken from an async iterator: one by one, no more than there is room for, each on record before it runs.

A run that is resumed has what was taken from its record. The iterator is the user's code and starts anew: what it gives again, by
content, is the element that it was, in whatever order; anything else is a new one. An iterator that had ended is not asked again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio

from ashore.codec import Unencodable, encode
from ashore.engine.failures import where_of
from ashore.engine.fanout import FanOut
from ashore.engine.fanouts import FanOuts
from ashore.engine.feeds import Taken
from ashore.engine.looking import holds_new_files
from ashore.engine.means import Means
from ashore.engine.pump import is_cancelled_from_outside
from ashore.errors import SourceFailed
from ashore.ids import hash_id


async def take_all(fanout: FanOut, feed: Taken, fanouts: FanOuts, means: Means) -> None:
    """Take what an iterator gives to the end of it, or of the fan-out. Never raises but when it is cancelled."""
    taking = _Taking(fanout, feed, fanouts, means)
    with taking.scope:
        try:
            await taking.go()
        except BaseException as error:  # the user's iterator: whatever it raises is this fan-out's failure
            if isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled_from_outside():
                raise
            fanouts.broke(fanout, error if isinstance(error, SourceFailed) else taking.failure(error))


class _Taking:
    """One iterator being gone over."""

    def __init__(self, fanout: FanOut, feed: Taken, fanouts: FanOuts, means: Means) -> None:
        self._fanout = fanout
        self._feed = feed
        self._fanouts = fanouts
        self._means = means
        self._room = anyio.Event()
        self.scope = anyio.CancelScope()
        """Cancelled when the fan-out is over while the iterator is waited for."""
        feed.changed = self._look

    async def go(self) -> None:
        self._look()
        if self._feed.count is not None:
            return
        await self._room.wait()
        iterator = aiter(self._feed.source)
        if isinstance(iterator, AsyncGenerator):
            async with aclosing(iterator):
                await self._over(iterator)
        else:
            await self._over(iterator)

    async def _over(self, iterator: AsyncIterator[Any]) -> None:
        while not self._fanout.is_closed:
            try:
                value = await anext(iterator)
            except StopAsyncIteration:
                self._feed.fan.taken_all = True
                self._fanouts.took(self._fanout, self._feed)
                self._feed.end()
                return
            await self._take(value)
            await self._room.wait()

    async def _take(self, value: Any) -> None:
        if holds_new_files(value):
            value = await self._means.ports.workers.run(self._means.looker.settle, value)
        encoded = self._encoded(value)
        if self._is_on_record(encoded):
            return
        if not self._fanout.is_closed:
            self._fanouts.took(self._fanout, self._feed, encoded)
            self._feed.take(encoded)
            self._look()

    def _is_on_record(self, encoded: bytes) -> bool:
        """Whether it gave this before a crash, and does so again."""
        known = self._feed.on_record
        if not known:
            return False
        name = hash_id(encoded)
        if not known[name]:
            return False
        known[name] -= 1
        if not known[name]:
            del known[name]
        return True

    def _encoded(self, value: Any) -> bytes:
        try:
            return encode(value, numbers=True)
        except Unencodable as error:
            raise SourceFailed(
                f"{self._called} gave, as number {self._feed.given}, what cannot be recorded: {error}",
                where=self._where,
                mend="Let it give plain values or files; let a step make anything else of them",
            ) from error

    def failure(self, error: BaseException) -> SourceFailed:
        """The failure of the iterator itself, with the line that raised it."""
        failure = SourceFailed(
            f"{self._called} raised {type(error).__name__}: {error} after {self._feed.given} elements",
            where=where_of(error) or self._where,
            mend="Those that it gave are on record; mend it and start again",
        )
        failure.__cause__ = error
        return failure

    @property
    def _called(self) -> str:
        source = self._feed.source
        name = getattr(source, "__qualname__", None) or type(source).__qualname__
        return f"{name}, which {self._fanout.node.work.name}(each(...)) goes over,"

    @property
    def _where(self) -> str:
        each = self._feed.argument.each
        return each.where if each is not None else ""

    def _look(self) -> None:
        """Whether there is room for another."""
        if self._fanout.is_closed:
            self.scope.cancel()
        elif self._fanout.has_room(self._feed):
            self._room.set()
        elif self._room.is_set():
            self._room = anyio.Event()
