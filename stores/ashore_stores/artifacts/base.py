"""The artifact store: blobs by content digest, written once, visible whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from ashore_stores.keys import Buffer, Digest, Span


class Sink(Protocol):
    """Takes a value's bytes in order. Called on a worker thread."""

    def write(self, data: Buffer, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob: its digest and its size in bytes."""

    digest: Digest
    size: int


class ArtifactStore(Protocol):
    """Blobs under their digest. Shared by any number of processes; equal content is stored once."""

    async def put(self, produce: Callable[[Sink], None]) -> Blob:
        """Store what `produce` writes (it runs off the loop; hashed while written, bounded memory).

        When this returns the blob is durable, also if equal content was there already. If `produce` raises or the call is
        cancelled, nothing is visible and nothing is left. Raises `Full`, `ReadOnly`, `Unavailable`.
        """
        ...

    async def load(self, digest: Digest) -> memoryview:
        """The blob's bytes, read-only, mapped where the store can; checked against the digest at the first load per process.

        Raises `Missing`, `Corrupt` (never bytes that do not match).
        """
        ...

    def read(self, digest: Digest, span: Span | None = None) -> AsyncIterator[bytes]:
        """The bytes of a span in slabs of bounded size, checked as in `load`. Raises `Missing`, `Corrupt`."""
        ...

    async def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes, None if it is not here."""
        ...

    def digests(self) -> AsyncIterator[Digest]:
        """What is stored, in no promised order."""
        ...

    async def verify(self, digest: Digest) -> None:
        """Read the whole blob and compare, whatever was checked before. Raises `Missing`, `Corrupt`."""
        ...

    async def aclose(self) -> None: ...
