"""`current()`: what a step can ask of the attempt that it is, and say while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from ashore.places import here

T = TypeVar("T")


class About(NamedTuple):
    """Which attempt it is."""

    run: str = ""
    step: str = ""
    attempt: int = 1
    key: str = ""
    gpus: tuple[int, ...] = ()


class Desk(Protocol):
    """Where an attempt's reports go: the run that drives it, or, in another process, the way there. From any thread."""

    def metric(self, name: str, value: float, step: int | None) -> None: ...

    def progress(self, done: float, total: float | None) -> None: ...

    def checkpoint(self, value: Any) -> Awaitable[None]: ...

    def checkpointed(self, default: Any) -> Any: ...


class Saved:
    """A checkpoint on its way. Awaited, it is durable; a `def` step need not, and goes on at once."""

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()


class Current:
    """The attempt of a step that is running."""

    def __init__(self, about: About, desk: Desk) -> None:
        self.run = about.run
        """The run's id."""
        self.step = about.step
        """The step's name."""
        self.attempt = about.attempt
        """1 for the first; attempts count over restarts."""
        self.key = about.key
        """Names this call for the world outside: the same over attempts and restarts, for its idempotency."""
        self.gpus = about.gpus
        """The numbers of the GPUs that are its own while it runs."""
        self._desk = desk

    def __repr__(self) -> str:
        return f"<attempt {self.attempt} of {self.step} in run {self.run[:8]}>"

    @property
    def logger(self) -> Any:
        """A structlog logger, as the application has configured it, bound to run, step and attempt."""
        structlog: Any = import_module("structlog")  # heavier than all of ashore: only for who logs
        return structlog.get_logger("ashore.step").bind(run=self.run[:8], step=self.step, attempt=self.attempt)

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record a number, such as a loss at a step of the training: in `ashore show`, and in SQL as the view `metrics`."""
        self._desk.metric(str(name), float(value), None if step is None else int(step))

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far it is; the last of many counts."""
        self._desk.progress(float(done), None if total is None else float(total))

    def checkpoint(self, value: Any) -> Awaitable[None]:
        """Keep a value for the next attempt, should this one not come to its end: a failure, a kill, a restart.

        Stored by its type's materializer. `await` it to go on once it is durable. Raises `MaterializeError` for what cannot be
        stored.
        """
        return self._desk.checkpoint(value)

    def checkpointed(self, default: T) -> T:
        """The last checkpoint of an earlier attempt of this call; `default` if there is none."""
        found: T = self._desk.checkpointed(default)
        return found

    @property
    def last_checkpoint(self) -> Any:
        """The last checkpoint of an earlier attempt of this call; None if there is none."""
        return self._desk.checkpointed(None)


class _Nowhere:
    """Outside every run: nothing is kept."""

    def metric(self, name: str, value: float, step: int | None) -> None: ...

    def progress(self, done: float, total: float | None) -> None: ...

    def checkpoint(self, value: Any) -> Awaitable[None]:
        return Saved(_at_once)

    def checkpointed(self, default: Any) -> Any:
        return default


async def _at_once() -> None: ...


_NOWHERE: Final = _Nowhere()


def current() -> Current:
    """The attempt of the step that is running here, or in the task or thread that this one was started by.

    Outside a run, as when a unit test calls `step.fn(...)`, it is a first attempt that records nothing.
    """
    place = here.get()
    if place is None or place.unit is None:
        return Current(About(), _NOWHERE)
    return place.reporter.current(place)
