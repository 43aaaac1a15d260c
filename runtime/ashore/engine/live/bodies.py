"""The bodies of one run: what they have asked for, what they have seen, and how they end."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ashore.calls import current_scope
from ashore.codec import decode, encode
from ashore.engine.failures import as_exception, error_of, exception_of
from ashore.engine.journal import Journal
from ashore.engine.live.body import Body, scope_of
from ashore.engine.live.counting import Counting
from ashore.engine.live.endings import Broken, kept, outputs_of_body, stored, what_broke
from ashore.engine.live.missing import Missing
from ashore.engine.live.parking import PATIENCE, Parking
from ashore.engine.live.record import Record
from ashore.engine.live.turnstile import SEEN, Turnstile, wake
from ashore.engine.live.watching import Watch
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.pump import Pumps, TimerHandle, current_task, is_cancelled_from_outside
from ashore.engine.state import DONE, FAILED, READY, RUNNING, SKIPPED, Machine
from ashore.errors import RunCancelled, RunFailed
from ashore.events import Awaited, Call, Failure, Held, Invoked, Output, StepRan, StepSkipped
from ashore.graph import Argument, Graph, Node, call_of, identity_of, occurrence_of
from ashore.ids import NO_KEY, CodeId, InvocationId, RunId
from ashore.materialize import VALUE_FORMAT
from ashore.notices import log
from ashore.works import Work

_ORPHANS = "recorded calls are orphans: the code does not ask for them any more"
_SOON = 0.001
"""Seconds after which a call begins at the latest, if its body waits for something that is not ours."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a run that its bodies work with."""

    means: Means
    run: RunId
    graph: Graph
    machine: Machine
    journal: Journal
    outcomes: Outcomes
    context: Context
    over: Callable[[], None]
    """The run is over: what still runs is to be ended."""
    cancel: Callable[[], None]
    hold: Callable[[Held], None]
    introduce: Callable[[Work[Any, Any]], Awaitable[CodeId]]
    """State what a step is; gives its code's id."""


