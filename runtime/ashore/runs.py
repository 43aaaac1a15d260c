"""A run as its users hold it: awaited, watched, cancelled, from the process that drives it or from any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, Self, TypeVar, overload

import anyio

from ashore import html
from ashore.answers import answer_run
from ashore.engine.loop import Drive
from ashore.engine.values import load_blobs, load_output
from ashore.errors import RunCancelled, RunFailed
from ashore.events import Adopted, Event, Held, Redone, RunEnded, decode
from ashore.histories import Ending, History
from ashore.holding import held_error
from ashore.ids import RunId
from ashore.results import decode_result, outputs_in
from ashore.saying import Logs, logs_in
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.keys import Position
from ashore_stores.logs.base import EventLog, Frame, Ticket
from ashore_stores.ports import Clock

if TYPE_CHECKING:
    from ashore.driving import Drives
    from ashore.handles import Handle
    from ashore.questions import Code, Diff, Reason, Reproduced, Verified, Why
    from ashore.works import Step, Work

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Happened(NamedTuple):
    """An event of a run and its position in the log, by which one goes on after it."""

    position: int
    event: Event


class Course(Protocol):
    """The side of a run that knows how far it is."""

    @property
    def state(self) -> str: ...

    @property
    def ending(self) -> Ending | None:
        """How it ended, if that is known here already."""
        ...

    async def wait(self) -> Ending:
        """Wait for the end, durable. Raises the log's error if this process can no longer tell."""
        ...

    async def cancel(self) -> None: ...

    def now(self) -> float:
        """The time of what is said about it. Raises where it is only read."""
        ...

    def counts(self) -> dict[str, int]: ...


class Loadable(Protocol[T_co]):
    """Something that was made."""

    async def load(self) -> T_co:
        """Its value, loaded anew."""
        ...


class StepOfRun(Protocol[T_co]):
    """The call of a step in a run: `run["fit"]`, or `run[fit]`, which types what it gives."""

    @property
    def out(self) -> Loadable[T_co]:
        """What it gave."""
        ...

    async def why(self) -> Reason:
        """Why it ran, or did not have to."""
        ...

    async def debug(
        self, code: Work[Any, Any] | None = None, /, *, element: int | None = None, effects: Literal["hold", "run"] = "hold"
    ) -> T_co:
        """Call the plain function once more with the recorded inputs, in this thread, and open pdb where it fails.

        Gives what it returns, or raises what it raises, after pdb. Nothing is recorded. `code`: the pipeline or the step, where it
        cannot be imported from the recorded target; `element`: of a fan-out, by default the first that failed. A step that acts on
        the world is refused unless `effects="run"`. Raises `GraphError` where the call cannot be put together from the record.
        """
        ...


