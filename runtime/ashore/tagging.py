"""What earlier runs made, as the input of another: by its place, or by a tag that somebody gave it."""

from __future__ import annotations

from typing import Any, Final, TypeVar, overload

from ashore.catalogue import Artifact, NotFound, of_stack
from ashore.definitions import Definition
from ashore.errors import InternalError
from ashore.handles import Handle
from ashore.runtime import current_runtime
from ashore.works import Step, Work

T = TypeVar("T")
D = TypeVar("D")

_NONE: Final[Any] = ...
"""No default. It can be recorded as an argument, and means nothing as a value."""


def _made() -> Step[Any, Any]:
    async def latest(pipeline: str, step: str, tag: str | None, default: Any) -> Any:
        """Find what a step of earlier runs gave, and give it again."""
        runtime = current_runtime.get()
        if runtime is None:
            raise InternalError("latest(...) runs outside every runtime")
        async with of_stack(runtime.stack, owned=False) as catalogue:
            try:
                artifact = await catalogue.latest(pipeline, step, tag=tag)
            except NotFound:
                if default is _NONE:
                    raise
                return default
            return await artifact.load()

    definition = Definition(latest, "latest", {"cache": False}, is_pipeline=False)
    return Step(definition, definition.options)


_LATEST: Final = _made()


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


async def tag(artifact: Artifact[Any], name: str) -> None:
    """Give an artifact of a run a name, durable: `await tag(run[fit].out, "champion")`. The last one of a step has it."""
    await artifact.tag(name)