class Bodies:
    """All bodies of one run, and what they share."""

    turnstile: Turnstile
    watch: Watch
    is_closed = False
    """Whether the run is over."""

    def __init__(self, parts: Parts) -> None:
        self.graph = parts.graph
        self.means = parts.means
        self.record = Record()
        self._root: Body | None = None
        self.result: Any = None
        """What the run's own body returned, as a template."""
        self._raised: Exception | None = None
        """What the run's own body raised."""
        self._parts = parts
        self.made: dict[InvocationId, Output] = {}
        """Values that bodies made and that are not stored yet."""
        self._pumps: Pumps[Any]
        self._root_task: Any = None
        self._new: list[Node] = []
        self._is_called = False
        self._timer: TimerHandle | None = None
        self._is_introducing = False
        self._codes: dict[Work[Any, Any], CodeId] = {}
        self._refused: dict[Work[Any, Any], Exception] = {}
        self._latest: dict[InvocationId, Node] = {}
        self.counting = Counting()
        self._parking = Parking(parts.run)
        self._resting: TimerHandle | None = None
        self._counts: dict[InvocationId, int] = {}
        self._scopes: dict[bytes, int] = {}
        self._done: list[str] = []
        self._handled: set[InvocationId] = set()
        self._errors: dict[InvocationId, Exception] = {}
        parts.machine.keep_order()

    # The run's own body.

    def open(self, pumps: Pumps[Any]) -> None:
        """The run has its tasks from now on."""
        self._pumps = pumps
        pumps.stays = True
        self.future = pumps.future
        self._missing = Missing(self._parts.run, self.record, pumps.later, lambda: self.turnstile.turn())
        self.turnstile = Turnstile(self._parts.machine.keep_order(), pumps, self._passed, self._missing.holds)
        self.watch = Watch(self._parts.run, pumps.loop, self.means.ports.clock.monotonic)

    def close(self) -> None:
        """Nothing more begins."""
        self._missing.close()
        for timer in (self._timer, self._resting):
            if timer is not None:
                timer.cancel()
        self.is_closed = True
        if self.watch.left():
            for node in self.graph.nodes:
                if type(node.waiters) is list:  # nobody waits for ever
                    wake(node.waiters)

    def begin(self) -> None:
        """Call the run's own body, if it has one."""
        bound = self.graph.body
        if bound is not None:
            self._parts.machine.body_began()
            self._root = Body(self, bound.work)
            self._root.task = self._root_task = self._spawn(self._root, self._run_root(self._root, bound.arguments))

    async def _run_root(self, body: Body, arguments: Mapping[str, Any]) -> None:
        try:
            self.result = body.returned(await self.watch.driven(body, arguments))
            self.result = await kept(body.work, self.result, self.means)
        except BaseException as error:  # noqa: BLE001  # whatever the user's body raises fails the run
            self._raised = self._taken(error, body)
        finally:
            body.is_over = True
        self.admit()
        self._parts.machine.body_ended()
        if self._raised is not None or self._parts.machine.is_settled:
            self._parts.over()

    def _spawn(self, body: Body, work: Any) -> Any:
        context = self._parts.context.copy()
        context.run(current_scope.set, body)
        return self._pumps.spawn(work, context)

    # What bodies ask for.

    def touched(self, body: Body) -> None:
        """A body makes a call."""
        turnstile = self.turnstile
        if not turnstile.is_solo or current_task() is not self._root_task:
            self.watch.note(body)
            turnstile.is_solo = False
        turnstile.stir()

    def waits(self, body: Body) -> None:
        """The running task is about to wait for an outcome."""
        turnstile = self.turnstile
        if turnstile.is_solo and current_task() is self._root_task:
            self.admit(here=True)
            turnstile.rest()
        else:
            self.watch.note(body)
            turnstile.is_solo = False
            turnstile.stir()
            self.admit()

    def occurrence(self, identity: InvocationId, work: Work[Any, Any], *, acts: bool) -> InvocationId:
        """Which invocation a call is. Equal calls of a step are one, but after a failure, and for a source after it was seen.

        Those that act on the world or on time are counted. Raises `AmbiguousCall`.
        """
        if acts:
            return self.counting.next(identity, work.name)
        latest = self._latest.get(identity)
        if latest is None or not self._is_new(latest):
            return identity if latest is None else latest.invocation
        number = self._counts[identity] = self._counts.get(identity, 0) + 1
        return occurrence_of(identity, number)

    def _is_new(self, latest: Node) -> bool:
        if latest.is_body:
            return True
        return latest.waiters is SEEN and (latest.state != DONE or not latest.is_reusable)

    def sub_scope(self, outer: str, name: str, arguments: Sequence[Argument]) -> str:
        """The scope of a wired sub-run: named by what it was called with."""
        identity = identity_of(outer, name.encode(), arguments)
        number = self._scopes[identity] = self._scopes.get(identity, 0) + 1
        return f"{name}:{identity.hex()[:8]}" if number == 1 else f"{name}:{identity.hex()[:8]}#{number}"

    def asked(self, node: Node, identity: InvocationId) -> None:
        """A new invocation: what is on record of it is final, the rest runs when the body next suspends."""
        self._latest[identity] = node
        machine = self._parts.machine
        recorded = None if self.record.is_empty else self.record.take(node.invocation, is_body=node.is_body)
        if recorded is not None and machine.recall(node, recorded.events):
            self.turnstile.recorded(recorded.place, node)
            node.asked = recorded.at
            if node.is_body:
                self._is_done(node)
            self._unpark_soon()
            return
        if recorded is not None:
            self._unpark_soon()
        self._new.append(node)
        if self.turnstile.is_solo:
            if self._timer is None:
                self._timer = self._pumps.later(_SOON, self._in_time)
        elif not self._is_called:
            self._is_called = True
            self._pumps.soon(self._next_turn)

    def _in_time(self) -> None:
        self._timer = None
        self.admit()

    def _next_turn(self) -> None:
        self._is_called = False
        self.admit()

    def admit(self, *, here: bool = False) -> None:
        """Let what was asked for begin; `here` and now, if the running task is about to wait."""
        if not self._new or self._is_introducing:
            return
        new, self._new = self._new, []
        for place, node in enumerate(new):
            code = self._codes.get(node.work)
            if code is None:
                self._introduce(node.work, new[place:])
                new = new[:place]
                break
            node.code = code
        self._admit([node for node in new if not self._is_parked(node)])
        if not (here and self.watch.worked(self._pumps.work_here)):
            self._pumps.wake()
        self.turnstile.turn()

    def _is_parked(self, node: Node) -> bool:
        if not self._parking.takes(node, self.record):
            return False
        self._parts.machine.body_began()  # the run is not over while it waits
        self.turnstile.rested = self._is_resting
        return True

    def _unpark(self) -> None:
        """What was on record was asked for: calls that waited for that may go on."""
        free = self._parking.leave(self.record)
        self._admit(free)
        for _ in free:
            self._parts.machine.body_ended()
        if free:
            self._pumps.wake()

    def _unpark_soon(self) -> None:
        if self._parking.nodes:
            self._pumps.soon(self._unpark)

    def _is_resting(self) -> None:
        """The bodies are at rest. If nothing runs, either, and that for a while, people have to say what is meant."""
        if self._parking.nodes and self._resting is None and not self._is_busy():
            self._resting = self._pumps.later(PATIENCE, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._parking.nodes and self.turnstile.is_at_rest and not self._is_busy():
            for held in self._parking.held(self.record, self._name(), self.means.ports.clock.now()):
                self._parts.hold(held)

    def _is_busy(self) -> bool:
        parked = {id(node) for node in self._parking.nodes}
        return any(node.state in (READY, RUNNING) and not node.is_body and id(node) not in parked for node in self.graph.nodes)

    def _name(self) -> str:
        return self.graph.body.work.name if self.graph.body is not None else "the pipeline"

    def _admit(self, nodes: list[Node]) -> None:
        parts = self._parts
        new = nodes if self.record.is_empty else [node for node in nodes if not self.record.has_call(node.invocation)]
        if new:
            awaited: tuple[Awaited, ...] = ()
            for node in new:
                if node.given:
                    awaited += node.body.given.untold()
            parts.journal.record(Invoked(parts.run, tuple([call_of(node) for node in new]), awaited))
        now = self.means.ports.clock.now()
        for node in nodes:
            node.asked = now
            for skipped in parts.machine.admit(node):
                parts.journal.record(StepSkipped(parts.run, skipped.invocation, skipped.because))
            if self._refused and node.work in self._refused:
                parts.outcomes.broke(node, self._refused[node.work], now)

    def _introduce(self, work: Work[Any, Any], waiting: list[Node]) -> None:
        """The first call of a step waits, with all after it, until its code is known."""
        self._new = waiting
        self._is_introducing = True
        self._parts.machine.body_began()
        self._pumps.spawn(self._introduced(work))

    async def _introduced(self, work: Work[Any, Any]) -> None:
        try:
            self._codes[work] = await self._parts.introduce(work)
        except Exception as error:  # noqa: BLE001  # what stands in the way of a step fails its calls
            self._codes[work] = CodeId(b"")
            self._refused[work] = error
        self._is_introducing = False
        self.admit()
        self._parts.machine.body_ended()
        if self._parts.machine.is_settled:
            self._parts.over()

    def state(self, invocation: InvocationId, name: str, scope: str, make: Callable[[], Any]) -> Any:
        """A value that a body takes from outside, as it was when it was first taken."""
        recorded = self.record.take(invocation, is_body=False)
        if recorded is not None and isinstance(recorded.events[-1], StepRan):
            return decode(recorded.events[-1].outputs[0].data or b"")
        parts, now = self._parts, self.means.ports.clock.now()
        value = make()
        data = encode(value)
        output = Output(hashlib.sha256(data).digest(), len(data), VALUE_FORMAT, type(value).__name__, data)
        parts.journal.record(Invoked(parts.run, (Call(invocation, name, CodeId(b""), scope),)))
        parts.journal.record(StepRan(parts.run, invocation, NO_KEY, (output,), now, now, now))
        return value

    async def _keep(self, node: Node) -> None:
        """Store a value that a body made."""
        output, now = self.made.pop(node.invocation), self.means.ports.clock.now
        started = now()
        try:
            kept = await stored(output, self.means)
        except Exception as error:  # noqa: BLE001  # a disk that is full, ...: the calls that need it cannot run
            self._parts.outcomes.broke(node, error, started)
        else:
            self._parts.outcomes.ran(node, (kept,), started, now())

    def let_go(self, node: Node) -> None:
        """Nobody waits any more for this one, which has not happened."""
        self.admit()
        if node in self._new:  # it has not even begun
            self._new.remove(node)
            node.state, node.waiters = SKIPPED, SEEN
            self._passed(node)
            return
        for skipped in self._parts.machine.skipped(node, (), was_running=True):
            self._parts.journal.record(StepSkipped(self._parts.run, skipped.invocation, (), True))

    # What they see.

    def _passed(self, node: Node) -> None:
        body = node.body
        if body is not None:
            body.pending -= 1
            if not body.pending and body.finished is not None and not body.finished.done():
                body.finished.set_result(None)

    def error_of(self, node: Node) -> Exception:
        """What a waiter for this invocation is given; its failure counts as handled, unless the body fails of it."""
        roots = self._roots(node)
        self._handled.update(roots)
        if node.is_body:
            error = self._errors.get(node.invocation)
            if error is None:
                error = self._errors[node.invocation] = self._run_failed(node, [self.error(root) for root in roots])
            return error
        if not roots:
            return RunCancelled(f"{node!r} was cancelled with its run", run=self._parts.run)
        return self.error(roots[0])

    def _roots(self, node: Node) -> list[InvocationId]:
        if node.state == FAILED:
            return [node.invocation]
        return list(node.because)

    def error(self, invocation: InvocationId) -> Exception:
        """The exception of a failed invocation: as it was raised here, or as it is on record."""
        errors = self._parts.outcomes.errors
        error = errors.get(invocation)
        if error is None:
            node = self.graph.by_invocation.get(invocation)
            if node is None or node.failure is None:
                error = exception_of(self.record.failure(invocation) or Failure((), "no failure is on record", ""))
            else:
                error = error_of(node)
            errors[invocation] = error
        return error

    # Sub-runs.

    async def run(self, node: Node) -> None:
        """Settle an invocation that is no step: a sub-run, or a value that a body made."""
        await (self._run_sub(node) if node.is_body else self._keep(node))

    async def _run_sub(self, node: Node) -> None:
        """Run the body of a sub-run to its end, and settle its invocation."""
        bound = self.graph.bodies[node.invocation]
        body = Body(self, node.work, scope_of(node), node)
        started = self.means.ports.clock.now()
        current_scope.set(body)
        body.task = current_task()
        error: Exception | None = None
        returned: Any = None
        try:
            returned = body.returned(await self.watch.driven(body, bound.arguments))
        except BaseException as raised:  # noqa: BLE001  # whatever the user's body raises fails the sub-run
            error = self._taken(raised, body)
        finally:
            body.is_over = True
        self.admit()
        if body.pending:
            body.finished = self.future()
            await body.finished
        broken = self._broken(error, body)
        outcomes = self._parts.outcomes
        if broken.own:
            self._handled.update(broken.roots)
            self._errors[node.invocation] = self._run_failed(node, (*map(self.error, broken.roots), *broken.own))
            outcomes.broke(node, broken.own[0] if len(broken.own) == 1 else self._errors[node.invocation], started)
        elif broken.roots:
            self._handled.difference_update(broken.roots)
            outcomes.gave_up(node, broken.roots, is_recorded=self.record.has_outcome(node.invocation))
        else:
            await self._value_of(node, returned, started, body)

    async def _value_of(self, node: Node, returned: Any, started: float, body: Body) -> None:
        outcomes = self._parts.outcomes
        try:
            outputs = await outputs_of_body(node.work, returned, self.means)
        except Exception as error:  # noqa: BLE001  # what cannot be stored fails the sub-run
            outcomes.broke(node, error, started)
        else:
            handed = body.handed(returned, outputs)
            if handed.given and (untold := body.given.untold()):
                self._parts.journal.record(Invoked(self._parts.run, (), untold))
            outcomes.ran(node, outputs, started, self.means.ports.clock.now(), handed)

    def _run_failed(self, node: Node, errors: Sequence[Exception]) -> RunFailed:
        return RunFailed(f"the sub-run {node.work.name} failed", errors, self._parts.run)

    # Ends.

    def recall(self, record: Record) -> None:
        """What is on record; the part of invocations that a wired graph has is theirs already."""
        self.record = record
        for node in self.graph.nodes:
            if record.take(node.invocation, is_body=node.is_body) is not None and node.is_body and node.state >= DONE:
                self._is_done(node)

    def _is_done(self, node: Node) -> None:
        """A sub-run has its outcome on record: its body does not run again."""
        self._done.append(scope_of(node))
        self.record.is_done(scope_of(node))

    def orphans(self) -> tuple[InvocationId, ...]:
        """What is on record and was not asked for in this life, now that the bodies have ended by themselves. It is told."""
        calls = self.record.orphans(self._done)
        if calls:
            steps = sorted({call.step for call in calls})
            log.warning(_ORPHANS, pipeline=self._name(), run=self._parts.run, count=len(calls), steps=steps)
        return tuple([call.invocation for call in calls])

    def broken(self) -> Broken:
        """What fails the run, now that everything is settled or its body has raised."""
        return self._broken(self._raised, self._root)

    def _broken(self, error: Exception | None, body: Body | None) -> Broken:
        unhandled = [
            node.invocation
            for node in self._parts.machine.failures
            if node.invocation not in self._handled and (body is None or (node.body is not None and node.body.is_within(body)))
        ]
        return what_broke(error, self._parts.outcomes.errors, unhandled)

    def _taken(self, error: BaseException, body: Body) -> Exception:
        """What a body raised, as its failure. Raises the cancellation of the whole run."""
        if self._pumps.stopping and is_cancelled_from_outside():
            raise error
        if isinstance(error, KeyboardInterrupt):
            self._parts.cancel()
        return as_exception(error, f"the body of {body.work.name}")
