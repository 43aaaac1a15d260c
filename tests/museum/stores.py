"""Bugs of the log and the artifact store."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ashore_stores.artifacts.base import Sink
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.artifacts.staging import Draft as BlobDraft
from ashore_stores.errors import StoreError
from ashore_stores.keys import digest_of
from ashore_stores.logs import segments
from ashore_stores.logs.base import Claim, Entry, Judged
from ashore_stores.logs.core import Core
from ashore_stores.logs.flusher import Flusher
from ashore_stores.logs.home import Home
from ashore_stores.logs.segment import SegmentEventLog
from ashore_stores.logs.segments import Place
from ashore_stores.logs.tail import Tail
from ashore_stores.logs.watermark import State, Watermark
from ashore_stores.logs.writer import Queued, QueuedClaims, Writer
from tests.museum.planting import Bug
from tests.scenarios.sim_stores import Actor
from tests.scenarios.sim_stores_history import ARRIVALS

# Acknowledgement before flush.


def _publish_without_flush(right: Any, flusher: Flusher, state: State) -> bool:
    if flusher._tail.place.key > state.place.key:
        flusher._home.watermark.publish(flusher._tail.place)
    flusher._tail.see(flusher._tail.place)
    return True


# Blob after its frame: what the engine's journal must never do, done by the writer of the simulation.


async def _frame_before_blob(right: Any, actor: Actor, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
    content = actor._content()
    actor.history.blobs[digest_of(content)] = content

    def produce(sink: Sink) -> None:
        sink.write(content)

    submission = actor._submit(topic, blobs=(digest_of(content),))
    submission.ticket = log.queue(submission.batch)
    await store.put(produce)
    await actor._settle(submission, log)


# Rotation without flushing the sealed segment.


def _rotate_unflushed(right: Any, flusher: Flusher) -> None:
    flush = flusher._flush
    flusher._flush = lambda: True  # type: ignore[method-assign]
    try:
        right(flusher)
    finally:
        flusher._flush = flush  # type: ignore[method-assign]


# A failed flush, retried on the same file.


def _flush_again(right: Any, flusher: Flusher, state: State) -> bool:
    if right(flusher, state):
        return True
    tail = flusher._tail
    if tail.file is None:
        return False
    with suppress(StoreError):
        tail.file.flush()
        flusher._home.watermark.publish(tail.place)
        tail.see(tail.place)
        return True
    return False


# The watermark lowered: each process publishes what it knows.


def _flush_as_far_as_known(right: Any, flusher: Flusher, state: State) -> bool:
    """Without the look at what others published."""
    return bool(right(flusher, State(Place(state.place.segment, 0, 0, 0, 0), state.generation, is_marked=state.is_marked)))


def _publish_anything(right: Any, watermark: Watermark, place: Place) -> None:
    generation = watermark.read().generation
    read = watermark.read
    watermark.read = lambda: State(segments.NOWHERE, generation, is_marked=False)  # type: ignore[method-assign]
    try:
        right(watermark, place)
    finally:
        watermark.read = read  # type: ignore[method-assign]


# A torn tail cut without the lock: by whoever happens to look.


def _cut_at_a_look(right: Any, core: Core) -> Any:
    result = right(core)
    tail = core.tail
    if tail.file is not None and tail.missing() > 0 and not tail.is_sealed:
        tail.cut()
    return result


# A key checked outside the lock.

_seen: dict[int, bytes | None] = {}


def _look_before_the_lock(right: Any, writer: Writer, queued: list[Queued]) -> None:
    writer._tail.catch_up()
    for item in queued:
        if isinstance(item, QueuedClaims):
            _seen.update({id(claim): writer._tail.registers.get(claim.space, claim.key) for claim in item.claims})
    right(writer, queued)


def _judge_by_what_was_seen(right: Any, writer: Writer, claim: Claim, batch: Any, ahead: dict[tuple[int, bytes], bytes]) -> Judged:
    current = writer._tail.registers.get(claim.space, claim.key)
    if _seen.get(id(claim)) == claim.expected != current and (claim.space, claim.key) not in ahead:
        claim = Claim(claim.space, claim.key, current, claim.batch)  # has become true, it thinks
    judged: Judged = right(writer, claim, batch, ahead)
    return judged


# A sequence re-used after a crash: the watermark is taken for the end of the log.


def _begin_at_the_watermark(right: Any, tail: Tail, state: State) -> None:
    right(tail, state)
    if tail.file is not None and state.place.segment == tail.place.segment and state.place.offset < tail.place.offset:
        tail.file.truncate(state.place.offset)
        tail.place = state.place


# Folders not flushed.


def _nothing(right: Any, *arguments: Any) -> None:
    """What should have happened does not."""


def _remember_entry_only(right: Any, store: LocalArtifactStore, digest: Any, found: Any) -> None:
    store._checked.put(digest, found)
    store._flushed.put(digest, found)


# An arrival doubled at restart: it is stated as a fact, by whoever has not seen it yet.


async def _state_the_arrival(right: Any, actor: Actor, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
    key = b"inbox/%d.csv@v1" % actor.random.randrange(6)
    if log.register(ARRIVALS, key) is not None:
        return
    submission = actor._submit(topic, Entry(ARRIVALS, key, topic), is_fact=True)
    submission.ticket = log.queue(submission.batch)
    await actor._settle(submission, log)


def _always(right: Any, *arguments: Any) -> bool:
    return True


BUGS = (
    Bug(
        "acknowledged-before-flush",
        "the watermark is published, the segment was not flushed",
        ((Flusher, "_flush_held", _publish_without_flush),),
    ),
    Bug("blob-after-its-frame", "the frame is handed in before its blob is stored", ((Actor, "_state_blob", _frame_before_blob),)),
    Bug(
        "rotation-without-flush",
        "the sealed segment is not flushed before the next one begins",
        ((Flusher, "rotate", _rotate_unflushed),),
    ),
    Bug(
        "failed-flush-retried", "after a failed flush the same file is flushed once more", ((Flusher, "_flush_held", _flush_again),)
    ),
    Bug(
        "watermark-lowered",
        "a process publishes its own end though another one was further",
        ((Flusher, "_flush_held", _flush_as_far_as_known), (Watermark, "publish", _publish_anything)),
    ),
    Bug("torn-tail-cut-without-lock", "whoever looks cuts what is not a whole frame", ((Core, "refresh", _cut_at_a_look),)),
    Bug(
        "key-checked-outside-lock",
        "claims are judged by registers read before the lock",
        ((Writer, "append", _look_before_the_lock), (Writer, "_judge_one", _judge_by_what_was_seen)),
    ),
    Bug("arrival-doubled", "an arrival is stated as a fact after a look", ((Actor, "_arrive", _state_the_arrival),)),
    Bug("sequence-reused", "after a crash the log goes on at the watermark", ((Tail, "load", _begin_at_the_watermark),)),
    Bug("log-folder-not-flushed", "new segments are not made to survive by name", ((Home, "flush_folders", _nothing),)),
    Bug(
        "blob-folder-not-flushed",
        "new blobs are not made to survive by name",
        ((LocalArtifactStore, "_flush_entry", _remember_entry_only),),
    ),
    Bug("blob-not-flushed", "a blob gets its name before its bytes are safe", ((BlobDraft, "flush", _nothing),)),
    Bug("failed-flush-kept-private", "a flush leaves no mark for others", ((Watermark, "mark", _nothing),)),
    Bug("checksum-not-checked", "frames are not compared with their checksums", ((segments, "is_whole", _always),)),
)
