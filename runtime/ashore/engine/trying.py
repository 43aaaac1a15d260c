"""Attempts of steps that ask for something around their call: made in time, within limits, again after a failure.

Each attempt has a task of its own, from when it is let in until it has an outcome; between two attempts a task sleeps, and holds
nothing. What is decided is decided elsewhere, and pure: `retrying`, `limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import anyio

from ashore.attempts import Trials
from ashore.durations import duration_text, seconds_of
from ashore.engine.away import Away
from ashore.engine.effects import element_of, held, key_of, verdict_on
from ashore.engine.fanout import Element
from ashore.engine.invoke import Done as Back
from ashore.engine.invoke import arguments_for, call_inline, kept
from ashore.engine.limits import Wish, limit_key
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.retrying import next_wait
from ashore.engine.units import Unit, blobs_needed, node_of
from ashore.engine.values import Blobs, Large, load_blobs
from ashore.errors import AshoreError, StepError, StepLost, StepTimeout, WorkerLeft
from ashore.events import Held, Output
from ashore.graph import Node
from ashore.ids import RunId
from ashore.places import Place, here
from ashore.policies import Done, Policy
from ashore_stores.logs.base import Ticket

_CHANCE: Final = 1 << 32
_NO_BLOBS: Blobs = {}


class Host(Protocol):
    """What attempts need of the run that they belong to."""

    means: Means
    run: RunId
    outcomes: Outcomes
    away: Away
    is_left: bool

    @property
    def last(self) -> Ticket | None: ...

    def spawn(self, work: Coroutine[Any, Any, None], *, kept: bool = False) -> None: ...

    def is_over_for(self, unit: Unit) -> bool: ...

    def is_ended_with(self, error: BaseException) -> bool: ...

    def failed(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None: ...

    async def stored(self, unit: Unit, outputs: tuple[Output | Large, ...]) -> tuple[Output, ...]: ...

    def hold(self, held: Held) -> None: ...

    @property
    def is_cancelled(self) -> bool: ...

    def hand_on(self) -> None: ...

    def put_on_record(self) -> None: ...

    def idle(self) -> None: ...


class Attempts:
    """The attempts of one run that are made under a policy."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._means = host.means
        self._now = host.means.ports.clock.now
        self._wishes: set[Wish] = set()

    def close(self) -> None:
        """Nothing more begins: leave the queues."""
        while self._wishes:
            self._means.gate.leave(self._wishes.pop())

    def begin(self, unit: Unit) -> None:
        """Have the next attempt made as soon as it may begin. Never waits."""
        trials = trials_of(unit)
        if trials.is_open and trials.policy.effects:  # by an earlier process, and nothing is on record of what came of it
            self._host.spawn(self._find_out(unit, trials))
            return
        trials.is_open = False
        wait = trials.due - self._now()
        if wait > 0 and trials.policy.retry is not None:  # an earlier process waited already; its clock may have been another
            self._host.spawn(self._later(unit, min(wait, seconds_of(trials.policy.retry.cap))))
        elif callable_key(trials.policy) and blobs_needed(unit):
            self._host.spawn(self._ask_loaded(unit))
        else:
            self._ask(unit, _NO_BLOBS)

    # Being let in.

    async def _later(self, unit: Unit, wait: float) -> None:
        await self._means.ports.clock.sleep(wait)
        if callable_key(trials_of(unit).policy) and blobs_needed(unit):
            await self._ask_loaded(unit)
        else:
            self._ask(unit, _NO_BLOBS)

    async def _ask_loaded(self, unit: Unit) -> None:
        """The key of its limit is made from arguments that have to be loaded."""
        started = self._now()
        try:
            blobs = await load_blobs(self._means.artifacts, blobs_needed(unit))
        except BaseException as error:  # noqa: BLE001  # whatever stands in the way of a call is that call's failure
            if not self._host.is_ended_with(error):
                self._host.failed(unit, error, started)
        else:
            self._ask(unit, blobs)

    def _ask(self, unit: Unit, blobs: Blobs) -> None:
        policy = trials_of(unit).policy
        if not policy.is_admitted:
            self._host.spawn(self._attempt(unit, None), kept=policy.effects)
            return
        try:
            work = node_of(unit).work
            self._means.gate.capacity.refuse(work.name, policy, f"{work.file}:{work.line}")
            place = (work.module, work.name, limit_key(policy, arguments_for(unit, blobs) if callable_key(policy) else {}))
        except Exception as error:  # noqa: BLE001  # a callback of the user's, or more than there is: this attempt's failure
            self._host.failed(unit, error, self._now())
            self._host.idle()
            return
        wish = Wish(policy, place, lambda: self._granted(unit, wish))
        self._wishes.add(wish)
        self._means.gate.ask(wish)

    def _granted(self, unit: Unit, wish: Wish) -> None:
        if self._host.is_over_for(unit):
            self._leave(wish)
        else:
            self._host.spawn(self._attempt(unit, wish), kept=wish.policy.effects)

    def _leave(self, wish: Wish | None) -> None:
        if wish is not None:
            self._wishes.discard(wish)
            self._means.gate.leave(wish)

    # One attempt.

    async def _attempt(self, unit: Unit, wish: Wish | None) -> None:
        """One attempt, from its start on record to its outcome or the wait before the next one."""
        trials, started = trials_of(unit), self._now()
        trials.gpus = wish.gpus if wish is not None else ()
        try:
            if self._host.is_over_for(unit):
                return
            place = self._place()
            place.unit, place.gpus = unit, () if wish is None else wish.gpus
            await self._start(unit, trials, started)
            outputs = await self._made(unit, trials)
            stored = await self._stored(unit, trials, outputs)
        except BaseException as error:  # noqa: BLE001  # a step can never hurt the engine: whatever it raises is a failed attempt
            if not self._host.is_ended_with(error) and not isinstance(error, WorkerLeft):
                await self._broke(unit, trials, error, started)
        else:
            trials.is_open = False
            if not self._host.is_left:
                self._host.outcomes.ran(unit, stored, started, self._now())
        finally:
            self._leave(wish)
        self._on_record(trials.policy)

    async def _start(self, unit: Unit, trials: Trials, started: float) -> None:
        """State that it begins; what acts on the world does so only once that is durable."""
        number = trials.begun + 1
        trials.began(number, started)
        if type(unit) is Node:
            unit.attempt = number
        self._host.outcomes.tried(unit, number, started)
        self._host.hand_on()
        if trials.policy.effects and self._host.last is not None:
            await self._means.log.durable(self._host.last)

    async def _stored(self, unit: Unit, trials: Trials, outputs: tuple[Output | Large, ...]) -> tuple[Output, ...]:
        try:
            return await self._host.stored(unit, outputs)
        except Exception as error:
            if trials.policy.effects:  # it has happened: another attempt would do it twice
                raise StepError(f"{node_of(unit).work.name} has happened, but its result could not be stored") from error
            raise

    async def _made(self, unit: Unit, trials: Trials) -> tuple[Output | Large, ...]:
        """Its outputs, made in time. Raises what the step raises, and `StepTimeout`."""
        blobs = await load_blobs(self._means.artifacts, self._host.away.blobs_here(unit))
        if trials.checkpoint is not None:
            saved = trials.checkpoint
            needed = [saved.digest] if saved.data is None else []
            self._place().saved = saved, await load_blobs(self._means.artifacts, needed)
        seconds = self._time_left(trials)
        if seconds is None:
            return await self._call(unit, blobs, _nothing)
        error: BaseException | None = None
        outputs: tuple[Output | Large, ...] = ()
        with anyio.CancelScope() as scope:

            def begun() -> None:  # the time that it waited for a process is not its own
                scope.deadline = anyio.move_on_after(max(0.0, seconds)).deadline

            try:
                outputs = await self._call(unit, blobs, begun)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as raised:  # noqa: BLE001  # it may have made something else of the end of its time
                error = raised
        if scope.cancel_called:
            raise self._timeout(unit, trials) from error
        if error is not None:
            raise error
        return outputs

    def _time_left(self, trials: Trials) -> float | None:
        policy = trials.policy
        if policy.deadline is None:
            return policy.timeout
        left = trials.first + policy.deadline - self._now()
        return left if policy.timeout is None else min(policy.timeout, left)

    def _timeout(self, unit: Unit, trials: Trials) -> StepTimeout:
        policy, name = trials.policy, node_of(unit).work.name
        late = policy.deadline is not None and trials.first + policy.deadline <= self._now()
        if late and policy.deadline is not None:
            return StepTimeout(
                f"{name} was ended: all its attempts together have taken {duration_text(policy.deadline)}, its deadline="
            )
        return StepTimeout(f"{name} was ended after {duration_text(policy.timeout or 0.0)}, its timeout=")

    @staticmethod
    def _place() -> Place:
        """The place of the task that is running: each attempt has one of its own."""
        place = here.get()
        assert place is not None
        return place

    async def _call(self, unit: Unit, blobs: Blobs, begun: Callable[[], None]) -> tuple[Output | Large, ...]:
        work = node_of(unit).work
        if work.is_async:
            begun()
            return await call_inline(unit, blobs, self._means)
        if work.supplied:
            await self._means.supplies.open(work)
        return await self._elsewhere(unit, blobs, begun)

    async def _elsewhere(self, unit: Unit, blobs: Blobs, begun: Callable[[], None]) -> tuple[Output | Large, ...]:
        back = anyio.Event()
        answers: list[tuple[Back | None, BaseException | None]] = []

        def take(done: Back | None, error: BaseException | None) -> None:
            answers.append((done, error))
            back.set()

        self._host.away.submit(unit, blobs, self._place(), begun, take)
        try:
            await back.wait()
        except anyio.get_cancelled_exc_class():
            if self._host.away.stop(unit):  # a process can be ended, and is: until then it has its place
                with anyio.CancelScope(shield=True):
                    await back.wait()
            raise
        done, error = answers[0]
        if done is None:
            raise error or StepError("the worker thread gave no result")
        if done.error is not None:
            raise done.error
        return done.outputs

    # After a failure.

    async def _broke(self, unit: Unit, trials: Trials, error: BaseException, started: float) -> None:
        if trials.policy.effects and isinstance(error, StepTimeout | StepLost) and not self._host.is_cancelled:
            await self._find_out(unit, trials, error)
        else:
            self._failed(unit, trials, error, started)

    def _failed(self, unit: Unit, trials: Trials, error: BaseException, started: float) -> None:
        ended = self._now()
        try:
            wait = None if self._host.is_over_for(unit) else self._next_wait(trials, error, ended)
        except StepError as own:  # the user's predicate raised
            error, wait = own, None
        if wait is None:
            trials.is_open = False
            self._host.failed(unit, error, started, ended)
            return
        self._again(unit, trials, error, (started, ended, wait))

    def _again(self, unit: Unit, trials: Trials, error: BaseException, times: tuple[float, float, float]) -> None:
        self._host.outcomes.again(unit, trials.begun, error, times)
        trials.broke(trials.begun, times[1] + times[2])
        self._host.spawn(self._later(unit, times[2]))

    async def _find_out(self, unit: Unit, trials: Trials, error: StepTimeout | StepLost | None = None) -> None:
        """Nobody knows what came of the last attempt: it is asked for, and done, made again, or the run rests."""
        key = key_of(self._host.run, node_of(unit), element_of(unit))
        self._place().unit = unit
        try:
            blobs = await load_blobs(self._means.artifacts, blobs_needed(unit))
            verdict = await verdict_on(unit, trials, blobs, self._means, key)
            if isinstance(verdict, Done):
                await self._take(unit, trials, verdict.value)
        except BaseException as trouble:  # noqa: BLE001  # what cannot be asked, or taken, is still not known
            if self._host.is_ended_with(trouble):
                return
            verdict = f"{type(trouble).__name__}: {trouble}"
        if isinstance(verdict, str):
            self._host.hold(held(self._host.run, node_of(unit), element_of(unit), trials, self._now(), verdict))
        elif verdict is None and error is not None:
            self._failed(unit, trials, error, trials.first)
        elif verdict is None:
            now, name = self._now(), node_of(unit).work.name
            lost = StepLost(f"attempt {trials.begun} of {name} was lost: there is no outcome on record")
            self._again(unit, trials, lost, (now, now, 0.0))
        self._on_record(trials.policy)

    async def _take(self, unit: Unit, trials: Trials, value: Any) -> None:
        """It has happened, and this is what it gave."""
        outputs = kept(node_of(unit).work, value, self._means.supplies.hiding)
        stored = await self._host.stored(unit, outputs)
        trials.is_open = False
        if not self._host.is_left:
            self._host.outcomes.ran(unit, stored, trials.first, self._now())

    def _next_wait(self, trials: Trials, error: BaseException, now: float) -> float | None:
        policy = trials.policy
        if policy.effects and (isinstance(error, AshoreError) and not isinstance(error, StepTimeout)):
            return None  # its body had returned, and what it gave is not right: another attempt would do it twice
        wait = next_wait(policy.retry, trials.failed + 1, error, self._chance)
        if wait is not None and policy.deadline is not None and now + wait >= trials.first + policy.deadline:
            return None  # there will be no time for another
        return wait

    def _chance(self) -> float:
        return int.from_bytes(self._means.ports.random.token(4), "little") / _CHANCE

    def _on_record(self, policy: Policy) -> None:
        """Hand its outcome on: at once if it acted on the world."""
        if self._host.is_left:
            return
        if policy.effects:
            self._host.put_on_record()
        else:
            self._host.idle()


def trials_of(unit: Unit) -> Trials:
    """The attempts of a unit that is tried under a policy."""
    node = node_of(unit)
    assert node.trials is not None
    return node.trials.element(unit.index) if type(unit) is Element else node.trials


def callable_key(policy: Policy) -> bool:
    """Whether the place in which its attempts queue depends on arguments."""
    return policy.limit is not None and bool(policy.limit.key)


def _nothing() -> None:
    """Its start is on record already."""
