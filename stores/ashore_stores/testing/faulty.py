"""Stores that fail on demand, to see what those above them do about it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from ashore_stores.artifacts.base import ArtifactStore, Blob, Sink
from ashore_stores.errors import StoreError
from ashore_stores.keys import Digest, Span

STORED = "put:stored"


class FlakyArtifactStore:
    """`inner`, but calls raise what `fail` says, in turn, until it is used up; None stands for a call that goes well.

    Keys of `fail`:

    * `"put"`, `"load"`, `"read"`, `"size"`, `"digests"`, `"verify"`: calls of that method, before anything happens;
    * a digest: calls about that blob, whichever;
    * `"put:stored"`: puts, after the blob was stored: the answer is lost, the blob is not.

    ```python
    store = FlakyArtifactStore(MemoryArtifactStore(), fail={"put": [None, Full("no room")]})  # the second put fails
    ```

    `calls` counts what was asked for, `raised` lists what was raised.
    """

    def __init__(self, inner: ArtifactStore, fail: Mapping[str, Iterable[StoreError | None]] | None = None) -> None:
        self._inner = inner
        self._fail = {key: deque(errors) for key, errors in (fail or {}).items()}
        self.calls: Counter[str] = Counter()
        self.raised: list[StoreError] = []

    def __repr__(self) -> str:
        left = {key: sum(error is not None for error in errors) for key, errors in self._fail.items()}
        return f"<FlakyArtifactStore of {self._inner!r}, still to raise: {left}>"

    def fail(self, key: str, *errors: StoreError | None) -> None:
        """Add to what calls are to raise."""
        self._fail.setdefault(key, deque()).extend(errors)

    async def put(self, produce: Callable[[Sink], None]) -> Blob:
        self._ask("put")
        blob = await self._inner.put(produce)
        self._raise_for(STORED)
        return blob

    async def load(self, digest: Digest) -> memoryview:
        self._ask("load", digest)
        return await self._inner.load(digest)

    async def read(self, digest: Digest, span: Span | None = None) -> AsyncIterator[bytes]:
        self._ask("read", digest)
        async for slab in self._inner.read(digest, span):
            yield slab

    async def size(self, digest: Digest) -> int | None:
        self._ask("size", digest)
        return await self._inner.size(digest)

    async def digests(self) -> AsyncIterator[Digest]:
        self._ask("digests")
        async for digest in self._inner.digests():
            yield digest

    async def verify(self, digest: Digest) -> None:
        self._ask("verify", digest)
        await self._inner.verify(digest)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _ask(self, method: str, *about: Digest) -> None:
        self.calls[method] += 1
        for key in (method, *about):
            self._raise_for(key)

    def _raise_for(self, key: str) -> None:
        errors = self._fail.get(key)
        error = errors.popleft() if errors else None
        if error is not None:
            self.raised.append(error)
            raise error
