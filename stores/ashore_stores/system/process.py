"""Which process this is: what a forked child inherits is closed for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod


class Generation:
    """Counts forks between the first process and this one. What was opened in an earlier generation is not ours."""

    def __init__(self) -> None:
        self.number = 0
        self._resets: list[WeakMethod[Callable[[], None]]] = []

    def on_fork(self, reset: Callable[[], None]) -> None:
        """Have the bound method `reset` called in each forked child, as long as its object lives."""
        self._resets.append(WeakMethod(reset))

    def forked(self) -> None:
        self.number += 1
        for reference in self._resets:
            if reset := reference():
                reset()


generation = Generation()
os.register_at_fork(after_in_child=generation.forked)
