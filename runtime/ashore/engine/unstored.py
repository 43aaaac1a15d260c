"""Values that are handed on in memory: what `@step(store=False)` makes. On record is only that they were made, and by what.

To a run its artifact store is this one: it serves the values that were handed on as it serves blobs. A value that is not here (a
process before this one made it) is made again, when somebody needs it: the step is called once more, outside the run's record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio

from ashore.engine.fanout import Element, FanOut
from ashore.engine.invoke import Done, call_inline, run_blocking
from ashore.engine.keys import key_of
from ashore.engine.means import Means
from ashore.engine.state import DONE, fan_of
from ashore.engine.units import Unit, blobs_needed, node_of
from ashore.engine.values import Large, is_in_memory, load_blobs, name_in_memory, of_memory
from ashore.errors import StepError
from ashore.events import UNSTORED, Output, raw_digest
from ashore.graph import Node, Ref
from ashore.ids import NO_KEY, RunId, hash_id
from ashore_stores.artifacts.base import Blob, Sink
from ashore_stores.keys import Digest, Span

_WHOLE: Final = 0xFFFF_FFFF
"""The number of a value that is no element's."""


class _Again:
    """A value that is being made again."""

    def __init__(self) -> None:
        self.made = anyio.Event()
        self.error: BaseException | None = None


class Unstored:
    """The artifacts of one run, with the values that its steps hand on."""

    def __init__(self, means: Means, run: RunId, nodes: list[Node], context: Context) -> None:
        self.means: Means = replace(means, artifacts=self)
        """The means of the run, with these artifacts."""
        self.spawn: Callable[[Coroutine[Any, Any, None]], None]
        """How a task of the run is made; set once it goes."""
        self._store = means.artifacts
        self._run = run
        self._nodes = nodes
        self._context = context
        self._values: dict[bytes, Any] = {}
        self._again: dict[tuple[Node, int], _Again] = {}
        self._named: dict[bytes, Node] = {}
        """Nodes by the names of their values, up to the `_seen`-th."""
        self._seen = 0

    def __repr__(self) -> str:
        return f"<Unstored {len(self._values)} values of run {self._run}>"

    def keep(self, unit: Unit, outputs: Sequence[Output | Large]) -> tuple[Output, ...]:
        """Hand on what a step made. It is equal by its recipe; what a source made, within this run."""
        node, number = node_of(unit), unit.index if type(unit) is Element else _WHOLE
        recipe: bytes = key_of(node) if type(unit) is Node else unit.key
        if not node.has_recipe:
            recipe = hash_id(self._name(node), number.to_bytes(4, "little"))
        unit.key = NO_KEY  # it names the recipe: nobody is to look for an outcome under it
        kept: list[Output] = []
        for output in outputs:
            assert type(output) is Large
            digest = self._digest(node, number, output.place)
            self._values[digest] = output.value
            content = hash_id(b"recipe", recipe, output.place.to_bytes(2, "little"))
            kept.append(Output(digest, 0, UNSTORED, output.type, None, content))
        return tuple(kept)

    def settled(self, node: Node) -> None:
        """A node of a wired run has an outcome: what only it and others with outcomes needed is let go."""
        for argument in node.arguments:
            for source in argument.sources:
                if type(source) is Ref and not source.node.work.is_stored and source.node.body is None:
                    self._let_go(source.node)

    def _let_go(self, node: Node) -> None:
        if all([consumer.state >= DONE for consumer in (*node.consumers, *node.stages)]):
            made = fan_of(node).kept() if node.fan else (node.outputs,)
            for outputs in made:
                for output in outputs:
                    self._values.pop(output.digest, None)

    def _digest(self, node: Node, number: int, place: int) -> bytes:
        return of_memory(self._name(node) + number.to_bytes(4, "little") + place.to_bytes(2, "little"))

    def _name(self, node: Node) -> bytes:
        return hash_id(self._run.encode(), node.invocation)

    # As an artifact store.

    async def load(self, digest: Digest) -> Any:
        raw = raw_digest(digest)
        if raw not in self._values:
            node = self._maker(raw) if is_in_memory(raw) else None
            if node is None:
                return await self._store.load(digest)
            await self._made_again(node, int.from_bytes(name_in_memory(raw)[16:20], "little"))
        return self._values[raw]

    def _maker(self, digest: bytes) -> Node | None:
        for node in self._nodes[self._seen :]:
            if not node.work.is_stored:
                self._named[self._name(node)] = node
        self._seen = len(self._nodes)
        return self._named.get(name_in_memory(digest)[:16])

    async def put(self, produce: Callable[[Sink], None]) -> Blob:
        return await self._store.put(produce)

    def read(self, digest: Digest, span: Span | None = None) -> AsyncIterator[bytes]:
        return self._store.read(digest, span)

    async def size(self, digest: Digest) -> int | None:
        return await self._store.size(digest)

    def digests(self) -> AsyncIterator[Digest]:
        return self._store.digests()

    async def verify(self, digest: Digest) -> None:
        await self._store.verify(digest)

    async def aclose(self) -> None:
        self._values.clear()  # the store itself is the runtime's

    # Making again.

    async def _made_again(self, node: Node, number: int) -> None:
        again = self._again.get((node, number))
        if again is None or (again.made.is_set() and again.error is None):  # it was let go since
            again = self._again[node, number] = _Again()
            self.spawn(self._make(node, number, again))
        await again.made.wait()
        if again.error is not None:
            raise again.error

    async def _make(self, node: Node, number: int, again: _Again) -> None:
        """Call the step once more, as a task of the run: whoever waits for the value may be cancelled without harm to others."""
        try:
            unit = node if number == _WHOLE else await self._element(node, number)
            blobs = await load_blobs(self, blobs_needed(unit))
            await self.means.supplies.open(node.work)
            outputs = await call_inline(unit, blobs, self.means) if node.work.is_async else await self._in_thread(unit, blobs)
            for output in outputs:
                assert type(output) is Large
                self._values[self._digest(node, number, output.place)] = output.value
        except Exception as error:  # noqa: BLE001  # theirs: whoever needs the value fails by it
            again.error = error
            error.add_note(f"when {node.work.name} was called again: what it made is not stored, and its process has ended")
        except BaseException:
            again.error = StepError(f"{node.work.name} was cancelled when it was called again")
            raise
        finally:
            again.made.set()

    async def _element(self, node: Node, number: int) -> Element:
        """One element of a fan-out that is over."""
        fanout = FanOut(node, self._run, await load_blobs(self, blobs_needed(node)), None, 0.0)
        if fanout.taken:
            what = f"an element of {node.work.name} is needed again, and what it was made of came from an iterator, which is over"
            raise StepError(what, mend="Give each(...) a list, or take store=False out")
        for feed in fanout.feeds:
            feed.open()
        return Element(fanout, number, fanout.items(number), NO_KEY)

    async def _in_thread(self, unit: Unit, blobs: Any) -> tuple[Output | Large, ...]:
        back = anyio.Event()
        answers: list[tuple[Done | None, BaseException | None]] = []

        def take(done: Done | None, error: BaseException | None) -> None:
            answers.append((done, error))
            back.set()

        work = partial(run_blocking, unit, blobs, self.means, self._context.copy())
        self.means.threads.submit(lambda: True, work, take)
        await back.wait()
        done, error = answers[0]
        if done is None or done.error is not None:
            raise (done.error if done is not None else error) or StepError("the worker thread gave no result")
        return done.outputs
