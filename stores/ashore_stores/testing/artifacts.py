"""What every artifact store promises. Subclass `ArtifactStoreContract`, give it a `store` fixture and a way to damage a blob.

```python
class TestMyStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self) -> ArtifactStore: ...

    async def damage(self, store: ArtifactStore, digest: Digest) -> None: ...
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ashore_stores.artifacts.base import ArtifactStore, Blob, Sink
from ashore_stores.errors import Closed, Corrupt, Missing
from ashore_stores.keys import Buffer, Digest, Span, digest_of

LARGE: Final = bytes(range(256)) * (3 << 12) + b"tail"
"""A few slabs of any sensible store, and not a whole number of them."""

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
contents = st.binary(max_size=300) | st.builds(
    lambda content, size: LARGE[:size] + content, st.binary(max_size=9), st.integers(0, 1 << 20)
)
spans = st.builds(Span, st.integers(0, 400), st.none() | st.integers(0, 400))


def produce_of(*pieces: Buffer) -> Callable[[Sink], None]:
    """Writes these pieces, one after the other."""
    return partial(_write_all, pieces)


def _write_all(pieces: Sequence[Buffer], sink: Sink) -> None:
    for piece in pieces:
        assert sink.write(piece) == memoryview(piece).nbytes


async def put(store: ArtifactStore, *pieces: Buffer) -> Blob:
    return await store.put(produce_of(*pieces))


async def read(store: ArtifactStore, digest: Digest, span: Span | None = None) -> bytes:
    return b"".join([slab async for slab in store.read(digest, span)])


async def stored(store: ArtifactStore) -> set[Digest]:
    return {digest async for digest in store.digests()}


class ArtifactStoreContract:
    """The promises of `ArtifactStore`, one test each."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def store(self) -> ArtifactStore:
        raise pytest.UsageError("a subclass of ArtifactStoreContract has a fixture `store`")

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        """Change a byte of this blob behind the store's back, and have the store forget that it was ever checked."""
        raise pytest.UsageError("a subclass of ArtifactStoreContract has a method `damage`")

    @pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "small", "large"])
    async def test_what_was_put_is_loaded_read_and_sized(self, store: ArtifactStore, content: bytes) -> None:
        blob = await put(store, content)
        assert blob == Blob(digest_of(content), len(content))
        assert await store.load(blob.digest) == content
        assert await read(store, blob.digest) == content
        assert await store.size(blob.digest) == len(content)
        await store.verify(blob.digest)

    @shared
    @given(content=contents, cuts=st.lists(st.integers(0, 1 << 20), max_size=6))
    async def test_the_digest_is_of_the_content_however_it_was_cut(
        self, store: ArtifactStore, content: bytes, cuts: list[int]
    ) -> None:
        edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
        pieces = [content[start:end] for start, end in pairwise(edges)]
        blob = await put(store, *pieces)
        assert blob == Blob(digest_of(content), len(content))
        assert await read(store, blob.digest) == content

    async def test_any_buffer_can_be_written_and_changed_afterwards(self, store: ArtifactStore) -> None:
        reused = bytearray(b"first")

        def produce(sink: Sink) -> None:
            sink.write(reused)
            reused[:] = b"later"
            sink.write(memoryview(reused))
            sink.write(memoryview(bytes(16)).cast("I"))

        blob = await store.put(produce)
        assert await store.load(blob.digest) == b"firstlater" + bytes(16)

    @shared
    @given(content=st.binary(max_size=300), span=spans)
    async def test_a_span_is_a_slice(self, store: ArtifactStore, content: bytes, span: Span) -> None:
        blob = await put(store, content)
        end = None if span.length is None else span.start + span.length
        assert await read(store, blob.digest, span) == content[span.start : end]

    async def test_a_span_of_a_large_blob_comes_in_slabs(self, store: ArtifactStore) -> None:
        blob = await put(store, LARGE)
        start, length = 12_345, len(LARGE) - 23_456
        slabs = [slab async for slab in store.read(blob.digest, Span(start, length))]
        assert b"".join(slabs) == LARGE[start : start + length]
        assert max(map(len, slabs)) <= 8 << 20

    async def test_a_loaded_blob_cannot_be_changed(self, store: ArtifactStore) -> None:
        for content in (b"small", LARGE):
            view = await store.load((await put(store, content)).digest)
            assert view.readonly
            assert (view.format, view.ndim) == ("B", 1)

    async def test_equal_content_is_stored_once(self, store: ArtifactStore) -> None:
        first = await put(store, b"same")
        assert await put(store, b"sa", b"me") == first
        assert await stored(store) == {first.digest}

    async def test_equal_content_put_at_the_same_time_is_one_blob(self, store: ArtifactStore) -> None:
        blobs: list[Blob] = []

        async def once() -> None:
            blobs.append(await put(store, LARGE))

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(once)
        assert set(blobs) == {Blob(digest_of(LARGE), len(LARGE))}
        assert await store.load(blobs[0].digest) == LARGE

    async def test_what_is_not_there_is_missing(self, store: ArtifactStore) -> None:
        absent = digest_of(b"never put")
        assert await store.size(absent) is None
        for attempt in (store.load(absent), read(store, absent), store.verify(absent)):
            with pytest.raises(Missing, match=absent):
                await attempt

    @pytest.mark.parametrize("hostile", ["../../etc/passwd", "sha256-../x", "", "sha256-" + "A" * 64])
    async def test_a_name_that_is_no_digest_goes_nowhere(self, store: ArtifactStore, hostile: str) -> None:
        digest = Digest(hostile)
        for attempt in (store.load(digest), read(store, digest), store.verify(digest), store.size(digest)):
            with pytest.raises(ValueError, match="not a digest"):
                await attempt

    async def test_a_producer_that_fails_leaves_nothing(self, store: ArtifactStore) -> None:
        def produce(sink: Sink) -> None:
            sink.write(LARGE)
            raise LookupError("no such row")

        with pytest.raises(LookupError, match="no such row"):
            await store.put(produce)
        assert await stored(store) == set()
        assert await store.size(digest_of(LARGE)) is None

    async def test_damage_is_found_and_nothing_of_it_served(self, store: ArtifactStore) -> None:
        blob = await put(store, LARGE)
        await self.damage(store, blob.digest)
        for attempt in (store.verify(blob.digest), store.load(blob.digest), read(store, blob.digest, Span(0, 1))):
            with pytest.raises(Corrupt, match="damaged") as caught:
                await attempt
            assert blob.digest in caught.value.path

    async def test_a_closed_store_refuses(self, store: ArtifactStore) -> None:
        blob = await put(store, b"x")
        await store.aclose()
        await store.aclose()
        for attempt in (put(store, b"y"), store.load(blob.digest), read(store, blob.digest), store.size(blob.digest)):
            with pytest.raises(Closed, match="was closed"):
                await attempt
