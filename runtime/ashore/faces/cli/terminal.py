"""Where things are said: results on stdout, talk and progress on stderr. Plain text unless there is a terminal."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any, Final, TextIO, cast

from ashore.errors import WrongArgument
from ashore.faces.cli.settings import Settings
from ashore_stores.keys import Buffer

GREEN, RED, YELLOW, DIM, BOLD, PLAIN = "\033[32m", "\033[31m", "\033[33m", "\033[2m", "\033[1m", "\033[0m"

_SLAB: Final = 1 << 20
"""Bytes that are written at once."""
_CLEARED: Final = "\r\033[K"
_WIDTH: Final = 80
"""Columns of a terminal that does not say how many it has."""


class Terminal:
    """The two streams of a command. What comes from outside (names, messages) is written as text and nothing else."""

    def __init__(self, settings: Settings, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.settings = settings
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        self.is_live = self._err.isatty() and os.environ.get("TERM") != "dumb"
        """Whether a line may be rewritten in place."""
        self._status = ""
        self._is_out_coloured = _is_coloured(self._out)
        self._is_err_coloured = _is_coloured(self._err)

    # --- results ---

    def result(self, text: str, colour: str = "") -> None:
        """One line of a result, for people."""
        self._out.write(f"{self.painted(printable(text), colour)}\n")

    def result_block(self, text: str) -> None:
        """A result of several lines."""
        for line in text.split("\n"):
            self.result(line)

    def painted_result(self, line: str) -> None:
        """One line that is made of `painted` and `printable` parts already."""
        self._out.write(f"{line}\n")

    def painted(self, text: str, colour: str) -> str:
        """The text in a colour, where results have some."""
        return f"{colour}{text}{PLAIN}" if colour and self._is_out_coloured else text

    def raw(self, data: Buffer) -> None:
        """Bytes as they are, which no terminal is given. Raises `WrongArgument` where there is one."""
        if self._out.isatty():
            what = f"{len(memoryview(data).cast('B')):,} bytes as they are would do to a terminal whatever they say"
            raise WrongArgument(what, where="", mend="Write them to a file or a pipe: ... --raw > FILE")
        view = memoryview(data).cast("B")
        self._out.flush()
        for start in range(0, len(view), _SLAB):
            self._out.buffer.write(view[start : start + _SLAB])
        self._out.buffer.flush()

    def record(self, value: Any) -> None:
        """A result as JSON, on one line."""
        self._out.write(f"{json.dumps(value)}\n")

    def flush(self) -> None:
        self._out.flush()

    # --- talk ---

    def say(self, text: str, colour: str = "") -> None:
        """One line of talk."""
        self._wipe()
        shown = printable(text)
        self._err.write(f"{colour}{shown}{PLAIN}\n" if colour and self._is_err_coloured else f"{shown}\n")
        self._redraw()
        self._err.flush()

    def say_block(self, text: str) -> None:
        """Talk of several lines."""
        for line in text.split("\n"):
            self.say(line)

    def status(self, text: str) -> None:
        """The one line that is rewritten in place; "" takes it away. Nothing where there is no terminal."""
        if self.is_live:
            self._wipe()
            self._status = printable(text)
            self._redraw()
            self._err.flush()

    def _wipe(self) -> None:
        if self._status:
            self._err.write(_CLEARED)

    def _redraw(self) -> None:
        if self._status:
            self._err.write(self._status[: self._width() - 1])

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._err.fileno()).columns or _WIDTH
        except (OSError, ValueError):
            return _WIDTH

    def aside(self) -> TextIO:
        """A stand-in for stdout while user code runs: what it prints is talk, so that stdout holds the result alone."""
        return cast("TextIO", _Aside(self))  # all of it that anybody prints by

    def put_aside(self, text: str) -> None:
        """Text of the user's own, as it is."""
        self._wipe()
        self._err.write(text)
        if text.endswith("\n"):
            self._redraw()
        self._err.flush()


class _Aside(io.TextIOBase):
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def write(self, text: str, /) -> int:
        self._terminal.put_aside(text)
        return len(text)

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable there
        return "utf-8"


def printable(text: str) -> str:
    """The text on one line, without anything that a terminal would obey; bytes that are not UTF-8 as escapes."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
