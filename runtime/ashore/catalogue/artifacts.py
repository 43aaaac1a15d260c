"""Artifacts as the catalogue finds them: outputs of invocations, and versions of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar, cast

from ashore.catalogue.access import Access, Stored
from ashore.catalogue.naming import FILE_PREFIX, SHORT
from ashore.catalogue.showing import artifact_html, file_html
from ashore.errors import WrongArgument
from ashore.events import Output, Tagged, text_path
from ashore.ids import InvocationId, RunId

T_co = TypeVar("T_co", covariant=True)

ALL_OUTPUTS = -1
"""The `output` of the artifact that stands for all outputs of an invocation."""


def check_tag(name: Any, where: str = "") -> None:
    """Raise `WrongArgument` if this cannot be a tag."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise WrongArgument(f"{name!r} is no tag", where=where, mend='Write a word or a few: "champion"')


class _Place(NamedTuple):
    """Where an artifact is in the index and in the log."""

    step_no: int
    position: int
    invocation: InvocationId
    is_fan: bool


class Artifact(Generic[T_co]):
    """One output of an executed invocation. `await artifact.load()` gives its value."""

    def __init__(self, access: Access, row: Mapping[str, Any]) -> None:
        """`row`: as the named questions give artifacts."""
        self._access = access
        self._place = _Place(row["no"], row["position"], row["invocation"], bool(row["fan"]))
        self._found_in: RunId = row.get("found_in") or row["run"]
        self._found_as: InvocationId = row.get("found_as") or row["invocation"]
        self.step: str = row["step"]
        self.run: RunId = row["run"]
        """The run that made it."""
        self.output: int = row["output"]
        self.digest: str | None = f"sha256-{row['digest'].hex()}" if row["digest"] else None
        self.size: int | None = row["size"]
        self.format: str | None = row["format"]
        self.type: str | None = row["type"]
        self.made: float | None = row["made"]
        """When, in seconds since the epoch."""
        self.kind: str = row.get("kind") or "made"
        """How it was come upon: "made", or "reused" if that was by a run that only reused it."""

    @property
    def id(self) -> str:
        """ "<invocation>:<output>@<run>"."""
        return f"{self._place.invocation.hex()}:{self._output_text}@{self.run}"

    @property
    def short(self) -> str:
        """Its id as people write it. Means the newest of this name, where several runs made one."""
        return f"{self._place.invocation.hex()[:SHORT]}:{self._output_text}"

    @property
    def _output_text(self) -> str:
        return "*" if self.output == ALL_OUTPUTS else str(self.output)

    @property
    def is_one(self) -> bool:
        """Whether it is one value: neither all outputs of an invocation nor the elements of a fan-out."""
        return self.output != ALL_OUTPUTS and not self._place.is_fan

    def __repr__(self) -> str:
        size = "" if self.size is None else f", {self.size} bytes"
        return f"<Artifact {self.short} of {self.step} in run {self.run[:SHORT]}: {self.type or 'several outputs'}{size}>"

    def _repr_html_(self) -> str:
        return artifact_html(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    async def load(self) -> T_co:
        """Its value: of a fan-out the list of its elements, of a step with several outputs the tuple. Loaded anew each time."""
        if self._place.is_fan:
            return cast("T_co", await self._load_elements())
        outputs = await self._access.outputs_at(self._place.position)
        if self.output != ALL_OUTPUTS:
            outputs = outputs[self.output : self.output + 1]
        values = await self._access.load(outputs)
        value: Any = tuple(values) if self.output == ALL_OUTPUTS else values[0]
        return cast("T_co", value)

    async def stored(self) -> list[Stored]:
        """Its stored form, which needs no class: one part, or one for each output or element. Raises `Missing`, `Corrupt`."""
        if self._place.is_fan:
            outputs = [output for element in await self._elements() for output in element]
        else:
            made = await self._access.outputs_at(self._place.position)
            outputs = list(made if self.output == ALL_OUTPUTS else made[self.output : self.output + 1])
        return await self._access.stored(outputs)

    async def _elements(self) -> list[tuple[Output, ...]]:
        elements = await self._access.elements_of(self.run, self._place.invocation)
        if self.output != ALL_OUTPUTS and any(len(outputs) > 1 for outputs in elements):
            elements = [outputs[self.output : self.output + 1] for outputs in elements]
        return elements

    async def _load_elements(self) -> Any:
        elements = await self._elements()
        values = iter(await self._access.load([output for outputs in elements for output in outputs]))
        parts = [[next(values) for _ in outputs] for outputs in elements]
        return [tuple(part) if len(part) > 1 else part[0] for part in parts]

    async def tag(self, name: str) -> None:
        """Give it a name, durable: `latest(pipeline, step, tag=name)` is this one from now on. The last one of a step has it.

        The pipeline is that of the run that it was found in, whether that made or reused it.

        Raises `WrongArgument` for what is no name, `ReadOnly` where nothing can be written.
        """
        check_tag(name)
        rows = await self._access.query("select pipeline from runs where id = ?", (self._found_in,))
        ((pipeline,),) = rows.rows
        where = (pipeline, self.step, self._found_in, self._found_as, self.output)
        await self._access.record(Tagged(name, *where, self._access.now()))

    async def ancestors(self, run: str | None = None) -> list[Artifact[Any] | FileVersion]:
        """Everything that it came from, to any depth, the newest first, then files.

        Follows reuse to where a result was made. With `run` (an id): what that run, which made or reused it, gave in.
        """
        params = {"step": self._place.step_no, "run": await run_number(self._access, run)}
        found: list[Artifact[Any] | FileVersion] = [
            Artifact(self._access, row) for row in await self._access.ask("ancestors", params)
        ]
        return found + [FileVersion(self._access, row) for row in await self._access.ask("ancestor_files", params)]

    async def descendants(self, run: str | None = None) -> list[Artifact[Any]]:
        """Everything that came from it, to any depth, also where it was reused, the oldest first. With `run`: in that run."""
        output = max(self.output, 0)
        return await _descendants(self._access, {"step": self._place.step_no, "output": output, "file": None}, run)


class FileVersion:
    """A file as it was: a path and a content."""

    def __init__(self, access: Access, row: Mapping[str, Any]) -> None:
        self._access = access
        self._id: bytes = row["id"]
        self.path = text_path(row["path"])
        self.digest: str | None = f"sha256-{row['digest'].hex()}" if row["digest"] else None
        self.size: int = row["size"]
        self.version: int | None = row.get("version")
        """Its number among those that arrived at a trigger, if it did."""
        self.kind: str = row.get("kind") or "made"

    @property
    def id(self) -> str:
        return f"{FILE_PREFIX}{self._id.hex()}"

    @property
    def short(self) -> str:
        return f"{FILE_PREFIX}{self._id.hex()[:SHORT]}"

    def __repr__(self) -> str:
        return f"<FileVersion {self.short} {self.path!r}, {self.size} bytes>"

    def _repr_html_(self) -> str:
        return file_html(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileVersion) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    async def ancestors(self, run: str | None = None) -> list[Artifact[Any] | FileVersion]:
        """Nothing: it came from outside."""
        return []

    async def descendants(self, run: str | None = None) -> list[Artifact[Any]]:
        """Everything that came from this version, to any depth, the oldest first. With `run`: in that run."""
        return await _descendants(self._access, {"step": None, "output": 0, "file": self._id}, run)


async def _descendants(access: Access, params: Mapping[str, Any], run: str | None) -> list[Artifact[Any]]:
    rows = await access.ask("descendants", {**params, "run": await run_number(access, run)})
    return [Artifact(access, row) for row in rows]


async def run_number(access: Access, run: str | None) -> int | None:
    """The index's number of a run; -1, which no run has, for an id that it does not know."""
    if run is None:
        return None
    rows = await access.ask("runs_like", {"low": run, "high": run})
    return rows[0]["no"] if rows else -1
