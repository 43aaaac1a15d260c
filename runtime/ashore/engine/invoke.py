"""One attempt of one step: its arguments loaded, the function called, the result checked and dumped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from functools import lru_cache
from typing import Any, NamedTuple

from ashore.calls import current_scope
from ashore.engine.fanout import Element
from ashore.engine.hiding import Hiding
from ashore.engine.looking import holds_new_files
from ashore.engine.means import Means
from ashore.engine.units import Unit, node_of
from ashore.engine.values import Blobs, Large, arguments_of, dump_result
from ashore.errors import NestedCall, StepError
from ashore.events import Output
from ashore.files import File
from ashore.graph import FileRef
from ashore.parameters import conforms
from ashore.works import Work


class InsideStep:
    """The scope of a step's body: a step called there is an error."""

    def called(self, bound: Any) -> Any:
        name = bound.work.name
        raise NestedCall(
            f"{name}(...) was called inside a step: a step's body is plain Python, so call {name}.fn(...) there; "
            f"to have {name} recorded and cached, call it in the pipeline and pass its handle on"
        )


INSIDE_STEP = InsideStep()


class Done(NamedTuple):
    """What a worker thread brings back."""

    outputs: tuple[Output | Large, ...]
    error: BaseException | None
    started: float
    ended: float


async def call_inline(unit: Unit, blobs: Blobs, means: Means) -> tuple[Output | Large, ...]:
    """Call an `async def` step on this task. Raises what it raises, and `MaterializeError` for what cannot be kept."""
    node = node_of(unit)
    work = node.work
    files = files_of(unit)
    if files:
        await means.ports.workers.run(_check, means, files)
    arguments = arguments_for(unit, blobs)
    if work.is_simple and not work.supplied:
        result = await work.fn(**arguments)
    else:
        await means.supplies.open(work)
        positional, named = spread(work, arguments)
        result = await work.fn(*positional, **named, **means.supplies.given(work))
    if gives_files(work) and holds_new_files(result):
        result = await means.ports.workers.run(means.looker.settle, result)
    if files:
        await means.ports.workers.run(_check, means, files)
    return kept(work, result, means.supplies.hiding)


def run_blocking(unit: Unit, blobs: Blobs, means: Means, context: Context) -> Done:
    """Call a `def` step on this worker thread. Never raises: whatever happened is in what it returns."""
    clock = means.ports.clock
    started = clock.now()
    try:
        outputs = context.run(_call, unit, blobs, means)
    except BaseException as error:  # noqa: BLE001  # SystemExit and the like are this attempt's failure, not the thread's
        return Done((), error, started, clock.now())
    return Done(outputs, None, started, clock.now())


def _call(unit: Unit, blobs: Blobs, means: Means) -> tuple[Output | Large, ...]:
    node = node_of(unit)
    work = node.work
    files = files_of(unit)
    _check(means, files)
    current_scope.set(INSIDE_STEP)
    positional, named = spread(work, arguments_for(unit, blobs))
    result = work.fn(*positional, **named, **means.supplies.given(work))
    if gives_files(work):
        result = means.looker.settle(result)
    _check(means, files)
    return kept(work, result, means.supplies.hiding)


def kept(work: Work[Any, Any], result: Any, hiding: Hiding) -> tuple[Output | Large, ...]:
    """The result in its stored form. What cannot be stored is not thrown away: the error has it as `.value`."""
    try:
        if work.returns is not None and not conforms(work.returns, result):
            raise StepError(
                f"{work.name} is annotated to return {_name(work.returns)}, but returned {type(result).__name__} "
                f"({work.file}:{work.line}): mend the one or the other"
            )
        outputs = tuple(dump_result(work, result))
        if work.supplied:
            hiding.refuse(work, outputs)
    except Exception as error:
        with suppress(Exception):  # a materializer's own class may refuse attributes
            error.value = result  # type: ignore[attr-defined]  # documented: what the step computed
        raise
    return outputs


def arguments_for(unit: Unit, blobs: Blobs) -> dict[str, Any]:
    if type(unit) is Element:
        return unit.fanout.arguments(unit, blobs)
    return arguments_of(unit, blobs)


def files_of(unit: Unit) -> Sequence[File]:
    """The files among its arguments, as they were looked at."""
    node = node_of(unit)
    if not node.has_files and type(unit) is not Element:
        return ()
    files = [
        source.file
        for argument in node.arguments
        if argument.each is None
        for source in argument.sources
        if type(source) is FileRef
    ]
    if type(unit) is Element:
        files.extend(unit.files)
    return files


def _check(means: Means, files: Sequence[File]) -> None:
    for file in files:
        means.looker.check(file)


def spread(work: Work[Any, Any], arguments: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Arguments by name as the function takes them: positional-only ones and *args first, **kwargs merged."""
    if work.is_simple:
        return (), arguments
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in work.parameters:
        value = arguments[parameter.name]
        if parameter.kind is parameter.kind.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.kind.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is parameter.kind.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    return positional, named


@lru_cache(maxsize=4096)
def gives_files(work: Work[Any, Any]) -> bool:
    """Whether a step's result may hold files: its annotation says so, or it has none."""
    return work.returns is None or "File" in str(work.returns)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
