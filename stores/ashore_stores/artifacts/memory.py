"""Blobs in this process's memory: the reference that says what a store does, and the store of a memory stack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from ashore_stores.artifacts.base import Blob, Sink
from ashore_stores.errors import Closed, Corrupt, Missing
from ashore_stores.keys import Buffer, Digest, Span, digest_of, parse_digest
from ashore_stores.ports import Workers

SLAB: Final = 1 << 20


class _Gathering:
    def __init__(self) -> None:
        self.gathered = bytearray()

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        self.gathered += view
        return view.nbytes


class MemoryArtifactStore:
    """Lives as long as the object. With `workers`, `produce` runs off the loop; without, where `put` was called."""

    def __init__(self, workers: Workers | None = None) -> None:
        self._workers = workers
        self._blobs: dict[Digest, bytes] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<MemoryArtifactStore {len(self._blobs)} blobs{', closed' if self._is_closed else ''}>"

    async def put(self, produce: Callable[[Sink], None]) -> Blob:
        self._refuse_if_closed()
        sink = _Gathering()
        if self._workers is None:
            produce(sink)
        else:
            await self._workers.run(produce, sink)
        content = bytes(sink.gathered)
        digest = digest_of(content)
        self._blobs.setdefault(digest, content)
        return Blob(digest, len(content))

    async def load(self, digest: Digest) -> memoryview:
        return memoryview(self._checked(digest))

    async def read(self, digest: Digest, span: Span | None = None) -> AsyncIterator[bytes]:
        content = self._checked(digest)
        span = span or Span()
        end = len(content) if span.length is None else min(len(content), span.start + span.length)
        for offset in range(span.start, end, SLAB):
            yield content[offset : min(end, offset + SLAB)]

    async def size(self, digest: Digest) -> int | None:
        self._refuse_if_closed()
        content = self._blobs.get(parse_digest(digest))
        return None if content is None else len(content)

    async def digests(self) -> AsyncIterator[Digest]:
        self._refuse_if_closed()
        for digest in list(self._blobs):
            yield digest

    async def verify(self, digest: Digest) -> None:
        self._checked(digest)

    async def aclose(self) -> None:
        self._is_closed = True

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Closed("the artifact store in memory was closed")

    def _checked(self, digest: Digest) -> bytes:
        self._refuse_if_closed()
        content = self._blobs.get(parse_digest(digest))
        if content is None:
            raise Missing(f"there is no artifact {digest} in memory")
        if digest_of(content) != digest:
            raise Corrupt(f"the artifact {digest} in memory is damaged: it is not served", path=digest)
        return content
