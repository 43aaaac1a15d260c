"""Values that are handed on in memory: what `@step(store=False)` makes. On record is only that they were made, and by what.

To a run its artifact store is this one: it serves the values that were handed on as it serves blobs. A value that is not here (a
process before this one made it) is made again, when somebody needs it: the step is called once more, outside the run's record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from ashore.engine.invoke import Done, call_inline, run_blocking
from ashore.engine.keys import key_of
from ashore.engine.means import Means
from ashore.engine.state import DONE
from ashore.engine.values import Large, blobs_of, load_blobs, of_memory
from ashore.errors import StepError
from ashore.events import UNSTORED, Output, raw_digest
from ashore.graph import Node, Ref
from ashore.ids import RunId, hash_id
from ashore_stores.artifacts.base import Blob, Sink
from ashore_stores.keys import Digest, Span


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
        self._again: dict[bytes, _Again] = {}

    def __repr__(self) -> str:
        return f"<Unstored {len(self._values)} values of run {self._run}>"

    def keep(self, node: Node, large: Large) -> Output:
        """Hand on one output of a step: its name, and what it is equal by, are its recipe; that of a source holds for this run."""
        digest = self._digest(node, large.place)
        self._values[digest] = large.value
        recipe = key_of(node) if node.has_recipe else self._run.encode() + node.invocation
        return Output(digest, 0, UNSTORED, large.type, None, hash_id(b"recipe", recipe, large.place.to_bytes(2, "little")))

    def settled(self, node: Node) -> None:
        """A node of a wired run has an outcome: what only it and others with outcomes needed is let go."""
        for argument in node.arguments:
            for source in argument.sources:
                if type(source) is Ref and not source.node.work.is_stored and source.node.body is None:
                    self._let_go(source.node)

    def _let_go(self, node: Node) -> None:
        if all([consumer.state >= DONE for consumer in node.consumers]):
            for place in range(len(node.outputs)):
                self._values.pop(self._digest(node, place), None)

    def _digest(self, node: Node, place: int) -> bytes:
        return of_memory(hash_id(self._run.encode(), node.invocation) + place.to_bytes(2, "little"))

    # As an artifact store.

    async def load(self, digest: Digest) -> Any:
        raw = raw_digest(digest)
        if raw not in self._values:
            node = next((node for node in self._nodes if any([output.digest == raw for output in node.outputs])), None)
            if node is None or node.work.is_stored:
                return await self._store.load(digest)
            await self._made_again(node)
        return self._values[raw]

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

    async def _made_again(self, node: Node) -> None:
        again = self._again.get(node.invocation)
        if again is None or (again.made.is_set() and again.error is None):  # it was let go since
            again = self._again[node.invocation] = _Again()
            self.spawn(self._make(node, again))
        await again.made.wait()
        if again.error is not None:
            raise again.error

    async def _make(self, node: Node, again: _Again) -> None:
        """Call the step once more, as a task of the run: whoever waits for the value may be cancelled without harm to others."""
        try:
            blobs = await load_blobs(self, blobs_of(node.arguments))
            await self.means.supplies.open(node.work)
            outputs = await call_inline(node, blobs, self.means) if node.work.is_async else await self._in_thread(node, blobs)
            for output in outputs:
                assert type(output) is Large
                self._values[self._digest(node, output.place)] = output.value
        except Exception as error:  # noqa: BLE001  # theirs: whoever needs the value fails by it
            again.error = error
            error.add_note(f"when {node.work.name} was called again: what it made is not stored, and its process has ended")
        except BaseException:
            again.error = StepError(f"{node.work.name} was cancelled when it was called again")
            raise
        finally:
            again.made.set()

    async def _in_thread(self, node: Node, blobs: Any) -> tuple[Output | Large, ...]:
        back = anyio.Event()
        answers: list[tuple[Done | None, BaseException | None]] = []

        def take(done: Done | None, error: BaseException | None) -> None:
            answers.append((done, error))
            back.set()

        work = partial(run_blocking, node, blobs, self.means, self._context.copy())
        self.means.threads.submit(lambda: True, work, take)
        await back.wait()
        done, error = answers[0]
        if done is None or done.error is not None:
            raise (done.error if done is not None else error) or StepError("the worker thread gave no result")
        return done.outputs
