"""Where code of a step runs: which attempt it belongs to. A context variable, so that tasks and threads of a step know it, too."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    from ashore.ongoing import About, Current


class Reporter(Protocol):
    """What takes down what a step says while it runs."""

    def current(self, place: Place) -> Current:
        """The attempt that runs at this place."""
        ...

    def about(self, place: Place) -> About:
        """Which attempt it is."""
        ...

    def heard(self, place: Place, said: Any) -> None:
        """What the attempt said where it runs in another process. From any thread."""
        ...

    def wrote(self, place: Place, stream: int, text: str) -> None:
        """The step wrote a text: 1 to stdout, 2 to stderr, 3 to a logger. From any thread."""
        ...


@final
class Place:
    """One task or thread in which steps run, one after the other."""

    __slots__ = ("gpus", "reporter", "saved", "unit")

    def __init__(self, reporter: Reporter, unit: Any = None) -> None:
        self.reporter = reporter
        self.unit = unit
        """What runs here; None: no step does."""
        self.gpus: tuple[int, ...] = ()
        """The GPUs that are its own."""
        self.saved: tuple[Any, Any] | None = None
        """The last checkpoint of an earlier attempt, stored, with what it is loaded from."""


here: ContextVar[Place | None] = ContextVar("ashore_place", default=None)
