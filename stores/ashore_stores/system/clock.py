"""This machine's time and randomness."""

from __future__ import annotations

import os
import time

import anyio


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class SystemRandomness:
    def token(self, size: int) -> bytes:
        return os.urandom(size)
