"""What the library tells whoever runs it: structured log lines, by structlog as the application has configured it.

structlog takes longer to import than all of ashore, and most programs never say a word: it is loaded with the first line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

_silent: ContextVar[bool] = ContextVar("ashore_silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is said in this context: of a thousand simulated processes none is worth a line."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


class Notices:
    """A logger by name. It configures nothing, and asks for the configuration anew for each line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<Notices {self._name!r}>"

    def info(self, event: str, **fields: object) -> None:
        if not _silent.get():
            self._logger().info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        if not _silent.get():
            self._logger().warning(event, **fields)

    def _logger(self) -> Any:
        return import_module("structlog").get_logger(self._name)


log = Notices("ashore")
