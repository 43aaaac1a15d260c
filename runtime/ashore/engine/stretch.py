"""Quick elements of a fan-out, several on one await: what the pump does for one step costs more than such an element.

Quick is what is awaited with what is at hand: an `async def` step that asks for nothing around its call, on elements without files
or blobs. As soon as one suspends, or leaves its task in another state than it found it in, the stretch is over: that element ends
it alone, as a step on a pump does, and the others go on elsewhere.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol, cast

from ashore.engine.fanout import Element
from ashore.engine.invoke import gives_files, kept
from ashore.engine.looking import holds_new_files
from ashore.engine.means import Means
from ashore.engine.pump import Pumps
from ashore.engine.state import RUNNING
from ashore.engine.values import CONSTANT, Blobs, Large, load_item, plain_output
from ashore.ids import NO_KEY
from ashore.places import here

if TYPE_CHECKING:
    from typing import Any

    from ashore.engine.fanout import FanOut
    from ashore.engine.feeds import Listed
    from ashore.engine.outcomes import Outcomes
    from ashore.events import Output

STRETCH = 32
"""Elements after which the pump has its say."""
_NO_BLOBS: Blobs = {}


class Host(Protocol):
    """The run."""

    means: Means
    outcomes: Outcomes
    is_left: bool

    async def stored(self, unit: Element, outputs: tuple[Output | Large, ...]) -> tuple[Output, ...]: ...

    def is_at_hand(self, element: Element) -> bool:
        """Whether an element can be called at once; if not, it was settled or goes its own way."""
        ...

    def failed_or_ended(self, unit: Element, error: BaseException, started: float, ended: float | None = None) -> None: ...


async def stretch(host: Host, pumps: Pumps[Any], fanout: FanOut, first: Element) -> None:
    """Run elements from `first` on, until the pump is to have its say. What each comes to is recorded; raises nothing."""
    turn, base = pumps.turn, copy_context()
    element: Element | None = first
    left = pumps.weight = STRETCH
    while element is not None:
        left -= 1
        if host.is_at_hand(element):
            await _one(host, fanout, element)
        if not left or pumps.is_spent(turn, base):
            return
        if fanout.plain is not None:
            await _plain(host, pumps, fanout, fanout.plain)
            return
        element = fanout.next()


async def _one(host: Host, fanout: FanOut, element: Element) -> None:
    work, place = fanout.node.work, here.get()
    if place is not None:
        place.unit = element
    try:
        result = await work.fn(**fanout.arguments(element, _NO_BLOBS))
        stored = await _stored(host, element, result)
    except BaseException as error:  # noqa: BLE001  # a step can never hurt the engine: whatever it raises is a failed attempt
        host.failed_or_ended(element, error, host.means.ports.clock.now())
    else:
        if not host.is_left:
            host.outcomes.made(element, stored)


async def _plain(host: Host, pumps: Pumps[Any], fanout: FanOut, feed: Listed) -> None:
    """The same for plain values of a list that have no cache keys: without an object for each."""
    turn, base, left = pumps.turn, copy_context(), STRETCH
    pumps.weight = STRETCH
    work, name, parts, constants = fanout.node.work, feed.name, feed.parts, fanout.constants or {}
    fn, returns, settle = work.fn, work.returns, host.outcomes.fanouts.settle_plain
    place, unit = here.get(), Element(fanout, -1, (), NO_KEY)
    if place is not None:
        place.unit = unit
    while left and fanout.node.state == RUNNING and (index := fanout.next_index()) is not None:
        left -= 1
        unit.index, part = index, parts[index]
        try:
            if type(part) not in CONSTANT:
                part = load_item(feed.item(index), _NO_BLOBS)
            result = await fn(**{**constants, name: part})
            output = plain_output(result) if type(result) is returns else None
            stored = (output,) if output is not None else await _stored(host, fanout.element(index), result)
        except BaseException as error:  # noqa: BLE001  # as above
            host.failed_or_ended(fanout.element(index), error, host.means.ports.clock.now())
        else:
            if not host.is_left:
                settle(fanout, index, stored)
        if pumps.is_spent(turn, base):
            return


async def _stored(host: Host, element: Element, result: Any) -> tuple[Output, ...]:
    work = element.node.work
    if gives_files(work) and holds_new_files(result):
        result = await host.means.ports.workers.run(host.means.looker.settle, result)
    outputs = kept(work, result, host.means.supplies.hiding)
    if len(outputs) != 1 or type(outputs[0]) is Large:
        return await host.stored(element, outputs)
    return cast("tuple[Output, ...]", outputs)
