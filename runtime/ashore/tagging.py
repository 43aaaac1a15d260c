"""What earlier runs made, as the input of another: by its place, or by a tag that somebody gave it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, overload

from ashore.catalogue import ALL_OUTPUTS, Artifact, NotFound, check_tag, of_stack
from ashore.definitions import Definition
from ashore.errors import GraphError, InternalError, user_line
from ashore.events import Tagged, encode
from ashore.handles import Handle
from ashore.ids import InvocationId, RunId
from ashore.ongoing import current
from ashore.runtime import Runtime, current_runtime
from ashore.works import Step, Work
from ashore_stores.logs.base import Batch

T = TypeVar("T")
D = TypeVar("D")

_NONE: Final[Any] = ...
"""No default. It can be recorded as an argument, and means nothing as a value."""


def _runtime() -> Runtime:
    runtime = current_runtime.get()
    if runtime is None:
        raise InternalError("latest(...) or tag(...) runs outside every runtime")
    return runtime


def _built_in(fn: Callable[..., Coroutine[Any, Any, Any]]) -> Step[Any, Any]:
    definition = Definition(fn, fn.__name__, {"cache": False}, is_pipeline=False)
    return Step(definition, definition.options)


def _steps() -> tuple[Step[Any, Any], Step[Any, Any]]:
    async def latest(pipeline: str, step: str, tag: str | None, default: Any) -> Any:
        """Find what a step of earlier runs gave, and give it again."""
        async with of_stack(_runtime().stack, owned=False) as catalogue:
            try:
                artifact = await catalogue.latest(pipeline, step, tag=tag)
            except NotFound:
                if default is _NONE:
                    raise
                return default
            return await artifact.load()

    async def tag(value: Any, name: str, step: str, invocation: str, output: int) -> None:
        """Give what a step of this run made a name."""
        runtime, run = _runtime(), RunId(current().run)
        (pipeline,) = [one.pipeline for one in runtime.running() if one.id == run]
        stack = runtime.stack
        named = InvocationId(bytes.fromhex(invocation))
        event = Tagged(name, pipeline, step, run, named, output, stack.ports.clock.now())
        await stack.log.durable(stack.log.queue(Batch(encode([event]), 1)))

    return _built_in(latest), _built_in(tag)


_LATEST, _TAG = _steps()


@overload
def latest(pipeline: str | Work[Any, Any], step: Step[Any, Handle[T]], /, *, tag: str | None = None) -> Handle[T]: ...
@overload
def latest(
    pipeline: str | Work[Any, Any], step: Step[Any, Handle[T]], /, *, tag: str | None = None, default: D
) -> Handle[T | D]: ...
@overload
def latest(pipeline: str | Work[Any, Any], step: str, /, *, tag: str | None = None, default: Any = ...) -> Handle[Any]: ...
def latest(pipeline: Any, step: Any, /, *, tag: str | None = None, default: Any = _NONE) -> Handle[Any]:
    """What a step gave in the newest run of a pipeline that is done; with `tag`, what was tagged so last.

    A handle: it is looked up once in each run, as a source is, and what it found is on record; a resumed run sees the same. If
    there is nothing, it is `default` (a plain value), or fails with `NotFound`.
    """
    whose, name = (work.name if isinstance(work, Work) else work for work in (pipeline, step))
    handle: Handle[Any] = _LATEST(whose, name, tag, default)
    return handle


@overload
def tag(what: Handle[Any], name: str) -> Handle[None]: ...
@overload
def tag(what: Artifact[Any], name: str) -> Coroutine[Any, Any, None]: ...
def tag(what: Any, name: str) -> Any:
    """Give what a step made a name, durable; the last one of a step that got it has it.

    Of an artifact on record, await it: `await tag(run[fit].out, "champion")`. In a pipeline, of a handle: it is tagged once it is
    there, in that run. Raises `WrongArgument` for what is no name.
    """
    if not isinstance(what, Handle):
        return what.tag(name)
    what.claim()
    check_tag(name, user_line())
    if what.node is None:
        raise GraphError(
            f"tag({what!r}, {name!r}) was called outside every pipeline, where that has made nothing yet",
            mend="Call it in the pipeline, or tag what a run has made: await tag(run[step].out, name)",
        )
    work = what.bound.work
    output = what.output if what.output is not None else ALL_OUTPUTS if work.outputs is not None else 0
    handle: Handle[None] = _TAG(what, name, work.name, what.node.invocation.hex(), output)
    return handle
