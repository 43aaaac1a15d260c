"""Bugs of locks, owners, re-use and of what happens after a failed flush or a crash."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ashore_stores.artifacts.base import Blob
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.errors import StoreError
from ashore_stores.keys import Digest
from ashore_stores.logs import writer as writing
from ashore_stores.logs.flusher import Flusher
from ashore_stores.logs.home import APPEND, FLUSH, Home
from ashore_stores.logs.owners import Owners
from ashore_stores.logs.tail import Tail, Traces
from tests.museum.planting import Bug


def _make_shelf_only(right: Any, store: LocalArtifactStore, digest: Digest) -> None:
    store._disk.make_folder(store._shelf(digest))


def _take_what_is_there(right: Any, store: LocalArtifactStore, blob: Blob) -> bool:
    try:
        store._look(blob.digest)
    except StoreError:
        return False
    return True


def _prepare_unflushed(right: Any, flusher: Flusher, path: str, data: bytes) -> None:
    disk = flusher._home.disk
    disk.remove(path)
    file = disk.open(path, write=True, create=True, exclusive=True)
    file.write(data, 0)
    file.close()


def _rescue_in_place(right: Any, flusher: Flusher) -> None:
    tail, home = flusher._tail, flusher._home
    tail.catch_up()
    assert tail.file is not None
    with home.held(FLUSH):
        tail.file.flush()
        home.watermark.publish(tail.place)
        tail.see(tail.place)


def _no_append_lock(right: Any, home: Home, slot: int) -> Any:
    return nullcontext() if slot == APPEND else right(home, slot)


def _no_flush_lock(right: Any, home: Home, slot: int) -> Any:
    return nullcontext() if slot == FLUSH else right(home, slot)


def _only_myself(right: Any, owners: Owners, owner: bytes) -> bool:
    return owner == owners.own_id


def _everybody(right: Any, owners: Owners, owner: bytes) -> bool:
    return True


def _anything_is_torn(right: Any, tail: Tail) -> bytes:
    assert tail.file is not None
    return tail.file.read(max(0, tail.file.size() - tail.place.offset), tail.place.offset)


def _never(right: Any, *arguments: Any) -> bool:
    return False


def _always(right: Any, *arguments: Any) -> bool:
    return True


BUGS = (
    Bug(
        "shelf-not-flushed",
        "the folder of a blob is not made to survive by name",
        ((LocalArtifactStore, "_make_shelf", _make_shelf_only),),
    ),
    Bug(
        "reused-without-flush",
        "a blob that is there is taken for durable",
        ((LocalArtifactStore, "_reuse", _take_what_is_there),),
        seeds=600,
    ),
    Bug(
        "named-before-flush", "a new segment gets its name before its bytes are safe", ((Flusher, "_prepare", _prepare_unflushed),)
    ),
    Bug(
        "rescue-in-place",
        "after a failed flush the old segment is flushed again by the next",
        ((Flusher, "rescue", _rescue_in_place),),
    ),
    Bug("rescue-forgotten", "nobody looks whether a flush was left unresolved", ((Flusher, "_needs_rescue", _never),)),
    Bug("append-without-lock", "frames are written without the append lock", ((Home, "held", _no_append_lock),)),
    Bug("flush-without-lock", "the watermark is written without its lock", ((Home, "held", _no_flush_lock),)),
    Bug("fence-ignored", "an owner that was taken over writes on", ((writing, "FENCED", b"never"),)),
    Bug("living-taken-for-dead", "whoever is not oneself is dead", ((Owners, "is_alive", _only_myself),)),
    Bug("dead-taken-for-living", "nobody ever dies", ((Owners, "is_alive", _everybody),)),
    Bug("cut-at-first-bad-frame", "damage in durable frames is cut off as torn", ((Tail, "torn", _anything_is_torn),)),
    Bug(
        "other-frame-accepted",
        "what was written again is not compared with what was known",
        ((Traces, "has", _always),),
        seeds=600,
    ),
)
