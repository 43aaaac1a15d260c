"""A run as the record has it: finished long ago, or still under way in another process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, overload

from ashore.catalogue.access import Access
from ashore.catalogue.invocations import Invocation, Invocations, chosen
from ashore.catalogue.naming import SHORT
from ashore.catalogue.showing import run_html, runs_html
from ashore.errors import AshoreError, NotFound, RunCancelled, RunFailed, RunHeld, StepFailure
from ashore.handles import Handle
from ashore.histories import Ending, History
from ashore.ids import RunId
from ashore.runs import Run
from ashore.works import Step, Work
from ashore_stores.keys import START
from ashore_stores.logs.base import EventLog

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Arrivals(NamedTuple):
    """The arrivals that a triggered run stands for: those of the trigger in (after, upto]."""

    trigger: str
    after: int
    upto: int


class Recorded:
    """The course of a run of which only the record is known."""

    def __init__(self, log: EventLog, run: RunId, state: str, counts: Mapping[str, int]) -> None:
        self._log = log
        self._run = run
        self._state = state
        self._counts = counts
        self._ending: Ending | None = None

    @property
    def state(self) -> str:
        return self._state

    @property
    def ending(self) -> Ending | None:
        return self._ending

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    async def wait(self) -> Ending:
        """Its end; waits for it if it is still under way somewhere."""
        frames = await self._log.about(self._run.encode())
        if frames:  # these are written: a follower begins, and an end counts, only where the log is durable
            await self._log.durable(frames[-1].last)
        history = History.of(frames, self._run)
        if history.rest is None:
            history = await self._follow(history, frames[-1].cursor if frames else START)
        assert history.rest is not None
        self._ending = history.rest
        self._state = history.rest.state
        return history.rest

    async def _follow(self, history: History, after: Any) -> History:
        topic = self._run.encode()
        async for frame in self._log.follow(after):
            if topic in frame.batch.topics:
                seen = History.of([frame], self._run)
                for event in seen.events:
                    history.receive(event)
                if history.rest is not None or seen.ending is not None:
                    return History.of(await self._log.about(topic), self._run)
        return history

    async def cancel(self) -> None:
        if self._state == "running":
            raise AshoreError(
                f"run {self._run[:SHORT]} belongs to another process, and the catalogue only reads",
                mend=f"Cancel it in a Runtime: await (await rt.run('{self._run}')).cancel()",
            )

    def now(self) -> float:
        raise AshoreError(
            f"run {self._run[:SHORT]} was read from the catalogue, which only reads",
            mend=f"Answer it in a Runtime: await (await rt.run('{self._run}')).approve(), or by `ashore approve`",
        )


class PastRun(Run[T_co], Generic[T_co]):
    """A run of the catalogue. `await run` gives its result, `run["fit"]` or `run[fit]` its invocations of a step."""

    def __init__(self, access: Access, row: Mapping[str, Any], invocations: Sequence[Invocation[Any]] | None) -> None:
        """`row`: a row of the view `runs`. `invocations`: None if there were too many to bring along."""
        counts = Counter(one.state for one in invocations or ())
        super().__init__(
            row["id"], row["pipeline"], access.log, access.artifacts, Recorded(access.log, row["id"], row["state"], counts)
        )
        self._access = access
        self._row = row
        self._invocations = invocations
        self.no: int = row["no"]
        """Its place in the order of the log."""
        self.target: str = row["target"]
        self.key: str | None = row["key"]
        self.params: dict[str, Any] = json.loads(row["params"])
        self.started: float = row["started"]
        self.ended: float | None = row["ended"]
        self.parent: str | None = row["parent"]
        self.trouble: str | None = row["error"]
        """What failed it, in one line: "fit: ValueError: no rows"."""
        self.location: str | None = row["location"]
        """ "file:line" of what failed it."""
        self.traceback: str | None = row["traceback"]
        self.host: str | None = row["host"]
        self.user: str | None = row["user"]
        self.pid: int | None = row["pid"]
        self.python: str | None = row["python"]
        self.versions: dict[str, str] = json.loads(row["versions"] or "{}")
        """Installed distributions, name -> version."""
        self.git_commit: str | None = row["git_commit"]
        """With "+" at its end: there were changes that were not committed."""
        self.arrivals: Arrivals | None = None
        if row["trigger"] is not None:
            self.arrivals = Arrivals(row["trigger"], row["arrivals_after"], row["arrivals_upto"])

    def elements(self, step: Work[Any, Any] | str) -> dict[str, int]:
        """The elements of a step's fan-outs by state."""
        name = step if isinstance(step, str) else step.name
        fans = [one.elements for one in self.invocations if one.step == name and one.elements is not None]
        return {state: sum(getattr(fan, state) for fan in fans) for state in ("done", "cached", "failed")} if fans else {}

    @property
    def took(self) -> float | None:
        """Seconds from start to end."""
        return None if self.ended is None else self.ended - self.started

    @property
    def error(self) -> Exception | None:
        """What failed it. Awaiting the run raises the same with the steps' own exceptions."""
        known = super().error
        if known is not None or self.state in ("done", "running"):
            return known
        if self.state == "cancelled":
            return RunCancelled(f"run {self.id[:SHORT]} of {self.pipeline} was cancelled", run=self)
        if self.state == "held":
            return RunHeld(f"run {self.id[:SHORT]} of {self.pipeline} is held: {self.trouble}", run=self)
        return RunFailed(f"run {self.id[:SHORT]} of {self.pipeline} failed", [StepFailure(self.trouble or "unknown")], self)

    @property
    def invocations(self) -> Sequence[Invocation[Any]]:
        """All its invocations, in the order in which they were asked for."""
        if self._invocations is None:
            raise NotFound(
                f"the invocations of run {self.id[:SHORT]} were not brought along: the list has too many",
                mend=f'Ask for the run by itself: await cat.run("{self.id[:SHORT]}"), or for fewer: cat.runs(limit=3)',
            )
        return self._invocations

    @overload
    def __getitem__(self, step: Step[Any, Handle[T]], /) -> Invocations[T]: ...
    @overload
    def __getitem__(self, step: str, /) -> Invocations[Any]: ...
    def __getitem__(self, step: Any, /) -> Any:
        name: str = step.name if isinstance(step, Work) else step
        return chosen(name, self.id, self.invocations)

    def __contains__(self, step: object) -> bool:
        name = step.name if isinstance(step, Work) else step
        return any(one.step == name for one in self.invocations)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts().items())
        error = f": {self.trouble}" if self.trouble else ""
        return f"<PastRun {self.id[:SHORT]} of {self.pipeline}: {self.state}{error}{f' ({counts})' if counts else ''}>"

    def _repr_html_(self) -> str:
        return run_html(self, self._invocations)


class PastRuns(list[PastRun[T]]):
    """Runs, the newest first; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        return runs_html(self)
