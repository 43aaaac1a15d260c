"""From a complete file to an arrival in the log: read, digested, claimed.

An arrival is (trigger, name, version), and a claim on the name's register: any number of watchers, in any number of processes,
may see the same file, and one of them records it. What the register held is learned *before* the file is read, so that a claim
that wins is about content read after its predecessor was recorded: a slow reader never records old content as a new version.

A trigger watches one folder, so that the name in it says which file is meant: a project that was moved finds its arrivals again.
The events tell the whole path, as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ashore.events import ArrivalRefused, Arrived, Event, RunSpace, encode, path_text
from ashore.ids import hash_id
from ashore.triggers.scan import REFUSALS, Found, Pattern, Refused
from ashore_stores.errors import Missing, ReadOnly, StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Claim, Entry, EventLog, Judged
from ashore_stores.ports import Disk, FileStat, Ports

CHUNK: Final = 1 << 20
"""Bytes read at a time."""

FILES_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 256 << 20
"""Files are read, then claimed, in batches of so many, or as soon as they have so many bytes."""


class Recorded(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the register of a name holds: its newest arrival. Part of the format."""

    version: int
    size: int
    mtime_ns: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as it was read."""

    name: str
    expected: bytes | None
    """What the register held before."""
    stat: FileStat
    digest: bytes | None
    """None if it did not hold still."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the files of a batch."""

    arrived: tuple[Arrived, ...]
    refused: tuple[ArrivalRefused, ...]
    again: tuple[str, ...]
    """Names to look at again: they changed while they were read, or somebody recorded other content meanwhile."""


_decoder: Final = msgspec.msgpack.Decoder(Recorded)


