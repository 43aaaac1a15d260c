"""Blobs as files on this machine.

Layout, part of the format::

    <folder>/<xx>/sha256-<64 hex digits>     a blob; xx are its first two digits
    <folder>/tmp/                            drafts, see `staging`

A blob's file is complete and flushed before it gets its name, and never changes under it. A file that does not match its name is
served to nobody, and replaced by the next `put` of that content.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

from ashore_stores.artifacts.base import Blob, Sink
from ashore_stores.artifacts.staging import SLAB, Draft, Permit, Staging
from ashore_stores.errors import Closed, Corrupt, Missing, StoreError
from ashore_stores.keys import Digest, Span, parse_digest
from ashore_stores.ports import DiskFile, FileStat, Ports

MAP_FROM: Final = 1 << 18
"""Bytes from which a blob is mapped; a smaller one is read, which is as fast and holds no descriptor."""

REMEMBERED: Final = 100_000
"""Of how many blobs it is known that they were checked, or flushed. A forgotten one is checked again."""

AT_HAND: Final = 64
"""How many loaded blobs are kept at hand."""

V = TypeVar("V")


class Recent(Generic[V]):
    """The newest so many entries, shared by threads: each operation is a single one of a dict, and a lost entry only costs time."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[Digest, V] = OrderedDict()

    def get(self, digest: Digest) -> V | None:
        return self._entries.get(digest)

    def put(self, digest: Digest, value: V) -> None:
        self._entries[digest] = value
        if len(self._entries) > self._bound:
            self._entries.popitem(last=False)

    def drop(self, digest: Digest) -> None:
        self._entries.pop(digest, None)

    def __len__(self) -> int:
        return len(self._entries)


