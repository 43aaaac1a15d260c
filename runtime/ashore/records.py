"""The parts of events: inputs, outputs, files, calls, failures. They only grow, as the events do (see `ashore.events`)."""

from __future__ import annotations

from typing import Final

import msgspec

from ashore.ids import CodeId, InvocationId


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of an event."""


EACH: Final = -2
"""In the place of an element: the producer is gone over, one element of it (or of its list) for each of the consumer."""


class Input(_Record, frozen=True, array_like=True, gc=False):
    """An argument, or a part of one, that is an output of another invocation."""

    argument: str
    """Where in the arguments: "table", "tables[3]", "by_day['mon']"."""
    producer: InvocationId
    output: int = 0
    """Which of its outputs; -1: all of a step that has several."""
    element: int = -1
    """Which element, if the producer is a fan-out and one element is meant; -1: the whole; EACH: one for each of ours."""


class FileUse(_Record, frozen=True, array_like=True, gc=False):
    """A file that was passed as an argument, as it was when it was looked at."""

    argument: str
    path: str
    size: int
    mtime_ns: int
    digest: bytes


class Output(_Record, frozen=True, array_like=True, gc=False):
    """A stored value. `data` holds small ones inline; larger ones are blobs under `digest`."""

    digest: bytes
    """SHA-256 of the stored bytes."""
    size: int
    format: str
    """The materializer and its version: "value/1", "npy/1"."""
    type: str
    """The value's type, as people write it: "dict", "pandas.DataFrame"."""
    data: bytes | None = None
    content: bytes = b""
    """The content digest, where the materializer supplies one because its dumps are not byte-equal; else empty."""

    @property
    def identity(self) -> bytes:
        """What equal content has in common: part of the keys of whoever consumes it."""
        return self.content or self.digest


class Failure(_Record, frozen=True, array_like=True, gc=False):
    """An exception as it is kept: enough to show, and to raise again if the class is imported already."""

    classes: tuple[str, ...]
    """"module:qualname" of the class and its bases, nearest first."""
    message: str
    traceback: str
    """Trimmed to the user's code."""
    notes: tuple[str, ...] = ()
    where: str = ""
    """"file:line" of the innermost frame of the user's code."""
    arguments: bytes = b""
    """The exception's args, encoded, where that is possible."""


class Call(_Record, frozen=True, array_like=True, gc=False):
    """An invocation as it was asked for: who, with what."""

    invocation: InvocationId
    step: str
    code: CodeId
    scope: str = ""
    """The sub-run it belongs to, by name; "" is the run itself."""
    inputs: tuple[Input, ...] = ()
    files: tuple[FileUse, ...] = ()
    params: tuple[tuple[str, bytes], ...] = ()
    """Plain parameters, by name, encoded (`ashore.codec`)."""
    fan: bool = False
    """Whether this is a fan-out: one invocation for each element."""
    given: int = 0
    """How many values its body had been given (`Awaited`), if a plain parameter may have been made of them."""


class Awaited(_Record, frozen=True, array_like=True, gc=False):
    """A value that a body was given: the `place`-th in its scope, from 0."""

    scope: str
    place: int
    invocation: InvocationId
    output: int
    """Which output; -1: all elements of a fan-out."""


class Column(_Record, frozen=True, array_like=True, gc=False):
    """One output of many elements, side by side."""

    format: str
    type: str
    digests: bytes
    """32 bytes each."""
    sizes: tuple[int, ...]
    data: tuple[bytes | None, ...]
    contents: tuple[bytes, ...] = ()
    """Content digests where the materializer supplies them, else empty."""


class Arrivals(_Record, frozen=True, array_like=True, gc=False):
    """Which arrivals a triggered run stands for: those of the trigger in (after, upto]."""

    trigger: str
    after: int
    upto: int


class Metric(_Record, frozen=True, array_like=True, gc=False):
    """A number that a step reported."""

    name: str
    value: float
    step: int | None
    """Of its own counting: an epoch, a batch."""
    at: float
