"""The contracts of the stores once more, on the simulated ports: any order of wake-ups, any delay, work that is preempted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.keys import Digest
from ashore_stores.testing.artifacts import ArtifactStoreContract
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import SimLoop
from ashore_stores.testing.world import sim_ports

SEEDS = [0, 1, 2]


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def anyio_backend(seed: int) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": partial(SimLoop, seed)}


def preempt(seed: int) -> float:
    return (0.0, 0.1, 0.4)[seed % 3]


class TestSimulatedArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    async def store(self, anyio_backend: object, seed: int) -> ArtifactStore:
        self.disk = SimDisk(seed)
        return LocalArtifactStore("/home/artifacts", sim_ports(seed, disk=self.disk, preempt=preempt(seed)))

    async def damage(self, store: ArtifactStore, digest: Digest) -> None:
        """The file is replaced, as if a process that knows nothing of it came later."""
        assert isinstance(store, LocalArtifactStore)
        path = store._path(digest)
        self.disk.damage(path, self.disk.open(path).size() - 1)
        self.disk.rename(path, f"{path}.moved")
        file, content = self.disk.open(path, write=True, create=True), self.disk.tree()[f"{path}.moved"]
        file.write(content, 0)
        self.disk.remove(f"{path}.moved")
        store._at_hand.drop(digest)
