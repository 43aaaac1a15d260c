"""A recorded call, called once more: the plain function with the recorded inputs, here, with pdb where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

from ashore.calls import current_scope
from ashore.catalogue.access import Access
from ashore.codec import decode
from ashore.engine.fanout import Element, FanOut
from ashore.engine.invoke import INSIDE_STEP, spread
from ashore.engine.state import Machine
from ashore.engine.units import blobs_needed
from ashore.engine.values import arguments_of, load_blobs
from ashore.errors import AshoreError, GraphError, NotFound, WrongArgument, user_line
from ashore.events import Event, FileUse, text_path
from ashore.files import File
from ashore.graph import Graph, Node
from ashore.ids import NO_KEY, RunId
from ashore.postmortem import look_at
from ashore.questions.deriving import started_in
from ashore.questions.facts import Facts, Invocation
from ashore.questions.reading import on_record, recorded_of
from ashore.questions.why import SHORT, calls_of
from ashore.runs import Run
from ashore.starting import prepared_again, wired
from ashore.targets import work_of_target
from ashore.works import Step, Work


@dataclass(frozen=True, slots=True)
class Again:
    """A call that can be made once more."""

    work: Work[Any, Any]
    arguments: dict[str, Any]
    supplied: Mapping[str, Any] = field(default_factory=dict)
    """Resources and secrets."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which call is meant."""

    step: str | Step[Any, Any]
    invocation: str | None = None
    """Hex; None: the only one of the step, or the only one that failed."""
    element: int | None = None
    """Of a fan-out; None: the first that failed."""

    @property
    def name(self) -> str:
        return self.step if isinstance(self.step, str) else self.step.name


async def debug_call(run: Run[Any], chosen: Chosen, work: Work[Any, Any] | None, *, effects: str) -> Any:
    """See `StepOfRun.debug`."""
    again = await checked_call(run, chosen, work, effects=effects)
    try:
        return await called(again)
    except Exception as error:
        look_at(error)
        raise


async def checked_call(run: Run[Any], chosen: Chosen, work: Work[Any, Any] | None, *, effects: str) -> Again:
    """The recorded call, ready to be made once more. Raises what stands in the way of it."""
    if effects not in ("hold", "run"):
        raise WrongArgument(f"debug(effects={effects!r})", where=user_line(), mend='There are effects="hold" and effects="run"')
    if isinstance(work, Step):
        chosen = replace(chosen, step=work)
    again = await call_again(run, chosen, work if work is None or work.name == run.pipeline else None)
    policy = again.work.definition.options.policy
    if policy is not None and policy.effects and effects != "run":
        what = f"{again.work.name} acts on the world (effects=True), and would do it once more"
        raise GraphError(what, where=f"{again.work.file}:{again.work.line}", mend='Say debug(effects="run") if that is meant')
    return replace(again, supplied=await _supplied(run, again.work))


async def call_again(run: Run[Any], chosen: Chosen, work: Work[Any, Any] | None = None) -> Again:
    """The recorded call with its arguments, each loaded anew. Raises `NotFound`, `Missing`, `GraphError`."""
    async with on_record(run) as (past, access):
        await access.fresh()
        recorded = await recorded_of(access.log, past.id)
        started = started_in(recorded)
        work = work or run._work or work_of_target(started.target, access.root)
        facts = Facts(recorded.events)
        one = _the_one(facts, chosen, past.id)
        graph = wired(prepared_again(work, started))
        if graph.body is not None:
            return Again(_step_of(work, chosen), await _rebuilt(facts, one, access))
        node = graph.by_invocation.get(one.call.invocation)
        if node is None:
            what = (
                f"{work.name} does not ask for this call of {one.name} any more: its code has changed since run {past.id[:SHORT]}"
            )
            raise GraphError(what, where=f"{work.file}:{work.line}", mend="Go back to the code of then: `ashore code` shows it")
        arguments = await _arguments(graph, node, one, (past.id, recorded.events, access, chosen.element))
        return Again(chosen.step if isinstance(chosen.step, Step) else node.work, arguments)


def _the_one(facts: Facts, chosen: Chosen, run: str) -> Invocation:
    found: list[Invocation] = calls_of(list(facts), chosen.name, run)
    if chosen.invocation is not None:
        found = [one for one in found if one.call.invocation.hex() == chosen.invocation]
    failed = [one for one in found if one.state == "failed"]
    if len(found) > 1 and len(failed) != 1:
        what = (
            f"{chosen.name} was called {len(found)} times in run {run[:SHORT]}, and {len(failed) or 'none'} of these calls failed"
        )
        raise NotFound(what, mend=f'Choose one in the catalogue: await run["{chosen.name}"][0].debug()')
    return found[0] if len(found) == 1 else failed[0]


