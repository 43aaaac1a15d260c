"""`assert_resumes`: a pipeline is killed after each of its events in turn, resumed, and has to come to the same end."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import anyio

from ashore.answers import questions_in
from ashore.errors import AnsweredAlready, InsideLoop, NotFound
from ashore.events import Event, StepFailed, StepRan, StepStarted, decode
from ashore.handles import Handle
from ashore.notices import silence
from ashore.results import identity_of
from ashore.runs import Run
from ashore.runtime import Runtime
from ashore.stack import Stack
from ashore.testing.lives import ALL, Crash, Killed, World
from ashore_stores.testing.loop import Deadlock

T = TypeVar("T")

KEY: Final = "assert_resumes"
"""Under which key the pipeline is started, and started again."""

_AGAIN: Final = 0.3
"""How often the process that resumes a run is killed as well."""

_DOZEN: Final = 12
"""Events that a message shows before the crash."""


@dataclass
class Resumed:
    """What `assert_resumes` did."""

    schedules: int = 0
    events: int = 0
    """Of the longest run."""
    crashes: int = 0
    held: int = 0
    """Resumed runs that came to rest because nobody knows what became of an effect."""
    value: Any = None
    """What the pipeline gives."""


@dataclass(frozen=True)
class _End:
    """How a life ended, as far as another has to end the same."""

    state: str
    result: Any
    failures: tuple[tuple[str, str], ...] = ()
    value: Any = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.failures:
            return f"{self.state} by " + ", ".join(f"{name}: {text}" for name, text in self.failures)
        return f"{self.state}, with {self.value!r}" if self.state == "done" else self.state


def assert_resumes(  # noqa: PLR0913  # the front of a proof: what it is about, how much of it, and what it needs
    call: Handle[Any],
    /,
    *,
    schedules: int = 50,
    effects: Counter[Any] | None = None,
    fresh: Callable[[], object] | None = None,
    may_hold: bool = False,
    approve: bool | None = None,
    same: Callable[[Any, Any], bool] | None = None,
    **runtime: Any,
) -> Resumed:
    """Prove that a pipeline (or a step) comes to the same end, wherever its process is killed.

    `assert_resumes(retrain(File("jan.csv")))` runs the call in memory, under virtual time, `schedules` times, each time with
    another order of whatever may go on at once. Each of these runs is then done again for each event that it wrote: killed
    right after the event, and resumed by another process, which is killed as well now and then. The end must be that of the
    run that nobody killed: the same value, or the same failures; and no step that is on record is called again. Raises
    `AssertionError` naming the schedule, the crash and what was on record.

    `effects` counts what the pipeline does to the outside, by business id: `charges[order.id] += 1` in the fake that stands for
    the bank. It outlives the crash, as the bank does. Each run is then killed at a second moment, too: after all that it did
    before the next event was written. Nothing may have happened more often than without a crash, nor less. With
    `may_hold`, a run may come to rest instead, for want of knowing what became of an effect that was under way.

    `approve` is the answer to each `approval` that the pipeline asks for; without one nobody answers. `fresh` is called before
    each history, to set the outside back. `same(value, resumed)` compares values that are not equal by content. All else is
    for the `Runtime`: `resources=`, `secrets=`, `replace=`.

    It makes about `schedules` times the number of events as many histories: seconds for a small pipeline. It has a loop of
    its own, without sockets: replace the steps that talk to others. Call it from a plain `def test_...`.
    """
    call.claim()
    _check_place()
    with silence():
        return _prove(_Trial(call, effects, fresh, approve, runtime), schedules, may_hold=may_hold, same=same)


def _prove(trial: _Trial, schedules: int, *, may_hold: bool, same: Callable[[Any, Any], bool] | None) -> Resumed:
    wholes = [trial.whole(seed) for seed in range(schedules)]
    first = wholes[0]
    for seed, whole in enumerate(wholes):
        if whole.end != first.end and not _are_same(first.end, whole.end, same):
            raise AssertionError(f"schedule {seed} changes the end, without any crash: {first.end}; then {whole.end}")
    done = Resumed(schedules, max(whole.events for whole in wholes), value=first.end.value)
    for seed, whole in enumerate(wholes):
        for crash in whole.crashes(with_late=trial.has_effects):
            resumed = trial.resumed(seed, crash)
            problem = resumed.problem(whole, may_hold=may_hold, same=same)
            if problem:
                raise AssertionError(f"{problem}\n{resumed.shown(seed, crash)}")
            done.crashes += 1
            done.held += resumed.end.state == "held"
    return done


def _check_place() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InsideLoop("assert_resumes(...) was called inside a running event loop", mend="Call it in a plain `def test_...`")


def _are_same(wanted: _End, got: _End, same: Callable[[Any, Any], bool] | None) -> bool:
    return same is not None and wanted.state == got.state == "done" and same(wanted.value, got.value)


@dataclass
class _History:
    """One run, over one process or two."""

    end: _End
    effects: Counter[Any]
    log: list[Event]
    before: list[Event] = field(default_factory=list)
    """What was on record when the crash came."""
    last: list[Event] = field(default_factory=list)
    """And when the last crash came."""
    again: Crash | None = None
    """The second crash, of the process that resumed it, counted in its own events."""

    @property
    def events(self) -> int:
        return len(self.log)

    def crashes(self, *, with_late: bool) -> list[Crash]:
        late = [Crash(events, late=True) for events in range(self.events)] if with_late else []
        return [Crash(events) for events in range(1, self.events + 1)] + late

    def problem(self, whole: _History, *, may_hold: bool, same: Callable[[Any, Any], bool] | None) -> str:
        """What is wrong with it, compared with the run that nobody killed."""
        again = self._done_again()
        if again:
            return f"done again though it was on record: {again}"
        more = self.effects - whole.effects
        if more:
            return f"happened more often than without the crash: {_counts(more, self.effects, whole.effects)}"
        if self.end.state == "held" and may_hold:
            return "" if self._under_way() else f"held, though no step was under way when the crash came: {self.end}"
        if self.end != whole.end and not _are_same(whole.end, self.end, same):
            return f"another end: without the crash it is {whole.end}; resumed it is {self.end}"
        less = whole.effects - self.effects
        return f"happened less often than without the crash: {_counts(less, self.effects, whole.effects)}" if less else ""

    def _under_way(self) -> bool:
        """Whether a step had begun, and nobody knows what became of it."""
        begun = {event.invocation for event in self.last if isinstance(event, StepStarted)}
        return bool(begun - {event.invocation for event in self.last if isinstance(event, (StepRan, StepFailed))})

    def _done_again(self) -> str:
        """Invocations that have two outcomes of their own."""
        ran = Counter(event.invocation for event in self.log if isinstance(event, StepRan) and not event.reused_run)
        return ", ".join(f"{name.hex()[:8]} {times} times" for name, times in ran.items() if times > 1)

    def shown(self, seed: int, crash: Crash) -> str:
        names = [type(event).__name__ for event in self.before]
        on_record = ", ".join([*(["..."] if len(names) > _DOZEN else []), *names[-_DOZEN:]]) or "nothing"
        second = f", resumed, and killed {self.again} of its own" if self.again is not None else ""
        return f"schedule {seed}, killed {crash}; on record was {on_record}{second}"


def _counts(which: Counter[Any], got: Counter[Any], wanted: Counter[Any]) -> str:
    return ", ".join(f"{name!r} {got[name]} times, not {wanted[name]}" for name in which)


class _Trial:
    """The same call, in one world after the other."""

    def __init__(
        self,
        call: Handle[Any],
        effects: Counter[Any] | None,
        fresh: Callable[[], object] | None,
        approve: bool | None,
        runtime: Mapping[str, Any],
    ) -> None:
        self.has_effects = effects is not None
        self._call = call
        self._effects: Counter[Any] = Counter() if effects is None else effects
        self._fresh = fresh
        self._approve = approve
        self._runtime = runtime

    def whole(self, seed: int) -> _History:
        """Nobody kills it."""
        world = self._begin()
        end = self._live(world, seed, Crash(ALL))
        return _History(end, Counter(self._effects), _log_of(world))

    def resumed(self, seed: int, crash: Crash) -> _History:
        """It is killed, and resumed by another process."""
        world = self._begin()
        self._killed(world, seed, crash)
        before, chance = _log_of(world), random.Random(f"{seed}-{crash}")
        again = Crash(chance.randrange(1, crash.events + 2)) if chance.random() < _AGAIN else None
        if again is not None:
            self._killed(world, chance.randrange(1 << 30), again)
        last = _log_of(world)
        end = self._live(world, chance.randrange(1 << 30), Crash(ALL))
        return _History(end, Counter(self._effects), _log_of(world), before, last, again)

    def _killed(self, world: World, seed: int, crash: Crash) -> None:
        """One process that is killed, if it does not come to its end before."""
        kept: list[Counter[Any]] = []
        try:
            self._live(world, seed, Crash(crash.events, late=crash.late, told=lambda: kept.append(Counter(self._effects))))
        except Killed:
            self._effects.clear()  # what the dead process's `finally` blocks did, when they were thrown away, it never did
            self._effects.update(kept[0])

    def _begin(self) -> World:
        self._effects.clear()
        if self._fresh is not None:
            self._fresh()
        return World(os.getcwd())

    def _live(self, world: World, seed: int, crash: Crash) -> _End:
        runs: list[Run[Any]] = []
        try:
            return world.live(lambda stack: self._main(stack, runs), seed, crash)
        except Deadlock as rest:
            state = runs[0].state if runs else "not started"
            raise AssertionError(f"the run is {state} and comes to rest: nothing that it waits for will ever happen") from rest

    async def _ended(self, run: Run[Any]) -> str:
        if self._approve is None:
            return await run.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(_answered, run, self._approve)
            state = await run.wait()
            group.cancel_scope.cancel()
        return state

    async def _main(self, stack: Stack, runs: list[Run[Any]]) -> _End:
        async with Runtime(stack, **self._runtime) as rt:
            run = await rt.start(self._call, key=KEY)
            runs.append(run)
            state = await self._ended(run)
            if state != "done":
                failures = getattr(run.error, "failures", (run.error,) if run.error else ())
                return _End(state, None, tuple(sorted((type(error).__name__, _without(run.id, str(error))) for error in failures)))
            value = await run
            assert run._ending is not None
            return _End(state, identity_of(run._ending.result), (), value)


def _without(run: str, text: str) -> str:
    """A text without the run's id, which is another one each time."""
    return text.replace(run, "RUN").replace(run[:8], "RUN")


async def _answered(run: Run[Any], yes: bool) -> None:
    """Answer whatever the run asks, as soon as it is asked."""
    seen: list[Event] = []
    async for happened in run.events():
        seen.append(happened.event)
        if isinstance(happened.event, StepStarted):
            for question in questions_in(seen):
                with suppress(NotFound, AnsweredAlready):
                    await run.approve(question.text, deny=not yes)


def _log_of(world: World) -> list[Event]:
    return [event for frame in world.shared.frames for event in decode(frame.batch.body, frame.count)]
