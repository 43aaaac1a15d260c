"""The contract of artifact stores, kept by the reference and by local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.errors import Corrupt, Full, Unavailable
from ashore_stores.keys import Digest, digest_of
from ashore_stores.system import system_ports
from ashore_stores.testing.artifacts import ArtifactStoreContract, put, read, stored
from ashore_stores.testing.faulty import FlakyArtifactStore


class TestMemoryArtifactStore(ArtifactStoreContract):
    @pytest.fixture(params=["inline", "workers"])
    def store(self, request: pytest.FixtureRequest) -> ArtifactStore:
        return MemoryArtifactStore(system_ports().workers if request.param == "workers" else None)

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        assert isinstance(store, MemoryArtifactStore)
        store._blobs[digest] = bytes([store._blobs[digest][0] ^ 1]) + store._blobs[digest][1:]


class TestFlakyArtifactStore(TestMemoryArtifactStore):
    """With nothing to raise it is the store within."""

    @pytest.fixture
    def store(self) -> ArtifactStore:
        return FlakyArtifactStore(MemoryArtifactStore())

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        assert isinstance(store, FlakyArtifactStore)
        await super().damage(store._inner, digest)


class TestLocalArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return LocalArtifactStore(str(tmp_path / "home" / "artifacts"), system_ports())

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        """The file is made anew, as if a process that knows nothing of it came later."""
        assert isinstance(store, LocalArtifactStore)
        _rewrite_damaged(Path(store._path(digest)))
        store._at_hand.drop(digest)


def _rewrite_damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.anyio
async def test_a_flaky_store_raises_what_it_was_told_to_in_turn() -> None:
    known = digest_of(b"known")
    store = FlakyArtifactStore(MemoryArtifactStore(), fail={"put": [None, Full("no room")], known: [None, Corrupt("rot")]})
    await put(store, b"known")
    with pytest.raises(Full, match="no room"):
        await put(store, b"other")
    assert await read(store, known) == b"known"
    with pytest.raises(Corrupt):
        await store.load(known)
    store.fail("put:stored", Unavailable("the answer is lost"))
    with pytest.raises(Unavailable):
        await put(store, b"other")
    assert await stored(store) == {known, digest_of(b"other")}
    assert [str(error) for error in store.raised] == ["no room", "rot", "the answer is lost"]
    assert store.calls == {"put": 3, "read": 1, "load": 1, "digests": 1}
