"""How many `def` steps of a runtime run at once, over all its runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ashore_stores.ports import Workers


class Threads:
    """Worker threads with a limit: what does not fit waits here, in order."""

    def __init__(self, workers: Workers, limit: int) -> None:
        self._workers = workers
        self._limit = limit
        self._busy = 0
        self._waiting: deque[tuple[Callable[[], bool], Callable[[], Any], Callable[[Any, BaseException | None], None]]] = deque()

    @property
    def busy(self) -> int:
        return self._busy

    def submit(
        self, started: Callable[[], bool], work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Run `work` on a thread as soon as one is free: `started()` then, which may still say no, `done(result, error)` after it.

        Both are called on this loop.
        """
        self._waiting.append((started, work, done))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._busy < self._limit:
            started, work, done = self._waiting.popleft()
            if not started():
                continue
            self._busy += 1
            self._workers.submit(work, self._finisher(done))

    def _finisher(self, done: Callable[[Any, BaseException | None], None]) -> Callable[[Any, BaseException | None], None]:
        def finished(result: Any, error: BaseException | None) -> None:
            self._busy -= 1
            try:
                done(result, error)
            finally:
                self._fill()

        return finished
