"""Bugs of the runtime: of triggers, of the engine, of taking over. They are hunted by the simulation of the whole runtime."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import anyio

from ashore import runs
from ashore.catalogue.projector import Projector
from ashore.driving import Drives
from ashore.engine import loop, values
from ashore.engine.journal import Journal
from ashore.engine.loop import Drive
from ashore.engine.state import Machine
from ashore.engine.values import Blobs, Large
from ashore.events import Arrivals, ElementsRan, Event, Output, RunSpace, StepFailed, StepRan
from ashore.handles import Handle
from ashore.ids import CacheKey
from ashore.materialize import dump_to
from ashore.runs import Driven, Run
from ashore.runtime import Runtime
from ashore.starting import Prepared
from ashore.triggers.arrivals import Reading, Recorder
from ashore.triggers.scan import Found
from ashore.triggers.watch import TriggerWatch
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.keys import Buffer
from ashore_stores.logs.base import Claim, Entry, Judged, Ticket
from ashore_stores.ports import Workers
from tests.museum.planting import Bug

# An arrival doubled at restart: the recorder remembers by itself what it recorded, and states it as a fact.


def _is_remembered(right: Any, recorder: Recorder, found: Found) -> bool:
    seen = recorder._same.get(found.name)
    return seen is not None and seen[1:] == (found.stat.size, found.stat.mtime_ns)


def _same_as_remembered(right: Any, recorder: Recorder, reading: Reading) -> bool:
    seen = recorder._same.get(reading.name)
    recorder._same[reading.name] = (reading.digest or b"", reading.stat.size, reading.stat.mtime_ns)
    return seen is not None and seen[0] == reading.digest


async def _state_arrivals(right: Any, recorder: Recorder, claims: Sequence[Claim]) -> list[Judged]:
    tickets = [recorder._log.queue(claim.batch) for claim in claims]
    for ticket in tickets:
        await recorder._log.durable(ticket)
    return [Judged(ticket.position) for ticket in tickets]


async def _claim_and_tell(right: Any, recorder: Recorder, claims: Sequence[Claim]) -> list[Judged]:
    return list(await recorder._log.append(claims)) if claims else []


def _scan_nothing(right: Any, watch: TriggerWatch) -> list[Any]:
    return []


# Runs started as facts: the cursor of a trigger then moves when the run has ended; a key is only looked up.

_cursors: dict[bytes, Entry] = {}


async def _start_triggered_as_fact(
    right: Any, drives: Drives, prepared: Prepared, entry: Entry, expected: bytes | None, **about: Any
) -> tuple[Run[Any] | None, bytes | None]:
    arrivals: Arrivals | None = about.get("arrivals")
    if arrivals is None:
        started: tuple[Run[Any] | None, bytes | None] = await right(drives, prepared, entry, expected, **about)
        return started
    drive = await drives._new_drive(prepared, "", arrivals)
    drive.journal.flush((await drives._open_entry(drive),))
    _cursors[drive.run.encode()] = entry
    return await _gone(drives, drive, prepared), None


def _move_the_cursor_at_the_end(right: Any, journal: Journal, entries: tuple[Entry, ...] = ()) -> Ticket | None:
    if any(entry.space == RunSpace.OPEN_RUNS and not entry.value for entry in entries):
        entries += tuple(_cursors[topic] for topic in journal._topics if topic in _cursors)
    ticket: Ticket | None = right(journal, entries)
    return ticket


async def _gone(drives: Drives, drive: Drive, prepared: Prepared) -> Run[Any]:
    run = drives._go(drive, prepared.work)
    ticket = drive.last
    assert ticket is not None
    await drives._stack.log.durable(ticket)
    return run


async def _start_keyed_as_fact(
    right: Any, drives: Drives, prepared: Prepared, entry: Entry, expected: bytes | None, **about: Any
) -> tuple[Run[Any] | None, bytes | None]:
    if not about.get("key"):
        started: tuple[Run[Any] | None, bytes | None] = await right(drives, prepared, entry, expected, **about)
        return started
    drive = await drives._new_drive(prepared, about["key"])
    named = Entry(entry.space, entry.key, entry.value + drive.run.encode())
    drive.journal.flush((named, await drives._open_entry(drive)))
    return await _gone(drives, drive, prepared), None


# A completed event is queued before its blob is durable: the blob is written behind, and only consumers wait for it.

_behind: dict[tuple[ArtifactStore, bytes], anyio.Event] = {}
_writing: set[asyncio.Task[None]] = set()


class _Hasher:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Buffer, /) -> int:
        self.digest.update(data)
        self.size += memoryview(data).nbytes
        return memoryview(data).nbytes


async def _store_behind(right: Any, artifacts: ArtifactStore, workers: Workers, work: Any, large: Large) -> Output:
    hasher = _Hasher()
    dump_to(large.value, hasher)
    digest = hasher.digest.digest()
    stored = _behind[artifacts, digest] = anyio.Event()

    async def store() -> None:
        await right(artifacts, workers, work, large)
        stored.set()

    task = asyncio.get_running_loop().create_task(store())
    _writing.add(task)
    task.add_done_callback(_writing.discard)
    return Output(digest, hasher.size, large.format, large.type, None, large.content)


async def _load_what_is_stored(right: Any, artifacts: ArtifactStore, digests: Iterable[bytes]) -> Blobs:
    wanted = list(digests)
    for digest in wanted:
        if (artifacts, digest) in _behind:
            await _behind[artifacts, digest].wait()
    blobs: Blobs = await right(artifacts, wanted)
    return blobs


# Acknowledged too early.


async def _finish_without_the_disk(right: Any, drives: Drives, drive: Drive, course: Driven) -> None:
    await drive.go()
    course.finished.set()


async def _start_without_the_disk(right: Any, runtime: Runtime, call: Handle[Any], *, key: str | None = None) -> Run[Any]:
    run: Run[Any] = await (right(runtime, call, key=key) if key else runtime.start_soon(call))
    return run


# What is recorded is not believed on resume.


def _forget_sources(right: Any, machine: Machine, event: Event) -> None:
    node = machine.by_invocation.get(event.invocation) if isinstance(event, StepRan) else None
    if node is None or any(argument.sources for argument in node.arguments):
        right(machine, event)


def _forget_elements(right: Any, machine: Machine, event: Event) -> None:
    if not isinstance(event, ElementsRan):
        right(machine, event)


def _forget_failures(right: Any, machine: Machine, event: Event) -> None:
    if not isinstance(event, StepFailed):
        right(machine, event)


# A fan-out is recorded as done before its elements are.

_late: dict[bytes, list[tuple[ElementsRan, list[CacheKey]]]] = {}


def _keep_elements_back(right: Any, journal: Journal, event: ElementsRan, keys: list[CacheKey]) -> None:
    _late.setdefault(journal._topics[0], []).append((event, keys))


def _flush_then_elements(right: Any, journal: Journal, entries: tuple[Entry, ...] = ()) -> Ticket | None:
    if not entries:
        right(journal)
    for event, keys in _late.pop(journal._topics[0], ()):
        journal._events.append(event)
        journal._marks.extend(key or bytes(16) for key in keys)
        right(journal)
    ticket: Ticket | None = right(journal, entries)
    return ticket


async def _learn_nothing(right: Any, *arguments: Any) -> None:
    """What earlier slices numbered is not looked up."""


def _bug(name: str, what: str, *swaps: Any) -> Bug:
    return Bug(name, what, swaps, seeds=500, harness="sim_runtime")


BUGS = (
    _bug(
        "arrival-doubled-at-restart",
        "the recorder trusts its own memory and states arrivals as facts",
        (Recorder, "is_recorded", _is_remembered),
        (Recorder, "_is_same", _same_as_remembered),
        (Recorder, "_claim", _state_arrivals),
    ),
    _bug("arrival-told-before-durable", "an arrival is told as soon as it is written", (Recorder, "_claim", _claim_and_tell)),
    _bug("files-not-scanned", "only hints are followed, nobody looks what is there", (TriggerWatch, "_scan", _scan_nothing)),
    _bug(
        "cursor-not-claimed",
        "a triggered run is started as a fact, and the cursor moves when it has ended",
        (Drives, "start_claimed", _start_triggered_as_fact),
        (Journal, "flush", _move_the_cursor_at_the_end),
    ),
    _bug("key-not-claimed", "a key is looked up, then stated as a fact", (Drives, "start_claimed", _start_keyed_as_fact)),
    _bug(
        "event-before-its-blob",
        "a step is recorded as done while its blob is written behind",
        (values, "store_large", _store_behind),
        (loop, "load_blobs", _load_what_is_stored),
        (runs, "load_blobs", _load_what_is_stored),
    ),
    _bug(
        "end-told-before-durable",
        "awaiting a run returns when its end is queued",
        (Drives, "_see_through", _finish_without_the_disk),
    ),
    _bug("start-told-before-durable", "start returns when the start is queued", (Runtime, "start", _start_without_the_disk)),
    _bug(
        "recorded-source-again",
        "on resume, recorded results of steps without inputs do not count",
        (Machine, "receive", _forget_sources),
    ),
    _bug(
        "recorded-elements-again", "on resume, recorded elements of fan-outs do not count", (Machine, "receive", _forget_elements)
    ),
    _bug("recorded-failure-again", "on resume, what failed is tried again", (Machine, "receive", _forget_failures)),
    _bug(
        "fan-before-its-elements",
        "a fan-out is recorded as done in a frame before those of its elements",
        (Journal, "record_elements", _keep_elements_back),
        (Journal, "flush", _flush_then_elements),
    ),
    _bug("index-forgets-numbers", "what earlier slices numbered is not looked up", (Projector, "_learn", _learn_nothing)),
)
