"""Materializers: how values of a type are stored and loaded. And what can go wrong with it."""

from __future__ import annotations

from typing import Any, Protocol, cast

from ashore.errors import AshoreError
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer


class MaterializeError(AshoreError):
    """A value cannot be stored, or what is stored cannot be loaded."""

    value: Any = None
    """The value that cannot be stored: it is not thrown away."""


class Unserialisable(MaterializeError):
    """There is no stored form for this value. Nothing was published."""


class NotEqual(MaterializeError):
    """The value did not come back the same from its stored form. Nothing was published."""


class Unloadable(MaterializeError):
    """Stored bytes that this program cannot load: of a format that it does not know, or not what the format says."""


class Materializer(Protocol):
    """Stores and loads the values of some types. Never by pickle, and loading never runs code that the bytes choose."""

    format: str
    """Its name and version, "npy/1": part of everything stored with it. A change of what is written changes the version."""

    def dump(self, value: Any, sink: Sink, /) -> None:
        """Write `value`. Raises `Unserialisable` at once for what would not come back the same."""
        ...

    def load(self, data: Buffer, /) -> Any:
        """The value; may be a view of `data`, which never changes. Raises `Unloadable`."""
        ...

    def content(self, value: Any, /) -> bytes:
        """A digest that equal values share, where their dumps are not byte-equal; else b""."""
        ...

    def shares(self, value: Any, /) -> bool:
        """Whether this loaded value can be given to several consumers: it is immutable, or a view that nobody can write to."""
        ...


class Estimates(Protocol):
    """What a materializer may have beside: it can tell beforehand how large a dump will be."""

    def size(self, value: Any, /) -> int:
        """About how many bytes; cheap."""
        ...


class ReadsContent(Protocol):
    """What a materializer may have beside: it can take the content digest from a dump, too."""

    def content_of(self, data: Buffer, /) -> bytes: ...


def estimates(materializer: Materializer) -> Estimates | None:
    """The materializer, if it estimates."""
    return cast("Estimates", materializer) if hasattr(materializer, "size") else None


def reads_content(materializer: Materializer) -> ReadsContent | None:
    """The materializer, if it reads content."""
    return cast("ReadsContent", materializer) if hasattr(materializer, "content_of") else None
