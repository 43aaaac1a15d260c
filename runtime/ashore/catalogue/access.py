"""What everything in the catalogue goes through: questions to the index, caught up first; values from the log and the artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ashore.catalogue.projector import Freshness, Projector
from ashore.engine.state import outputs_of
from ashore.engine.values import load_blobs, load_output
from ashore.errors import InternalError
from ashore.events import ElementsRan, Event, Failure, Output, StepRan, decode, encode
from ashore.ids import InvocationId, RunId
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import Full, ReadOnly, StoreError
from ashore_stores.index.base import MetadataIndex, Rows
from ashore_stores.keys import START, Position
from ashore_stores.logs.base import Batch, EventLog
from ashore_stores.ports import Ports

_KEPT_NOTES: Final = 20


class Stored(NamedTuple):
    """A value as it is stored."""

    format: str
    """The materializer that wrote it, and its version."""
    type: str
    data: memoryview


class Access:
    """The parts of a home, as the catalogue reads them."""

    def __init__(
        self,
        log: EventLog,
        artifacts: ArtifactStore,
        index: MetadataIndex,
        ports: Ports,
        spare: Callable[[], MetadataIndex] | None = None,
    ) -> None:
        """`spare` makes an index that needs no room, for when `index` cannot be written."""
        self.log = log
        self.artifacts = artifacts
        self.index = index
        self.projector = Projector(log, index, ports.clock)
        self.freshness = Freshness(START)
        """Of the last answer, with the last notes since the beginning."""
        self.home = self.root = ""
        """Where the home is, if it is one that stands somewhere, and the project that it is of."""
        self._former: MetadataIndex | None = None
        """The index that could not be written: who is asking it goes on."""
        self._spare = spare
        self.ports = ports
        self._clock = ports.clock
        self._workers = ports.workers

    async def aclose(self) -> None:
        """Close the index."""
        await self.index.aclose()
        if self._former is not None:
            await self._former.aclose()

    async def fresh(self, upto: Position | None = None) -> Freshness:
        """Catch the index up as far as this can be had within a bounded wait."""
        freshness = await self._caught_up(upto)
        notes = tuple(dict.fromkeys((*self.freshness.notes, *freshness.notes)))[-_KEPT_NOTES:]
        self.freshness = replace(freshness, notes=notes)
        return freshness

    async def _caught_up(self, upto: Position | None) -> Freshness:
        try:
            freshness = await self.projector.catch_up(upto)
            obstacle = self.projector.obstacle
        except (Full, ReadOnly) as error:
            obstacle = error
            if self._spare is None:
                raise
        if obstacle is None or self._spare is None:
            return freshness
        return await self._by_spare(self._spare, obstacle, upto)

    async def _by_spare(self, spare: Callable[[], MetadataIndex], why: StoreError, upto: Position | None) -> Freshness:
        """What is on record stays readable where the index cannot be written: from here on the spare one is asked."""
        if self._former is None:  # nobody else did meanwhile
            self._former, self.index = self.index, spare()
            self.projector = Projector(self.log, self.index, self._clock)
        freshness = await self.projector.catch_up(upto)
        return replace(freshness, notes=(f"answered from the log, which takes longer: {why}", *freshness.notes))

    async def ask(self, name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A named question, of the index as it is."""
        return (await self.index.ask(name, params)).records()

    async def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> Rows:
        return await self.index.query(sql, params)

    def now(self) -> float:
        """Wall time, for people."""
        return self._clock.now()

    async def record(self, event: Event) -> None:
        """Put an event on record, durable."""
        await self.log.own()
        await self.log.durable(self.log.queue(Batch(encode([event]), 1)))

    # --- values ---

    async def outputs_at(self, position: int) -> tuple[Output, ...]:
        """The outputs that the event at this position states."""
        frame = await self.log.frame_at(Position(position))
        event = decode(frame.batch.body, frame.count)[position - frame.first]
        if not isinstance(event, StepRan):
            raise InternalError(f"the index says that position {position} holds outputs; the log has {type(event).__name__} there")
        return event.outputs

    async def elements_of(self, run: RunId, invocation: InvocationId) -> list[tuple[Output, ...]]:
        """The outputs of a fan-out's elements, in order; those that failed are left out."""
        found: dict[int, tuple[Output, ...]] = {}
        for event in await self.frames_of_elements(run, invocation):
            found |= {index: outputs_of(event, place) for place, index in enumerate(event.indices)}
        return [found[index] for index in sorted(found)]

    async def failed_elements_of(self, run: RunId, invocation: InvocationId) -> dict[int, Failure]:
        """What failed a fan-out's elements, by index."""
        found = {index: failure for event in await self.frames_of_elements(run, invocation) for index, failure in event.failed}
        return dict(sorted(found.items()))

    async def frames_of_elements(self, run: RunId, invocation: InvocationId) -> list[ElementsRan]:
        """What the log has of a fan-out's elements."""
        return [
            event
            for frame in await self.log.about(run.encode())
            for event in decode(frame.batch.body, frame.count)
            if isinstance(event, ElementsRan) and event.run == run and event.invocation == invocation
        ]

    async def stored(self, outputs: Sequence[Output]) -> list[Stored]:
        """Their stored forms. Raises `Missing`, `Corrupt`."""
        blobs = await load_blobs(self.artifacts, {output.digest for output in outputs if output.data is None})
        return [
            Stored(output.format, output.type, blobs[output.digest] if output.data is None else memoryview(output.data))
            for output in outputs
        ]

    async def load(self, outputs: Sequence[Output]) -> list[Any]:
        """Their values, each loaded anew. Raises `Missing`, `Corrupt`."""
        blobs = await load_blobs(self.artifacts, {output.digest for output in outputs if output.data is None})
        if not blobs:
            return [load_output(output, blobs) for output in outputs]
        return await self._workers.run(lambda: [load_output(output, blobs) for output in outputs])