async def _arguments(
    graph: Graph, node: Node, one: Invocation, about: tuple[str, Sequence[Event], Access, int | None]
) -> dict[str, Any]:
    """The arguments of a call of a wired pipeline, exactly as the engine makes them."""
    run, events, access, element = about
    machine = Machine(graph)
    for event in events:
        if getattr(event, "invocation", None) != node.invocation:  # what became of the call itself is to be seen once more
            machine.receive(event)
    if not node.fan:
        return arguments_of(node, await load_blobs(access.artifacts, blobs_needed(node)))
    fanout = FanOut(node, RunId(run), await load_blobs(access.artifacts, blobs_needed(node)), None, 0.0)
    if fanout.taken:
        raise GraphError(f"the elements of {one.name} came from an async iterator: they are not there to be given again")
    fanout.open()
    index = _index(one, element)
    unit = Element(fanout, index, fanout.items(index), NO_KEY)
    return fanout.arguments(unit, await load_blobs(access.artifacts, blobs_needed(unit)))


def _index(one: Invocation, element: int | None) -> int:
    elements = one.elements
    if element is None and elements is not None and elements.failed:
        return min(elements.failed)
    if element is None:
        raise NotFound(f"{one.name} is a fan-out, and none of its elements failed", mend="Say which: debug(element=0)")
    if elements is None or (element not in elements.outputs and element not in elements.failed):
        raise NotFound(f"{one.name} has no element {element} on record")
    return element


def _step_of(pipeline: Work[Any, Any], chosen: Chosen) -> Work[Any, Any]:
    """A step that an `async def` pipeline called: itself, else by its name among what the pipeline's module has."""
    if isinstance(chosen.step, Step):
        return chosen.step
    name = chosen.name.rpartition("/")[2]
    for value in pipeline.fn.__globals__.values():
        if isinstance(value, Step) and value.name == name:
            return value
    what = f"the step {name} is no name in the module of {pipeline.name}"
    raise NotFound(what, where=user_line(), mend="Give the step itself: run[step]")


async def _rebuilt(facts: Facts, one: Invocation, access: Access) -> dict[str, Any]:
    """The arguments of a call that a body made, from its record. Raises `GraphError` where that does not say all."""
    call = one.call
    names = [given.argument for given in call.inputs] + [use.argument for use in call.files]
    composed = [name for name in names if "[" in name]
    if composed or call.fan:
        what = (
            f"{one.name} was called by an `async def` pipeline with results or files inside `{composed[0] if composed else 'each'}`"
        )
        mend = "Call step.fn(...) with what `await artifact.load()` gives: the record does not say how they stood together"
        raise GraphError(what, mend=mend)
    arguments: dict[str, Any] = {name: decode(data) for name, data in call.params}
    arguments |= {use.argument: _file(use) for use in call.files}
    for given in call.inputs:
        maker = facts.invocations[given.producer]
        outputs = getattr(maker.outcome, "outputs", ())
        values = await access.load(outputs if given.output < 0 else outputs[given.output : given.output + 1])
        arguments[given.argument] = tuple(values) if given.output < 0 else values[0]
    return arguments


def _file(use: FileUse) -> File:
    return File(text_path(use.path), use.size, use.mtime_ns, use.digest)


async def _supplied(run: Run[Any], work: Work[Any, Any]) -> Mapping[str, Any]:
    """The resources and secrets that the step asks for."""
    if not work.supplied:
        return {}
    if run._drives is None:
        what = f"{work.name} asks for resources, which a runtime gives"
        raise AshoreError(what, mend="Take the run from it: async with Runtime(resources={...}) as rt: run = await rt.run(id)")
    supplies = run._drives.means.supplies
    await supplies.check([work])
    await supplies.open(work)
    return supplies.given(work)


async def called(again: Again) -> Any:
    """What the plain function gives, on this task; nothing is recorded."""
    supplied = again.supplied
    positional, named = spread(again.work, again.arguments)
    if again.work.is_async:
        return await again.work.fn(*positional, **named, **supplied)
    context = copy_context()
    context.run(current_scope.set, INSIDE_STEP)
    return context.run(again.work.fn, *positional, **named, **supplied)
