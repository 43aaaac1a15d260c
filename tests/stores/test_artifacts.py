"""The contract of artifact stores, kept by the reference and by local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.keys import Digest
from ashore_stores.system import system_ports
from ashore_stores.testing.artifacts import ArtifactStoreContract


class TestMemoryArtifactStore(ArtifactStoreContract):
    @pytest.fixture(params=["inline", "workers"])
    def store(self, request: pytest.FixtureRequest) -> ArtifactStore:
        return MemoryArtifactStore(system_ports().workers if request.param == "workers" else None)

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        assert isinstance(store, MemoryArtifactStore)
        store._blobs[digest] = bytes([store._blobs[digest][0] ^ 1]) + store._blobs[digest][1:]


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
