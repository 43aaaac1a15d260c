"""The questions that a run is asked, from wherever it is held: in a runtime, or from the catalogue."""

from __future__ import annotations

from typing import Any

from ashore.catalogue.access import Access
from ashore.ids import InvocationId
from ashore.questions.reading import on_record, past_run, record_of
from ashore.questions.why import Reason, Why, reason, why
from ashore.runs import Run
from ashore.works import Work


def step_name(step: Any) -> str | None:
    """A step by itself or by its name."""
    return step.name if isinstance(step, Work) else step


async def why_run(run: Run[Any], step: Any = None) -> Why:
    """See `Run.why`."""
    async with on_record(run) as (past, access):
        return why(await record_of(past, access, step_name(step)), step_name(step))


async def why_call(access: Access, run: str, invocation: str) -> Reason:
    """See `Invocation.why`."""
    past = await past_run(access, run)
    record = await record_of(past, access)
    return reason(record, record.facts.invocations[InvocationId(bytes.fromhex(invocation))])
