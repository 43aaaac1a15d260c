"""One element of a fan-out, as the log has it: elements are no rows of the index, they are unpacked when somebody asks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from ashore.catalogue.access import Access
from ashore.catalogue.artifacts import Artifact, FileVersion
from ashore.engine.state import outputs_of
from ashore.errors import NotFound
from ashore.events import ElementsRan, Failure, Output
from ashore.ids import InvocationId, RunId
from ashore.projection.texts import told

if TYPE_CHECKING:
    from ashore.catalogue.invocations import Invocation

T_co = TypeVar("T_co", covariant=True)

Origin: TypeAlias = "Element[Any] | Artifact[Any] | FileVersion"

_PLACE: Final = re.compile(r"(.*)\[(\d+)\]$")


class Element(Generic[T_co]):
    """One element of a fan-out. `await element.load()` gives what it gave, `await element.inputs()` what it was made of."""

    def __init__(self, access: Access, invocation: Invocation[Any], place: int, event: ElementsRan) -> None:
        self._access = access
        self._event = event
        self.invocation = invocation
        self.place = place
        """Which of what was gone over it is, from 0."""
        self.cached_from: str | None = dict(event.reused).get(place)
        """The run whose outputs it reuses."""
        failure: Failure | None = dict(event.failed).get(place)
        self.error: str | None = None if failure is None else told(failure)[0]
        self.state = "failed" if failure is not None else "cached" if self.cached_from else "done"

    def __repr__(self) -> str:
        return f"<Element {self.place} of {self.invocation.step} in run {self.invocation.run[:8]}: {self.state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and (self.invocation.no, self.place) == (other.invocation.no, other.place)

    def __hash__(self) -> int:
        return hash((self.invocation.no, self.place))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Its outputs, as they are stored; none if it failed."""
        if self.error is not None:
            return ()
        return outputs_of(self._event, self._event.indices.index(self.place))

    async def load(self) -> T_co:
        """What it gave: of several outputs the tuple. Raises `NotFound` if it failed."""
        outputs = self.outputs
        if not outputs:
            raise NotFound(f"element {self.place} of {self.invocation.step} has no output: it failed, {self.error}")
        values = await self._access.load(outputs)
        return cast("T_co", tuple(values) if len(values) > 1 else values[0])

    async def inputs(self) -> dict[str, Origin]:
        """What it was made of, by argument: elements of earlier stages, artifacts that all elements share, files."""
        found: dict[str, Origin] = {}
        for argument, taken in self.invocation.inputs.items():
            match = _PLACE.match(argument)
            name = match[1] if match else argument
            source = self.invocation.gone_over.get(argument)
            if match and (source is not None or isinstance(taken, FileVersion)):
                if int(match[2]) == self._part(name):
                    found[name] = taken
            elif source is not None and source.elements is not None:
                found[name] = await element_of(self._access, source, self._part(name))
            else:
                found[argument] = taken
        return found

    async def ancestors(self) -> list[Origin]:
        """Everything that it came from, to any depth, element by element, the nearest first."""
        found: dict[Origin, None] = {}
        pending: list[Origin] = list((await self.inputs()).values())
        while pending:
            one = pending.pop(0)
            if one in found:
                continue
            found[one] = None
            pending += (await one.inputs()).values() if isinstance(one, Element) else await one.ancestors(self.invocation.run)
        return list(found)

    def _part(self, name: str) -> int:
        """Which element of this argument it has: in a product that is not its own place."""
        places = dict(self._event.places).get(name)
        return self.place if places is None else places[self._event.indices.index(self.place)]


async def element_of(access: Access, invocation: Invocation[Any], place: int) -> Element[Any]:
    """The element at this place. Raises `NotFound` if there is none, or none yet."""
    identity = InvocationId(bytes.fromhex(invocation.id))
    for event in await access.frames_of_elements(RunId(invocation.run), identity):
        if place in event.indices or place in dict(event.failed):
            return Element(access, invocation, place, event)
    count = invocation.elements.count if invocation.elements is not None else None
    what = f"{invocation.step} of run {invocation.run[:8]} has no element {place} with an outcome"
    raise NotFound(what, mend="" if count is None else f"It has {count}, from 0 on; those that failed before it are left out")