class Recorder:
    """Records the arrivals of one trigger, each once, whoever else does so too."""

    def __init__(self, pattern: Pattern, log: EventLog, ports: Ports) -> None:
        self._pattern = pattern
        self._log = log
        self._ports = ports
        self._same: dict[str, tuple[bytes, int, int]] = {}
        """name -> register, size and time of a file that was touched but has the content of that register."""

    def is_recorded(self, found: Found) -> bool:
        """Whether this file, as it looks, is the newest arrival of its name. From any thread."""
        value = self._log.register(RunSpace.ARRIVALS, self._key(found.name))
        if value is None:
            return False
        recorded = _decoder.decode(value)
        stat = found.stat
        return (recorded.size, recorded.mtime_ns) == (stat.size, stat.mtime_ns) or self._same.get(found.name) == (
            value,
            stat.size,
            stat.mtime_ns,
        )

    async def take(self, files: Sequence[Found]) -> Taken:
        """Read complete files and record those that are new. Durable when this returns. Give it what `batches` gives.

        Raises `Fenced`, `Full`, `ReadOnly`, `Unavailable`, `NotDurable`; the files are then to be looked at again.
        """
        outcomes = await self._ports.workers.run(self._read_all, files)
        readings = [outcome for outcome in outcomes if isinstance(outcome, Reading)]
        again = [reading.name for reading in readings if reading.digest is None]
        fresh = [reading for reading in readings if reading.digest is not None and not self._is_same(reading)]
        events = [self._arrived(reading) for reading in fresh]
        judged = await self._claim([self._arrival_claim(reading, event) for reading, event in zip(fresh, events, strict=True)])
        arrived = [event for event, verdict in zip(events, judged, strict=True) if verdict.won]
        again += [
            reading.name
            for reading, verdict in zip(fresh, judged, strict=True)
            if not verdict.won and _digest_of(verdict.current) != reading.digest
        ]
        refused = await self.refuse([outcome for outcome in outcomes if isinstance(outcome, Refused)])
        return Taken(tuple(arrived), tuple(refused), tuple(again))

    async def refuse(self, refusals: Sequence[Refused]) -> list[ArrivalRefused]:
        """Record what cannot be taken, each path once per reason; returns what was new. Raises as `take`."""
        events, claims = [], []
        for refusal in refusals:
            key, reason = self._refusal_key(refusal.name), refusal.reason.encode()
            held = self._log.register(RunSpace.ARRIVALS, key)
            if held != reason:
                event = ArrivalRefused(self._pattern.text, self._path(refusal.name), refusal.reason, self._ports.clock.now())
                events.append(event)
                claims.append(Claim(RunSpace.ARRIVALS, key, held, _batch(event, Entry(RunSpace.ARRIVALS, key, reason))))
        judged = await self._claim(claims)
        return [event for event, verdict in zip(events, judged, strict=True) if verdict.won]

    async def settle(self) -> None:
        """Make durable what is recorded: a register may hold what a process wrote that died before it was flushed."""
        await self._log.durable(self._log.statistics().written)

    # The register of a name.

    def _path(self, name: str) -> str:
        return path_text(self._pattern.path(name))

    def _key(self, name: str) -> bytes:
        return hash_id(self._pattern.text.encode(), path_text(name).encode())

    def _refusal_key(self, name: str) -> bytes:
        return hash_id(self._pattern.text.encode(), path_text(name).encode(), b"refused")

    # Reading, on a worker.

    def _read_all(self, files: Sequence[Found]) -> list[Reading | Refused | None]:
        return [self._read(found.name) for found in files]

    def _read(self, name: str) -> Reading | Refused | None:
        """The file, read whole; None if it is gone."""
        disk, path = self._ports.disk, self._pattern.path(name)
        expected = self._log.register(RunSpace.ARRIVALS, self._key(name))
        try:
            before = disk.stat(path)
            if before is None:
                return None
            if before.kind != "file":
                return Refused(name, REFUSALS[before.kind])
            size, digest = _digest(disk, path)
            held_still = disk.stat(path) == before and size == before.size
        except Missing:
            return None
        except ReadOnly as error:
            return Refused(name, f"cannot be read: {error}")
        except StoreError:
            return Reading(name, expected, before, None) if before else None
        return Reading(name, expected, before, digest if held_still else None)

    # Claims.

    def _is_same(self, reading: Reading) -> bool:
        """Whether the content is that of the newest arrival: no new version, only a new look."""
        if reading.expected is None or _digest_of(reading.expected) != reading.digest:
            return False
        self._same[reading.name] = (reading.expected, reading.stat.size, reading.stat.mtime_ns)
        return True

    def _arrived(self, reading: Reading) -> Arrived:
        version = 1 if reading.expected is None else _decoder.decode(reading.expected).version + 1
        return Arrived(
            trigger=self._pattern.text,
            path=self._path(reading.name),
            version=version,
            size=reading.stat.size,
            mtime_ns=reading.stat.mtime_ns,
            digest=reading.digest or b"",
            at=self._ports.clock.now(),
        )

    def _arrival_claim(self, reading: Reading, event: Arrived) -> Claim:
        key, refusal_key = self._key(reading.name), self._refusal_key(reading.name)
        value = msgspec.msgpack.encode(Recorded(event.version, event.size, event.mtime_ns, event.digest))
        entries = [Entry(RunSpace.ARRIVALS, key, value)]
        if self._log.register(RunSpace.ARRIVALS, refusal_key) is not None:
            entries.append(Entry(RunSpace.ARRIVALS, refusal_key, b""))  # what is refused from now on is news again
        return Claim(RunSpace.ARRIVALS, key, reading.expected, _batch(event, *entries))

    async def _claim(self, claims: Sequence[Claim]) -> list[Judged]:
        if not claims:
            return []
        judged = await self._log.append(claims)
        last = max((verdict.position for verdict in judged if verdict.position is not None), default=None)
        if last is not None:
            await self._log.durable(Position(last))
        return judged


def batches(files: Sequence[Found]) -> Iterator[list[Found]]:
    """The files in batches that are taken at once: a burst of small ones in few appends, a large one alone. Keeps their order."""
    batch: list[Found] = []
    size = 0
    for found in files:
        if batch and (len(batch) >= FILES_AT_ONCE or size + found.stat.size > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(found)
        size += found.stat.size
    if batch:
        yield batch


def _batch(event: Event, *entries: Entry) -> Batch:
    return Batch(encode([event]), 1, entries=entries)


def _digest_of(value: bytes | None) -> bytes | None:
    return None if value is None else _decoder.decode(value).digest


def _digest(disk: Disk, path: str) -> tuple[int, bytes]:
    """Size and SHA-256 of the file, in bounded memory. Its content is durable then: an arrival never outlives what arrived."""
    hasher, size = hashlib.sha256(), 0
    file = disk.open(path)
    try:
        file.flush()
        while chunk := file.read(CHUNK, size):
            hasher.update(chunk)
            size += len(chunk)
    finally:
        file.close()
    return size, hasher.digest()
