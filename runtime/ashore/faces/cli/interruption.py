"""Ctrl-C: once asks, twice ends the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import anyio

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within the block, the first SIGINT or SIGTERM sets `asked`, the next one ends the process at once.

    That is safe by the promises of the log. Plain handlers, not the loop's: they also act while a step blocks the loop.
    `post` runs a callback on the loop.
    """

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self.asked = anyio.Event()
        self.number: int | None = None
        """The signal, once there was one."""
        self._post = post
        self._former: dict[int, Any] = {}

    @property
    def code(self) -> int:
        """The exit code of who was interrupted."""
        return 128 + (self.number or signal.SIGINT)

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._former[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        self._post(self.asked.set)
