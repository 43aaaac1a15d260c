"""What the engine knows of other processes: that an attempt of a `def` step may be run by one, and stopped.

Who starts them, keeps them warm and speaks with them is in `ashore.executors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from ashore.events import Metric, Output
from ashore.files import File
from ashore.ids import CodeId
from ashore.ongoing import About
from ashore.works import Work


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """What an attempt says while it runs, from where it runs (see `ashore.ongoing`)."""

    metrics: tuple[Metric, ...] = ()
    progress: tuple[float, float | None] | None = None
    checkpoint: Output | None = None


class Task(NamedTuple):
    """One attempt of a `def` step, as another process can run it: no value in it, only stored forms."""

    work: Any
    """The step (not typed as one: checkers would take it for a method of this class)."""
    code: CodeId
    """Its fingerprint here: a process in which it has another one refuses it."""
    arguments: tuple[tuple[str, bytes], ...]
    """By name, encoded (`ashore.engine.sending`)."""
    blobs: tuple[bytes, ...] = ()
    """Digests of the blobs that stand for large values in the arguments."""
    files: tuple[File, ...] = ()
    """Files among the arguments, as they were looked at."""
    secrets: tuple[tuple[str, str, str], ...] = ()
    """Parameter, name and value of each."""
    memory: int = 0
    """Bytes that it may take; 0: any."""
    seed: int | None = None
    """What random numbers start from; None: from chance."""
    gpus: tuple[int, ...] = ()
    """The numbers of the GPUs that it sees; none: what this process sees."""
    tell: Callable[[int, str], None] | None = None
    """Gets each line that it writes to standard output (1) or error (2)."""
    about: About = About()
    """Which attempt it is."""
    saved: Output | None = None
    """The last checkpoint of an earlier attempt."""
    report: Callable[[Said], None] | None = None
    """Gets what it says while it runs, on whatever thread."""


Stop = Callable[[], None]
"""Ends an attempt that is under way, whatever it does: asks first, kills after the grace time. Nothing if it has ended."""


class Processes(Protocol):
    """Where attempts run that need a process of their own."""

    def takes(self, work: Work[Any, Any]) -> bool:
        """Whether attempts of this step go there."""
        ...

    def submit(self, task: Task, started: Callable[[], bool], done: Callable[[Any, BaseException | None], None]) -> Stop:
        """Run the attempt as soon as a process is free: `started()` then, which may still say no, `done(result, error)` after it.

        Both are called on this loop. The result is a `Done` without large values: those are stored already. The error says what
        became of the process, if that ended before the attempt did.
        """
        ...
