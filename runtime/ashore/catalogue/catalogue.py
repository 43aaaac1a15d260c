"""The catalogue: everything that ran, to be asked from any process, also while others run. It only reads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, overload

from ashore.catalogue.access import Access
from ashore.catalogue.answers import Answer
from ashore.catalogue.artifacts import Artifact, FileVersion
from ashore.catalogue.files import FileHistory, history_of
from ashore.catalogue.invocations import Invocation, invocations_of
from ashore.catalogue.naming import FILE_PREFIX, SHORT, artifact_name, id_range, listed, run_range
from ashore.catalogue.past import PastRun, PastRuns
from ashore.catalogue.projector import Freshness, Progress
from ashore.errors import NotFound
from ashore.handles import Handle
from ashore.works import Pipeline, Step, Work
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.index.base import MetadataIndex
from ashore_stores.keys import Position
from ashore_stores.logs.base import EventLog
from ashore_stores.ports import Ports

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LAST: Final = "@last"
_TAGGED: Final = "select run, invocation, output from tags where pipeline = ? and step = ? and tag = ? and is_current"
_LIMIT: Final = 20
_BROUGHT_ALONG: Final = 50_000
"""So many invocations at most come with a list of runs."""


class Runs(Generic[T_co]):
    """A question for runs: `await` it for the list, the newest first, or ask for the `last()`."""

    def __init__(self, access: Access, pipeline: str | None, state: str | None, limit: int) -> None:
        self._access = access
        self._pipeline = pipeline
        self._state = state
        self._limit = limit

    def __repr__(self) -> str:
        return f"<Runs of {self._pipeline or 'any pipeline'}: await it, or await .last()>"

    def __await__(self) -> Generator[Any, Any, PastRuns[T_co]]:
        return self._found(self._limit).__await__()

    async def last(self) -> PastRun[T_co]:
        """The newest. Raises `NotFound` if there is none."""
        found = await self._found(1)
        if not found:
            state = f" that is {self._state}" if self._state else ""
            raise NotFound(f"no run of {self._pipeline}{state} is on record" if self._pipeline else f"no run{state} is on record")
        return found[0]

    async def _found(self, limit: int) -> PastRuns[T_co]:
        await self._access.fresh()
        rows = await self._access.ask("runs", {"pipeline": self._pipeline, "state": self._state, "limit": limit})
        return await past_runs(self._access, rows)


class Catalogue:
    """What a home has on record. `async with` it, or close it by `aclose`."""

    def __init__(
        self,
        log: EventLog,
        artifacts: ArtifactStore,
        index: MetadataIndex,
        ports: Ports,
        *,
        spare: Callable[[], MetadataIndex] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`spare`: makes the index that is asked when `index` cannot be written. `close`: what is to be closed with it."""
        self._access = Access(log, artifacts, index, ports, spare)
        self._close = close

    def __repr__(self) -> str:
        return f"<Catalogue: {self._access.freshness}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._access.aclose()
        close, self._close = self._close, None
        if close is not None:
            await close()

    @property
    def freshness(self) -> Freshness:
        """How far the last answer saw, and what was found wrong with the index on the way."""
        return self._access.freshness

    # --- runs ---

    @overload
    def runs(self, pipeline: Pipeline[Any, Handle[T]], /, *, state: str | None = None, limit: int = _LIMIT) -> Runs[T]: ...
    @overload
    def runs(self, pipeline: str | None = None, /, *, state: str | None = None, limit: int = _LIMIT) -> Runs[Any]: ...
    def runs(self, pipeline: Any = None, /, *, state: str | None = None, limit: int = _LIMIT) -> Any:
        """The runs of a pipeline (itself, or its name), or all; in this state; so many at most; the newest first."""
        name: str | None = pipeline.name if isinstance(pipeline, Work) else pipeline
        return Runs(self._access, name, state, limit)

    async def run(self, id: str) -> PastRun[Any]:
        """One run, by its id or the beginning of it, or "@last". Raises `NotFound`."""
        return await find_run(self._access, id)

    # --- artifacts ---

    async def artifact(self, id: str) -> Artifact[Any] | FileVersion:
        """An artifact by its id or the beginning of it: "3fa9c1d2:0", "3fa9", "3fa9:0@7f3a", "file-3fa9".

        Where several runs made one of this name, the newest is meant. Raises `NotFound`.
        """
        await self._access.fresh()
        if id.startswith(FILE_PREFIX):
            return await self._file_version(id)
        name = artifact_name(id)
        rows = await self._access.ask("artifacts_like", name._asdict())
        invocations = {row["invocation"]: row["step"] for row in rows}
        if len(invocations) != 1:
            known = listed([f"{invocation.hex()[: len(id) + 2]} ({step})" for invocation, step in invocations.items()])
            raise NotFound(f"{id!r} may be any of {known}" if rows else f"no artifact {id!r} is on record")
        return Artifact(self._access, rows[0])

    @overload
    async def latest(
        self, pipeline: str | Work[Any, Any], step: Step[Any, Handle[T]], /, *, tag: str | None = None
    ) -> Artifact[T]: ...
    @overload
    async def latest(self, pipeline: str | Work[Any, Any], step: str, /, *, tag: str | None = None) -> Artifact[Any]: ...
    async def latest(self, pipeline: Any, step: Any, /, *, tag: str | None = None) -> Artifact[Any]:
        """What a step gave in the newest run of a pipeline that is done; with `tag`, what was tagged so last.

        Both by themselves, or by their names. Raises `NotFound` if there is none.
        """
        whose, name = _name(pipeline), _name(step)
        if tag is None:
            found: PastRun[Any] = await self.runs(whose, state="done").last()
            return found[name].out
        rows = (await self.sql(_TAGGED, (whose, name, tag))).rows
        if not rows:
            raise NotFound(f"nothing of {name} of {whose} is tagged {tag!r}", mend=f"ashore tag @last:{whose} {name} {tag}")
        ((run, invocation, output),) = rows
        (one,) = [one for one in (await self.run(run)).invocations if one.id == invocation]
        return one.outputs[output] if output >= 0 and one.elements is None else one.out

    async def _file_version(self, id: str) -> FileVersion:
        low, high = id_range(id.removeprefix(FILE_PREFIX))
        rows = await self._access.ask("files_like", {"low": low, "high": high})
        if len(rows) != 1:
            known = listed([f"{FILE_PREFIX}{row['id'].hex()[:SHORT]} ({row['path']})" for row in rows])
            raise NotFound(f"{id!r} may be any of {known}" if rows else f"no version of a file {id!r} is on record")
        return FileVersion(self._access, rows[0])

    async def file(self, path: str) -> FileHistory:
        """A file's versions, and what read them. The path as it was given, or its end. Raises `NotFound`."""
        await self._access.fresh()
        return await history_of(self._access, path)

    # --- anything ---

    async def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] = (), *, upto: int | None = None) -> Answer:
        """What one statement answers, over the views runs, steps, artifacts, edges, params, triggers and tags.

        It sees everything up to position `upto`, by default what is durable now, or says how far it is behind.
        Raises `BadQuery` for a statement that is wrong or would write.
        """
        freshness = await self._access.fresh(None if upto is None else Position(upto))
        return Answer(await self._access.query(query, params), freshness)

    async def rebuild(self, progress: Progress | None = None) -> Freshness:
        """Make the index anew from the whole log."""
        return await self._access.projector.rebuild(progress)