class Run(Generic[T_co]):
    """One run. Awaiting it gives its result, or raises `RunFailed` (with each step's own exception) or `RunCancelled`."""

    def __init__(self, id: RunId, pipeline: str, log: EventLog, artifacts: ArtifactStore, course: Course) -> None:
        self.id = id
        self.pipeline = pipeline
        self._log = log
        self._artifacts = artifacts
        self._course = course
        self._ending: Ending | None = None
        self._drives: Drives | None = None
        """The runs of the runtime that it is held in; None: it is the catalogue's."""
        self._work: Work[Any, Any] | None = None
        """What it is a run of, where that is at hand."""

    @classmethod
    def held(cls, drives: Drives, id: RunId, pipeline: str, course: Course) -> Self:
        """A run as a runtime holds it."""
        run = cls(id, pipeline, drives.stack.log, drives.stack.artifacts, course)
        run._drives = drives
        return run

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self._course.counts().items() if number)
        return f"<Run {self.id[:8]} of {self.pipeline}: {self.state}{f' ({counts})' if counts else ''}>"

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self._course.counts().items() if number)
        return html.title("run of", self.pipeline, self.id[:8], self.state) + html.facts([("steps", counts)])

    @property
    def state(self) -> str:
        """ "running", "done", "failed", "cancelled", "held" (see `RunHeld`) or "lost" (this process can no longer tell)."""
        return self._course.state

    @property
    def error(self) -> Exception | None:
        """What failed it, once it has been awaited or has ended here."""
        if self._ending is None:
            self._ending = self._course.ending
        if self._ending is None or self._ending.state == "done":
            return None
        return self._error(self._ending)

    def counts(self) -> dict[str, int]:
        """Its invocations by state, as far as this process has seen."""
        return self._course.counts()

    def elements(self, step: Work[Any, Any] | str) -> dict[str, int]:
        """The elements of a step's fan-outs by state, as far as this process has seen."""
        name, course = step if isinstance(step, str) else step.name, self._course
        return course.drive.outcomes.fanouts.counts(name) if isinstance(course, Driven) else {}

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._value().__await__()

    async def wait(self) -> str:
        """Wait for its end, or until it is held, durable, and return its state; raises nothing of its steps."""
        self._ending = await self._course.wait()
        return self._ending.state

    async def cancel(self) -> None:
        """End it: running steps are cancelled, waiting ones skipped. From any process. Returns when it is over or asked for."""
        await self._course.cancel()

    @overload
    def __getitem__(self, step: Step[Any, Handle[T]], /) -> StepOfRun[T]: ...
    @overload
    def __getitem__(self, step: str, /) -> StepOfRun[Any]: ...
    def __getitem__(self, step: Any, /) -> Any:
        """A step's call in it, by the step or by its name."""
        return _questions().StepHeld(self, step)

    async def why(self, step: Step[Any, Any] | str | None = None) -> Why:
        """Why each call ran, or did not have to: where it is cached from, that it is a source, or exactly what changed.

        Answered from what is durable, against the nearest earlier call of the same pipeline. Of one step, by itself or by its name,
        if it is given. Raises `NotFound` if the run has no such step.
        """
        answer: Why = await _questions().why_run(self, step)
        return answer

    async def diff(self, other: Run[Any] | str, *, all: bool = False) -> Diff:
        """This run and another one (itself, or its id), side by side: what differs, or `all`.

        Parameters, code, inputs, outputs, metrics, durations and versions. Steps that took about as long count as equal.
        """
        answer: Diff = await _questions().diff_runs(self, other, everything=all)
        return answer

    async def logs(self, step: Step[Any, Any] | str | None = None, *, attempt: int | None = None) -> Logs:
        """What its steps have printed and logged, in order; of one step, by itself or by its name, if it is given.

        Of each attempt the beginning and the end are kept, and what was dropped between them is counted. Raises `NotFound` if the
        run has no such step.
        """
        recorded = History.of(await self._log.about(self.id.encode()), self.id)
        return logs_in(recorded.events, step if step is None or isinstance(step, str) else step.name, attempt)

    async def approve(self, question: str | None = None, *, deny: bool = False) -> str:
        """Answer the question that it waits for (`approval`), or the one with this text; returns the text. From any process.

        Returns when the answer is durable. Raises `NotFound` if it asks none (or several, and none was named), and
        `AnsweredAlready` if somebody was first.
        """
        recorded = History.of(await self._log.about(self.id.encode()), self.id)
        return await answer_run(self._log, self.id, recorded.events, question, (not deny, self._course.now()))

    async def code(self, step: Step[Any, Any] | str | None = None) -> Code:
        """The code that ran, with everything of the user's own that it reaches: of each step, or of one."""
        answer: Code = await _questions().code_of(self, step)
        return answer

    async def resume(self, pipeline: Work[Any, Any] | None = None, /, *, redo: Sequence[Step[Any, Any] | str] = ()) -> Run[T_co]:
        """Go on with it, if nobody does: what is done is final.

        Of a run that failed or was cancelled, what failed and what was skipped is done again. `redo`: steps whose calls are done
        again, too, and what was made from them as far as that changes. `pipeline` is its code, where it cannot be imported from the
        recorded target. Raises `GraphError` if that cannot be, `NotFound` for a step that it has not.
        """
        run: Run[T_co] = await _questions().resume_run(self, pipeline, redo)
        return run

    async def fork(
        self, pipeline: Work[Any, Any] | None = None, /, *, effects: Literal["hold", "run"] = "hold", **changed: Any
    ) -> Run[T_co]:
        """A new run of the same pipeline with these arguments changed, whose parent is this run; returns when its start is durable.

        What is not affected is reused. Files stay the contents that they were. `pipeline` is its code, where it cannot be imported
        from the recorded target. A step that acts on the world is refused (`GraphError`), unless `effects="run"`. Starts in the
        runtime that holds this run, or in the one that is open here. Raises `WrongArgument`, `TargetError`.
        """
        forked: Run[T_co] = await _questions().fork_run(self, pipeline, changed, effects=effects)
        return forked

    async def verify(self, pipeline: Work[Any, Any] | None = None, /) -> Verified:
        """Derive the run's decisions from its record once more, and compare: nothing of it executes.

        The pipeline (imported from the recorded target, unless it is given) is wired with the recorded arguments; an `async def`
        one cannot be, without executing it: its calls are taken as recorded then, and `notes` say so. Raises `TargetError`.
        """
        answer: Verified = await _questions().verify_run(self, pipeline)
        return answer

    async def reproduce(self, pipeline: Work[Any, Any] | None = None, /) -> Reproduced:
        """Run it once more and wait for its end: nothing is reused, sources give what is recorded, and the contents are compared.

        Steps that act on the world are not called: they give what is recorded, too. The new run's parent is this one; what it makes
        is what is reused from now on, as after a refresh. Raises `GraphError` if it has not ended, or if a step would act on the
        world.
        """
        answer: Reproduced = await _questions().reproduce_run(self, pipeline)
        return answer

    async def export(self, path: str | PathLike[str]) -> None:
        """Write its history into one file, for `ashore.testing.replay(path)`. Values that are blobs stay where they are."""
        await _questions().export_run(self, path)

    async def events(self, after: int = 0) -> AsyncIterator[Happened]:
        """Its events with a position above `after`, in log order, as they become durable, to its end or where it is held now."""
        known = await self._log.about(self.id.encode())
        answered, reopened = self._last(known, Adopted | RunEnded | Redone), self._last(known, Redone)
        async with aclosing(self._frames(after)) as frames:
            async for frame in frames:
                for happened in _events_of(frame, self.id, after):
                    yield happened
                    if _is_last(happened, answered, reopened):
                        return

    def _last(self, frames: list[Frame], kinds: Any) -> int:
        """The position of the last of its events of these kinds."""
        return max([h.position for frame in frames for h in _events_of(frame, self.id, 0) if isinstance(h.event, kinds)], default=0)

    async def _frames(self, after: int) -> AsyncGenerator[Frame, None]:
        """The frames about it, and those that come."""
        topic = self.id.encode()
        frames = await self._log.about(topic)
        if frames:  # these are written: a follower begins only where the log is durable
            await self._log.durable(frames[-1].last)
        for frame in frames:
            yield frame
        async for frame in self._log.follow(frames[-1].last if frames else Position(after)):
            if topic in frame.batch.topics:
                yield frame

    async def _value(self) -> T_co:
        await self.wait()
        assert self._ending is not None
        if self._ending.state != "done":
            raise self._error(self._ending)
        outputs = outputs_in(self._ending.result)
        blobs = await load_blobs(self._artifacts, {output.digest for output in outputs if output.data is None})
        value: T_co = decode_result(self._ending.result, lambda output: load_output(output, blobs))
        return value

    def _error(self, ending: Ending) -> Exception:
        if ending.state == "held":
            return ending.errors[0]
        if ending.state == "cancelled":
            return RunCancelled(f"run {self.id[:8]} of {self.pipeline} was cancelled", run=self)
        return RunFailed(f"run {self.id[:8]} of {self.pipeline} failed", ending.errors, self)

    async def value_or_own_error(self) -> T_co:
        """As awaiting, but a run of one step raises the step's own exception."""
        try:
            return await self._value()
        except RunFailed as failed:
            if len(failed.failures) == 1:
                own = failed.failures[0]
                raise own from own.__cause__
            raise


