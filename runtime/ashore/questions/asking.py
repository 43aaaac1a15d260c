"""The questions that a run is asked, from wherever it is held: in a runtime, or from the catalogue."""

from __future__ import annotations

from typing import Any

from ashore.catalogue.access import Access
from ashore.ids import InvocationId
from ashore.questions.code import Code, code_told
from ashore.questions.diffing import Diff, diff
from ashore.questions.reading import definitions_of, facts_of, on_record, past_run, record_of, side_of, sources_of
from ashore.questions.why import Reason, Why, calls_of, reason, why
from ashore.runs import Run
from ashore.works import Work


def step_name(step: Any) -> str | None:
    """A step by itself or by its name."""
    return step.name if isinstance(step, Work) else step


async def why_run(run: Run[Any], step: Any = None) -> Why:
    """See `Run.why`."""
    async with on_record(run) as (past, access):
        return why(await record_of(past, access, step_name(step)), step_name(step))


async def diff_runs(run: Run[Any], other: Run[Any] | str, *, everything: bool = False) -> Diff:
    """See `Run.diff`."""
    async with on_record(run) as (past, access):
        sides = [await side_of(past, access)]
        sides.append(await side_of(await past_run(access, other if isinstance(other, str) else other.id), access))
        codes = sides[0].facts.codes | sides[1].facts.codes
        return diff(sides[0], sides[1], await definitions_of(access, codes), everything=everything)


async def code_of(run: Run[Any], step: Any = None) -> Code:
    """See `Run.code`."""
    async with on_record(run) as (past, access):
        await access.fresh()
        facts = await facts_of(access.log, past.id)
        chosen = calls_of(list(facts), step_name(step), past.id)
        definitions = await definitions_of(access, {one.call.code for one in chosen})
        stated = [definitions[code] for code in dict.fromkeys(one.call.code for one in chosen) if code in definitions]
        stored = {one.code: await sources_of(access.log, one.code) for one in stated}
        kept = {code: output for code, output in stored.items() if output is not None}
        return code_told(past.id, stated, dict(zip(kept, await access.load(list(kept.values())), strict=True)))


async def why_call(access: Access, run: str, invocation: str) -> Reason:
    """See `Invocation.why`."""
    past = await past_run(access, run)
    record = await record_of(past, access)
    return reason(record, record.facts.invocations[InvocationId(bytes.fromhex(invocation))])
