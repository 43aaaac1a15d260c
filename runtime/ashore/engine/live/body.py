"""A body: an `async def` pipeline's code while it runs, and the scope in which it makes its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ashore.calls import Bound
from ashore.engine.live.passing import Given, dumped, is_recordable, made_node
from ashore.engine.live.turnstile import CALLER, SEEN, Waiter
from ashore.engine.outcomes import Handed
from ashore.engine.pump import give_way
from ashore.engine.state import DONE
from ashore.engine.values import load_blobs, load_source, outputs_at
from ashore.errors import GraphError, RunCancelled
from ashore.events import Input, Output
from ashore.graph import Argument, Node, Ref, Source, Wiring, check_stored, identity_of, input_of
from ashore.handles import Handle
from ashore.ids import InvocationId
from ashore.signatures import Parameter
from ashore.works import Pipeline, Work
from ashore_stores.ports import Ports

if TYPE_CHECKING:
    from ashore.engine.live.bodies import Bodies

_SLICE = 64
"""Awaits of what is there already, after which the loop has a turn."""


def scope_of(node: Node) -> str:
    """The scope of a sub-run, by its invocation."""
    return f"{node.scope}/{node.work.name}:{node.invocation.hex()[:8]}".removeprefix("/")


def _add_waiter(node: Node, waiter: Waiter) -> None:
    if node.waiters is None:
        node.waiters = [waiter]
    else:
        node.waiters.append(waiter)


class Body(Wiring):
    """The scope of one body: the run's own, or that of a sub-run."""

    def __init__(self, bodies: Bodies, work: Work[Any, Any], scope: str = "", node: Node | None = None) -> None:
        """`node` is the sub-run's invocation; None for the run's own body."""
        super().__init__(bodies.graph, scope)
        self.work = work
        self.parent: Body | None = None if node is None else node.body
        self.is_over = False
        """Whether it has returned or raised."""
        self.pending = 0
        """Invocations that were asked for in it and whose outcomes have not passed yet."""
        self.finished: Any = None
        """What waits until nothing is pending."""
        self.task: Any = None
        """The task that it runs on; others are those that it started."""
        self._bodies = bodies
        self._awaits = 0
        self.given = Given(scope)
        self._handed: tuple[Input, ...] = ()
        self._is_of_its_own = False
        """Whether the call that is being made has a plain value that nobody gave to this body."""

    def called(self, bound: Bound) -> Any:
        """Take a call: it starts when the body next suspends."""
        if self.is_over:
            self._bodies.watch.too_late(self, repr(bound))
            raise GraphError(
                f"{bound!r} was called after the body of {self.work.name} had returned",
                mend="Await every task that makes calls before the pipeline returns, in a TaskGroup for instance",
            )
        self._bodies.touched(self)
        self._is_of_its_own = False
        return super().called(bound)

    async def wait(self, handle: Handle[Any]) -> Any:
        """The value of a handle of this run, or its failure."""
        node = self._ref(handle).node
        bodies = self._bodies
        if node.waiters is not SEEN:
            self._look(node)
        if node.waiters is SEEN:  # it was there already, or came without anybody's having to wait
            await self._take_turns()
        else:
            await self._until(node)
        if node.state != DONE:
            raise bodies.error_of(node)
        ref = Ref(node, handle.output)
        self.given.take(ref)
        return await self._value(ref)

    async def first(self, handles: Sequence[Handle[Any]]) -> int:
        """Which of these has an outcome first, by the order of the log. Of those that had one already, the first given."""
        nodes = [self._ref(handle).node for handle in handles]
        if not any(node.waiters is SEEN for node in nodes):
            self._look(*nodes)
        if not any(node.waiters is SEEN for node in nodes):
            await self._until(*nodes)
        return next(place for place, node in enumerate(nodes) if node.waiters is SEEN)

    def let_go(self, handle: Handle[Any]) -> None:
        """A wait that nobody waits for any more: it does not keep the run."""
        node = self._ref(handle).node
        if node.state < DONE:
            self._bodies.let_go(node)

    def state(self, name: str, make: Callable[[Ports], Any]) -> Any:
        """A value that is taken from outside once, and the same after a crash."""
        if self.is_over:
            raise GraphError(f"{name}() was called after the body of {self.work.name} had returned")
        bodies = self._bodies
        bodies.touched(self)
        invocation = bodies.counting.next(identity_of(self._scope, name.encode(), ()), f"ashore.{name}")
        return bodies.state(invocation, name, self._scope, partial(make, bodies.means.ports))

    def _look(self, *nodes: Node) -> None:
        """Let pass what may, up to the first of these: it may be there without anybody's having to wait."""
        for node in nodes:
            _add_waiter(node, CALLER)
        self._bodies.waits(self)
        for node in nodes:
            if node.waiters is not SEEN:
                node.waiters.remove(CALLER)

    async def _until(self, *nodes: Node) -> None:
        """Wait until one of these has an outcome."""
        bodies = self._bodies
        future = bodies.future()
        for node in nodes:
            _add_waiter(node, future)
        try:
            await future
        finally:
            bodies.turnstile.stir()
        if bodies.is_closed:
            raise RunCancelled(f"{nodes[0]!r} has no outcome: its run is over")

    async def _take_turns(self) -> None:
        """Let the loop have a turn now and then, though nothing has to be waited for."""
        self._bodies.turnstile.stir()
        self._awaits += 1
        if not self._awaits % _SLICE:
            await give_way()

    async def _value(self, ref: Ref) -> Any:
        bodies = self._bodies
        digests = [output.digest for output in outputs_at(ref) if output.data is None]
        if not digests:
            return load_source(ref, {})
        bodies.turnstile.hold()
        try:
            blobs = await load_blobs(bodies.means.artifacts, digests)
        finally:
            bodies.turnstile.release()
        return load_source(ref, blobs)

    def returned(self, value: Any) -> Any:
        """What it returned, with a `Ref` in the place of each handle."""
        sources: list[Source] = []
        paths: list[str] = []
        where = f"the result of {self.work.name}"
        result = self._template(value, where, sources, paths)
        check_stored(sources)
        places = [f"result{path.removeprefix(where)}" for path in paths]
        self._handed = tuple(
            [input_of(source, place) for source, place in zip(sources, places, strict=True) if type(source) is Ref]
        )
        return result

    def handed(self, returned: Any, outputs: Sequence[Output]) -> Handed:
        """What its result consists of: handles that it returned, or a value that it was given; else it made it of those."""
        origin = None if self._handed else self.given.of_result(returned, outputs)
        handed = self._handed if origin is None else (input_of(origin, "result"),)
        return Handed(handed, 0 if handed else len(self.given), self.given.scope)

    def _ref(self, handle: Handle[Any]) -> Ref:
        if self.is_over:
            raise GraphError(f"{handle!r} was used after the body of {self.work.name} had returned")
        return super()._ref(handle)

    def _occurrence(self, identity: InvocationId, bound: Bound) -> InvocationId:
        return self._bodies.occurrence(identity, bound.work, acts=bound.work.is_wait or bound.options.acts)

    def _argument(self, work: Work[Any, Any], parameter: Parameter, value: Any) -> Argument:
        argument = super()._argument(work, parameter, value)
        if argument.encoded and not argument.sources:
            argument.origin = self.given.origin(argument)
            self._is_of_its_own = self._is_of_its_own or argument.origin is None
        return argument

    def _leaf(self, value: Any, path: str, sources: list[Source], paths: list[str]) -> Any:
        """A value that events cannot hold is that of a handle that was awaited, or one that the body made: it is stored."""
        if is_recordable(value):
            return value
        output = dumped(value, path)
        ref = self.given.of_content(output.identity)
        if ref is None:
            node = made_node(len(self.nodes), self._scope, output)
            known = self.by_invocation.get(node.invocation)
            if known is None:
                self.nodes.append(node)
                self.by_invocation[node.invocation] = node
                self._bodies.made[node.invocation] = output
                node.given = len(self.given)
                self._added(node, node.invocation)
            ref = Ref(known or node, None)
        return self._found(ref, path, sources, paths)

    def _added(self, node: Node, identity: InvocationId) -> None:
        if self._is_of_its_own:
            node.given = len(self.given) if node.scope == self.given.scope else 0  # a wired sub-run's own constants are none of it
        node.body = self
        self.pending += 1
        self._bodies.asked(node, identity)

    def _sub_scope(self, work: Pipeline[Any, Any], bound: Bound) -> str:
        arguments = [self._argument(work, parameter, bound.arguments[parameter.name]) for parameter in work.parameters]
        return self._bodies.sub_scope(self._scope, work.name, arguments)

    def is_within(self, outer: Body) -> bool:
        """Whether this is `outer` or a sub-run of it, at any depth."""
        body: Body | None = self
        while body is not None and body is not outer:
            body = body.parent
        return body is outer
