"""What a child process of the random graphs writes down outside of ashore: one line per start and end of an execution.

The file is opened for appending and written with one call per line, so that it survives the process and tells the true order.
"""

from __future__ import annotations

import hashlib
import os
import signal
from typing import Any


class Outside:
    """The file, and the number of lines after which this process kills itself."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._left = 0
        self._lines: list[str] | None = None

    def open(self, path: str, kill_after: int = 0) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._left = kill_after

    def into(self, lines: list[str] | None) -> None:
        """Write into a list from now on; None: into the file again."""
        self._lines = lines

    def line(self, text: str) -> None:
        if self._lines is not None:
            self._lines.append(text)
            return
        os.write(self._descriptor, f"{text}\n".encode())
        if self._left:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


outside = Outside()


def canonical(value: Any) -> str:
    """A value as a text: equal for equal values of equal types, short for large ones."""
    if isinstance(value, bytes):
        return f"b:{len(value)}:{hashlib.sha256(value).hexdigest()[:12]}"
    if isinstance(value, list):
        return f"[{','.join(canonical(item) for item in value)}]"
    if isinstance(value, tuple):
        return f"({','.join(canonical(item) for item in value)})"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key!r}:{canonical(item)}' for key, item in value.items())}}}"
    return repr(value)


def digest_of(*parts: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:6], "big")
