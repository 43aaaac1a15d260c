"""What a child process is for itself: its channel, the signal that ends it, and what is set for one piece of work."""

from __future__ import annotations

import fcntl
import resource
import signal
import socket
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ashore_stores.system.forkserver import Frames, framed

_READ: Final = 1 << 18
_STATM: Final = "/proc/self/statm"
_DATA: Final = 5
"""The field of statm with the pages of data and stack."""


class Terminated(SystemExit):
    """This process was told to end (SIGTERM)."""


class Channel:
    """The child's end. Blocking: a child does one thing after the other."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._frames = Frames()
        self._sending = threading.Lock()

    def receive(self) -> bytes | None:
        """The next message; None when there will be none."""
        while (message := self._frames.next()) is None:
            try:
                data = self._socket.recv(_READ)
            except ConnectionError:
                return None
            if not data:
                return None
            self._frames.feed(data)
        return message

    def send(self, message: bytes) -> None:
        """Send a message, whole. From any thread."""
        with self._sending:
            self._socket.sendall(framed(message))


def has_written() -> bool:
    """Whether what this process wrote to its standard output or error, pipes both, is not read yet. True where nobody knows."""
    try:
        return any(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0] for descriptor in (1, 2))
    except OSError:
        return True


def heed_termination() -> None:
    """Have SIGTERM raise `Terminated` in the main thread, wherever it is."""
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what cleans up now is left in peace
    raise Terminated(128 + number)


@contextmanager
def limited(memory: int) -> Iterator[None]:
    """Let this process take at most so many bytes of memory more than it has; 0: as many as it likes.

    What goes beyond raises `MemoryError`. Where the system does not tell how much a process has (macOS), the limit is on all.
    """
    if not memory:
        yield
        return
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    before = resource.getrlimit(kind)
    asked = memory + _taken()
    soft = asked if before[1] == resource.RLIM_INFINITY else min(asked, before[1])
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def _taken() -> int:
    """Bytes that are this process's own now."""
    if sys.platform != "linux":
        return 0
    with open(_STATM) as file:
        return int(file.read().split()[_DATA]) * resource.getpagesize()
