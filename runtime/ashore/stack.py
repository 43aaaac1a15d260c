"""A stack: which parts a runtime works with. `local` is built in and needs no file; others by URL come in a later version."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio

from ashore.errors import HomeError
from ashore.home import Home, open_home
from ashore_stores import Damage as Damage
from ashore_stores import LocalArtifactStore, open_segment_log, system_ports, verify_log
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import Missing, StoreError
from ashore_stores.index.base import MetadataIndex
from ashore_stores.logs.base import EventLog
from ashore_stores.ports import Ports

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Stack:
    """The parts, open."""

    home: Home
    ports: Ports
    log: EventLog
    artifacts: ArtifactStore
    index: Callable[[], MetadataIndex] | None = None
    """Makes the index of a stack that has no folder for one."""

    async def aclose(self) -> None:
        """Close them all. Whoever is cancelled meanwhile, however often, still waits for it: in a task of its own it is not hit."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._close)

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.artifacts.aclose()
            await self.log.aclose()


async def open_stack(
    name: str = LOCAL,
    *,
    home: str | os.PathLike[str] | None = None,
    ports: Ports | None = None,
    create: bool = True,
) -> Stack:
    """Open a stack's parts. Raises `HomeError`, `NewerFormat`, and `StoreError` for a log that cannot be opened."""
    if name != LOCAL:
        raise HomeError(
            f"there is no stack {name!r}",
            mend="This version has the built-in stack 'local'; stacks by URL come later",
        )
    ports = ports or system_ports()
    place = await ports.workers.run(lambda: open_home(ports, home, create=create))
    log = await open_segment_log(place.log, ports)
    return Stack(place, ports, log, LocalArtifactStore(place.artifacts, ports))


def open_artifacts(folder: str, ports: Ports) -> ArtifactStore:
    """The artifacts in this folder, as another process of this machine opens them (see `shared_artifacts`)."""
    return LocalArtifactStore(folder, ports)


def shared_artifacts(stack: Stack) -> str | None:
    """The folder by which other processes of this machine open the stack's artifacts; None if they cannot."""
    return stack.home.artifacts if isinstance(stack.artifacts, LocalArtifactStore) else None


async def damages(home: Home, ports: Ports) -> AsyncIterator[Damage | None]:
    """All damage in a home's log, then in each of its artifacts, None for one that is whole. Opens no log: any may be damaged."""
    for damage in await ports.workers.run(verify_log, home.log, ports):
        yield damage
    artifacts = LocalArtifactStore(home.artifacts, ports)
    try:
        async for digest in artifacts.digests():
            try:
                await artifacts.verify(digest)
                yield None
            except Missing:
                continue  # collected meanwhile
            except StoreError as error:
                yield Damage(f"{home.artifacts}/{digest}", 0, None, str(error))
    finally:
        await artifacts.aclose()
