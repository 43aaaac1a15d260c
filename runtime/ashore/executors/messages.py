"""What a runtime and its worker processes say to each other. Never stored: both ends are of one version."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from ashore.engine.processes import Said
from ashore.events import Failure, Output
from ashore.ongoing import About


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Code(_Message, frozen=True, array_like=True, gc=False):
    """Where a step's code is: in a module, or sent by value."""

    module: str
    file: str
    qualname: str
    value: bytes = b""
    """The digest of a function that was sent by value; then the rest is for people."""


class Surroundings(_Message, frozen=True, array_like=True, gc=False):
    """What a process has around it."""

    environ: dict[str, str]
    folder: str
    path: list[str]


class Function(_Message, frozen=True, array_like=True, gc=False, tag=1):
    """To a worker: a step by value. It is kept under its digest."""

    digest: bytes
    data: bytes


class Attempt(_Message, frozen=True, array_like=True, gc=False, tag=2):
    """To a worker: run this."""

    code: Code
    fingerprint: bytes
    arguments: tuple[tuple[str, bytes], ...]
    blobs: tuple[bytes, ...] = ()
    files: bytes = b""
    """Encoded list of files, empty if there are none."""
    secrets: tuple[tuple[str, str, str], ...] = ()
    memory: int = 0
    seed: int | None = None
    surroundings: Surroundings | None = None
    """If they are others than those of the last attempt there."""
    modules: tuple[tuple[str, str], ...] = ()
    """Names and files of modules that have classes among the arguments."""
    about: About = About()
    """Which attempt it is."""
    saved: Output | None = None
    """The last checkpoint of an earlier attempt."""


class Finished(_Message, frozen=True, array_like=True, gc=False, tag=1):
    """From a worker: how the attempt ended."""

    outputs: tuple[Output, ...]
    failure: Failure | None
    started: float
    ended: float
    parts: tuple[tuple[str, str], ...] = ()
    """The parts of the fingerprint there, if that is another one than here: nothing was run then."""
    module: str = ""
    """The module that has a class among the arguments and is not imported there: nothing was run then."""
    has_written: bool = True
    """Whether what it wrote to standard output or error is still on its way."""


ToWorker: TypeAlias = Function | Attempt

pack: Final = msgspec.msgpack.Encoder().encode
to_worker: Final = msgspec.msgpack.Decoder(ToWorker)
from_worker: Final = msgspec.msgpack.Decoder(Finished | Said)
