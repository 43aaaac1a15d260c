"""What steps print and log is taken down, and still shown: `sys.stdout`, `sys.stderr` and log records, while a runtime is open.

Only what code of a step writes is looked at (a context variable says so); everything else passes. Nothing of the logging
configuration is touched: no handler, no level. A record is seen when it is made, so only loggers that are on for its level count.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Final, final

from ashore.places import here

OUT, ERR, LOG = 1, 2, 3
NAMES: Final = {OUT: "out", ERR: "err", LOG: "log"}
"""The streams, and what they are called."""

_EMIT: Final = logging.StreamHandler.emit.__code__


@final
class Tee:
    """A stream that takes down what steps write to it. In everything else it is the stream that it stands before."""

    def __init__(self, stream: Any, number: int) -> None:
        self._stream = stream
        self._number = number

    def write(self, text: str) -> Any:
        written = self._stream.write(text)
        place = here.get()
        if place is not None and place.unit is not None and text and sys._getframe(1).f_code is not _EMIT:
            place.reporter.wrote(place, self._number, str(text))
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __repr__(self) -> str:
        return f"<ashore takes down {self._stream!r}>"


def below(stream: Any) -> Any:
    """The stream that a text is shown on which was taken down already."""
    return stream._stream if type(stream) is Tee else stream


class _Records:
    """Makes log records as the factory before it does, and takes down those of steps."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.before(*args, **kwargs)
        place = here.get()
        if place is not None and place.unit is not None:
            place.reporter.wrote(place, LOG, _line(record))
        return record


class Capture:
    """Whether it is taken down: from the first runtime that opens to the last that closes."""

    def __init__(self) -> None:
        self._count = 0

    def open(self) -> None:
        """A runtime opens."""
        self._count += 1
        self.renew()

    def renew(self) -> None:
        """A run begins: whoever has put other streams in place meanwhile (a test, a notebook) keeps them, taken down as well."""
        if not self._count:
            return
        if type(sys.stdout) is not Tee and sys.stdout is not None:
            sys.stdout = Tee(sys.stdout, OUT)
        if type(sys.stderr) is not Tee and sys.stderr is not None:
            sys.stderr = Tee(sys.stderr, ERR)
        if type(logging.getLogRecordFactory()) is not _Records:
            logging.setLogRecordFactory(_Records(logging.getLogRecordFactory()))

    def close(self) -> None:
        """A runtime closes. Where somebody else stands in the place by now, that stays."""
        self._count -= 1
        if self._count:
            return
        if type(sys.stdout) is Tee:
            sys.stdout = sys.stdout._stream
        if type(sys.stderr) is Tee:
            sys.stderr = sys.stderr._stream
        factory = logging.getLogRecordFactory()
        if type(factory) is _Records:
            logging.setLogRecordFactory(factory.before)


capture: Final = Capture()
"""The one of this process, as there is one `sys.stdout`."""


def _line(record: logging.LogRecord) -> str:
    try:
        said = record.getMessage()
    except Exception:  # noqa: BLE001  # arguments that do not fit: logging reports that itself
        said = str(record.msg)
    lines = [f"{record.levelname} {record.name}: {said}"]
    if record.exc_info and record.exc_info[0] is not None:
        lines.append("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return "\n".join(lines) + "\n"
