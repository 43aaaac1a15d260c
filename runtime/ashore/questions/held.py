"""A step of a run that a runtime holds: what the catalogue has of it, looked up when it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from ashore.catalogue import Invocations
from ashore.questions.asking import step_name
from ashore.questions.debugging import Chosen, debug_call
from ashore.questions.reading import on_record
from ashore.questions.why import Reason
from ashore.runs import Run
from ashore.works import Work


class StepHeld:
    """A `StepOfRun` of a run under way, or that ended here. Sees what is durable by then; acts as its one call."""

    def __init__(self, run: Run[Any], step: Any) -> None:
        self._run = run
        self._step = step

    def __repr__(self) -> str:
        return f"<{step_name(self._step)} of run {self._run.id[:8]}>"

    @property
    def out(self) -> _Out:
        return _Out(self)

    async def why(self) -> Reason:
        async with self._calls() as calls:
            return await calls.why()

    async def debug(
        self, code: Work[Any, Any] | None = None, /, *, element: int | None = None, effects: Literal["hold", "run"] = "hold"
    ) -> Any:
        chosen = Chosen(self._step, None, element)
        return await debug_call(self._run, chosen, code, effects=effects)

    @asynccontextmanager
    async def _calls(self) -> AsyncIterator[Invocations[Any]]:
        async with on_record(self._run) as (past, _):
            yield past[step_name(self._step) or ""]


class _Out:
    """What it gave."""

    def __init__(self, step: StepHeld) -> None:
        self._step = step

    async def load(self) -> Any:
        """Its value, loaded anew."""
        async with self._step._calls() as calls:
            return await calls.out.load()
