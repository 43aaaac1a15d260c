"""What worker processes write to standard output and error: shown here, line by line, and handed on."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Final

from ashore.capturing import below

_LONGEST: Final = 1 << 16
"""Bytes of a line that are waited for before it is shown as far as it is."""
_LAST: Final = 30
"""Lines of standard error that an error quotes."""
_ERROR: Final = 2


class Output:
    """The lines of one worker. `tell(stream, line)` gets those of the attempt that runs, 1: standard output, 2: error."""

    def __init__(self) -> None:
        self.tell: Callable[[int, str], None] | None = None
        self._rest: dict[int, bytearray] = {1: bytearray(), _ERROR: bytearray()}
        self._last: deque[str] = deque(maxlen=_LAST)

    @property
    def last_words(self) -> str:
        """The last lines of standard error."""
        return "".join(self._last).rstrip()

    def hear(self, stream: int, data: bytes) -> None:
        rest = self._rest[stream]
        rest += data
        end = len(rest) if len(rest) > _LONGEST else rest.rfind(b"\n") + 1
        if end:
            lines = bytes(rest[:end])
            del rest[:end]
            self._show(stream, lines)

    def end(self) -> None:
        """The attempt is over: what is not a whole line yet is one now."""
        for stream, rest in self._rest.items():
            if rest:
                lines = bytes(rest) + b"\n"
                rest.clear()
                self._show(stream, lines)
        self.tell = None
        self._last.clear()

    def _show(self, stream: int, lines: bytes) -> None:
        text = lines.decode("utf-8", "backslashreplace")
        shown = below(sys.stderr if stream == _ERROR else sys.stdout)
        if shown is not None:
            shown.write(text)
            shown.flush()
        if stream == _ERROR:
            self._last.extend(text.splitlines(keepends=True))
        if self.tell is not None:
            for line in text.splitlines():
                self.tell(stream, line)