class LocalArtifactStore:
    """The embedded default. Any number of processes share the folder; none waits for another.

    A cancelled `put` leaves nothing; one that is cancelled while its blob is being given its name comes too late: the blob is
    there, whole and durable or on its way to be.
    """

    def __init__(self, folder: str, ports: Ports) -> None:
        self._folder = folder.rstrip("/")
        self._disk = ports.disk
        self._run = ports.workers.run
        self._staging = Staging(f"{self._folder}/tmp", ports)
        self._shelves: set[str] = set()  # whose own entry this process has flushed
        self._checked: Recent[FileStat] = Recent(REMEMBERED)  # looked like this when its bytes matched its name
        self._flushed: Recent[FileStat] = Recent(REMEMBERED)  # looked like this when file and entry were flushed
        self._at_hand: Recent[memoryview] = Recent(AT_HAND)
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"{len(self._checked)} checked, {len(self._flushed)} flushed"
        return f"<LocalArtifactStore {self._folder!r} {state}>"

    async def put(self, produce: Callable[[Sink], None]) -> Blob:
        self._refuse_if_closed()
        permit = Permit()
        try:
            return await self._run(self._put, produce, permit)
        finally:
            permit.take()

    async def load(self, digest: Digest) -> memoryview:
        self._refuse_if_closed()
        view = self._at_hand.get(digest)
        return await self._run(self._load, digest) if view is None else view

    async def read(self, digest: Digest, span: Span | None = None) -> AsyncIterator[bytes]:
        self._refuse_if_closed()
        span = span or Span()
        file, size = await self._run(self._open_checked, digest)
        try:
            end = size if span.length is None else min(size, span.start + span.length)
            for offset in range(span.start, end, SLAB):
                yield await self._run(file.read, min(SLAB, end - offset), offset)
        finally:
            file.close()

    async def size(self, digest: Digest) -> int | None:
        self._refuse_if_closed()
        found = await self._run(self._disk.stat, self._path(digest))
        return found.size if found is not None and found.kind == "file" else None

    async def digests(self) -> AsyncIterator[Digest]:
        self._refuse_if_closed()
        for shelf in await self._run(self._disk.names, self._folder):
            for name in await self._run(self._disk.names, f"{self._folder}/{shelf}"):
                digest = _digest_named(shelf, name)
                if digest is not None:
                    yield digest

    async def verify(self, digest: Digest) -> None:
        self._refuse_if_closed()
        await self._run(self._verify, digest)

    async def aclose(self) -> None:
        self._is_closed = True
        await self._run(self._staging.close)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Closed(f"the artifact store in {self._folder!r} was closed")

    def _shelf(self, digest: Digest) -> str:
        return f"{self._folder}/{parse_digest(digest)[7:9]}"

    def _path(self, digest: Digest) -> str:
        return f"{self._shelf(digest)}/{digest}"

    # What follows blocks, on a worker thread.

    def _put(self, produce: Callable[[Sink], None], permit: Permit) -> Blob:
        permit.require()
        self._make_folder()
        draft = self._staging.draft(permit)
        try:
            produce(draft)
            blob = draft.finish()
            if not self._reuse(blob):
                self._publish(draft, blob.digest)
            return blob
        finally:
            draft.discard()

    def _publish(self, draft: Draft, digest: Digest) -> None:
        draft.flush()
        self._make_shelf(digest)
        try:
            found = draft.publish(self._path(digest))
        except StoreError:
            self._shelves.discard(self._shelf(digest))  # perhaps it was removed: the next one makes it anew
            raise
        self._flush_entry(digest, found)

    def _reuse(self, blob: Blob) -> bool:
        """Whether equal content is there, whole, and made as durable as a new one would be.

        If it is not, or cannot be flushed, the draft takes its place: flushing the same file once more would prove nothing.
        """
        try:
            found = self._look(blob.digest)
            if self._flushed.get(blob.digest) == found:
                return True
            file, _ = self._open_checked(blob.digest)
            try:
                file.flush()
            finally:
                file.close()
        except StoreError:
            return False
        self._make_shelf(blob.digest)
        self._flush_entry(blob.digest, found)
        return True

    def _make_folder(self) -> None:
        """Once per process, as with shelves: an entry that somebody made and did not come to flush may stand anywhere above."""
        if self._folder in self._shelves:
            return
        self._disk.make_folder(self._folder)
        above = _above(self._folder)
        self._disk.flush_folder(above)
        while above != (above := _above(above)):
            try:
                self._disk.flush_folder(above)
            except StoreError:  # not ours to read, hence not made by us
                break
        self._shelves.add(self._folder)

    def _make_shelf(self, digest: Digest) -> None:
        """Flushed also if it is there already: whoever made it may not have come to that."""
        shelf = self._shelf(digest)
        if shelf not in self._shelves:
            self._disk.make_folder(shelf)
            self._disk.flush_folder(self._folder)
            self._shelves.add(shelf)

    def _flush_entry(self, digest: Digest, found: FileStat) -> None:
        self._disk.flush_folder(self._shelf(digest))
        self._checked.put(digest, found)
        self._flushed.put(digest, found)

    def _look(self, digest: Digest) -> FileStat:
        found = self._disk.stat(self._path(digest))
        if found is None:
            raise Missing(f"there is no artifact {digest} in {self._folder!r}")
        if found.kind != "file":
            raise self._corrupt(digest, f"a {found.kind}")
        return found

    def _load(self, digest: Digest) -> memoryview:
        found = self._look(digest)
        file = self._disk.open(self._path(digest))
        try:
            size = file.size()
            view = memoryview(file.read(size, 0)) if size < MAP_FROM else file.map()
        finally:
            file.close()
        if self._checked.get(digest) != found:  # the very bytes that are served are hashed
            self._compare(digest, hashlib.sha256(view).hexdigest(), size)
            self._checked.put(digest, found)
        if size < MAP_FROM or not isinstance(view.obj, bytes):  # a large one that could only be read is not kept
            self._at_hand.put(digest, view)
        return view

    def _open_checked(self, digest: Digest) -> tuple[DiskFile, int]:
        found = self._look(digest)
        file = self._disk.open(self._path(digest))
        try:
            if self._checked.get(digest) != found:
                self._check(file, digest)
                self._checked.put(digest, found)
            return file, file.size()
        except BaseException:
            file.close()
            raise

    def _verify(self, digest: Digest) -> None:
        self._checked.drop(digest)
        file, _ = self._open_checked(digest)
        file.close()

    def _check(self, file: DiskFile, digest: Digest) -> None:
        hasher = hashlib.sha256()
        offset = 0
        while slab := file.read(SLAB, offset):
            hasher.update(slab)
            offset += len(slab)
        self._compare(digest, hasher.hexdigest(), offset)

    def _compare(self, digest: Digest, digits: str, size: int) -> None:
        if digest != f"sha256-{digits}":
            for known in (self._checked, self._flushed, self._at_hand):
                known.drop(digest)
            raise self._corrupt(digest, f"{size} bytes with digest sha256-{digits}")

    def _corrupt(self, digest: Digest, found: str) -> Corrupt:
        path = self._path(digest)
        return Corrupt(
            f"{path!r} is damaged: it is {found}. It is not served; restore it from a copy, or remove it to have it made again",
            path=path,
        )


def _above(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _digest_named(shelf: str, name: str) -> Digest | None:
    try:
        digest = parse_digest(name)
    except ValueError:
        return None
    return digest if digest[7:9] == shelf else None