def _is_last(happened: Happened, answered: int, reopened: int) -> bool:
    """Whether nothing follows, or nothing before somebody answers."""
    if isinstance(happened.event, RunEnded):
        return happened.position > reopened
    return isinstance(happened.event, Held) and happened.position > answered


def _questions() -> Any:
    """What answers questions stands above the runs that are asked, and is loaded when the first one is."""
    return import_module("ashore.questions")


def _events_of(frame: Frame, run: RunId, after: int) -> list[Happened]:
    events = decode(frame.batch.body, frame.count)
    return [
        Happened(frame.first + place, event)
        for place, event in enumerate(events)
        if frame.first + place > after and getattr(event, "run", None) == run
    ]


class Driven:
    """The course of a run that this runtime drives."""

    def __init__(self, drive: Drive, pipeline: str) -> None:
        self.drive = drive
        self.pipeline = pipeline
        self.finished = anyio.Event()

    def now(self) -> float:
        return self.drive.means.ports.clock.now()

    @property
    def ticket(self) -> Ticket:
        """The ticket of the run's last batch so far."""
        ticket = self.drive.last
        assert ticket is not None
        return ticket

    @property
    def state(self) -> str:
        return self.drive.state if self.finished.is_set() or self.drive.state == "lost" else "running"

    def counts(self) -> dict[str, int]:
        return self.drive.counts()

    async def wait(self) -> Ending:
        await self.finished.wait()
        if self.drive.trouble is not None:
            raise self.drive.trouble
        return self._ending()

    @property
    def ending(self) -> Ending | None:
        return self._ending() if self.finished.is_set() and self.drive.trouble is None else None

    def _ending(self) -> Ending:
        drive = self.drive
        errors = (held_error(drive.run, self.pipeline, drive.held),) if drive.state == "held" else drive.errors
        return Ending(drive.state, drive.result, errors)

    async def cancel(self) -> None:
        self.drive.cancel()
        await self.finished.wait()


class Watched:
    """The course of a run that another process drives, or that is over."""

    def __init__(
        self,
        history: History,
        wait: Callable[[Watched], Awaitable[Ending]],
        cancel: Callable[[Watched], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self.history = history
        self.now = clock.now
        self.over = anyio.Event()
        self._wait = wait
        self._cancel = cancel
        if history.rest is not None:
            self.over.set()

    @property
    def ending(self) -> Ending | None:
        return self.history.rest

    @property
    def state(self) -> str:
        return self.history.rest.state if self.history.rest else "running"

    def counts(self) -> dict[str, int]:
        return {}

    def receive(self, event: Event) -> None:
        """Take what happened; what was held goes on when it is adopted."""
        self.history.receive(event)
        if self.history.rest is not None:
            self.over.set()
        elif self.over.is_set():
            self.over = anyio.Event()

    async def wait(self) -> Ending:
        if self.history.ending is not None:
            return self.history.ending
        return await self._wait(self)

    async def cancel(self) -> None:
        if self.history.ending is None:
            await self._cancel(self)