async def find_run(access: Access, id: str) -> PastRun[Any]:
    """One run, by its id or the beginning of it, or "@last". Raises `NotFound`."""
    if id == LAST:
        last: PastRun[Any] = await Runs(access, None, None, 1).last()
        return last
    low, high = run_range(id)
    await access.fresh()
    rows = await access.ask("runs_like", {"low": low, "high": high})
    if len(rows) != 1:
        ids = listed([f"{row['id'][: max(SHORT, len(id) + 2)]} ({row['pipeline']})" for row in rows])
        raise NotFound(f"{id!r} is the beginning of {len(rows)} runs: {ids}" if rows else f"no run {id!r} is on record")
    (run,) = await past_runs(access, rows)
    return run


def _name(work: Any) -> str:
    name: str = work.name if isinstance(work, Work) else work
    return name


async def past_runs(access: Access, rows: Sequence[Mapping[str, Any]]) -> PastRuns[Any]:
    """The runs of these rows, with their invocations as long as there are not too many in all."""
    numbers = [row["no"] for row in rows]
    brought: dict[int, list[Invocation[Any]]] = {}
    if len(numbers) > 1:
        counts = {row["run"]: row["steps"] for row in await access.ask("step_counts", {"runs": json.dumps(numbers)})}
        total, some = 0, []
        for number in numbers:
            total += counts.get(number, 0)
            if total <= _BROUGHT_ALONG:
                some.append(number)
        numbers = some
    if numbers:
        brought = await invocations_of(access, numbers)
    return PastRuns([PastRun(access, row, brought.get(row["no"])) for row in rows])
