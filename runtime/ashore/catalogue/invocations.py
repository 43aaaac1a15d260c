"""What a past run did, call by call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, overload

from ashore.catalogue.access import Access
from ashore.catalogue.artifacts import ALL_OUTPUTS, Artifact, FileVersion
from ashore.catalogue.elements import Element, element_of
from ashore.catalogue.naming import SHORT, listed
from ashore.catalogue.showing import step_html, steps_html
from ashore.errors import NotFound, did_you_mean
from ashore.ids import InvocationId, RunId
from ashore.projection.texts import told
from ashore.records import EACH

if TYPE_CHECKING:
    from ashore.questions import Reason
    from ashore.works import Work

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Taken: TypeAlias = "Artifact[Any] | FileVersion"

_DIGITS: Final = re.compile(r"(\d+)")
_ELEMENT: Final = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True, slots=True)
class Elements:
    """How the elements of a fan-out ended."""

    count: int | None
    """None: it is not settled yet."""
    done: int
    cached: int
    failed: int
    skipped: int | None
    """How many of those that failed were left out."""


class Invocation(Generic[T_co]):
    """One call of a step in a run."""

    error: str | None
    location: str | None
    traceback: str | None

    def __init__(self, access: Access, row: Mapping[str, Any]) -> None:
        """`row`: as the question `steps_of` gives it."""
        self._access = access
        self._row = row
        self._further: list[Mapping[str, Any]] = []
        self._inputs: dict[str, Taken] = {}
        self.gone_over: dict[str, Invocation[Any]] = {}
        """Of a fan-out: whose elements it goes over, by argument."""
        self.no: int = row["no"]
        self.id: str = row["invocation"].hex()
        self.step: str = row["step"]
        self.scope: str = row["scope"]
        self.run: str = row["run"]
        self.state: str = row["state"]
        """waiting, running, done, cached, failed, skipped or cancelled."""
        self.params: dict[str, Any] = json.loads(row["params"])
        self.attempt: int | None = row["attempt"]
        self.ready: float | None = row["ready"]
        self.started: float | None = row["started"]
        self.ended: float | None = row["ended"]
        self.cached_from: str | None = row["cached_from"]
        """The run whose outputs it reuses."""
        self.because: str | None = row["because"]
        """The step whose failure or cancellation let it be skipped."""
        self.error, self.location, self.traceback = row["error"], row["location"], row["traceback"]
        self.code: str = row["code"].hex()
        self.cache_key: str | None = row["cache_key"].hex() if row["cache_key"] else None
        self.elements = _elements(row) if row["fan"] else None
        self.metrics: dict[str, float | None] = {}
        """The last value of each number that it reported (None: not a number); all of them are in the view `metrics`."""

    @property
    def waited(self) -> float | None:
        """Seconds between its last input and its start."""
        return None if self.started is None or self.ready is None else self.started - self.ready

    @property
    def took(self) -> float | None:
        """Seconds between its start and its end."""
        return None if self.started is None or self.ended is None else self.ended - self.started

    @property
    def short(self) -> str:
        return self.id[:SHORT]

    @property
    def outputs(self) -> tuple[Artifact[Any], ...]:
        """Its outputs, one by one; those of another run if they are reused."""
        if not self._row["outputs"]:
            return ()
        return tuple(self._artifact(row) for row in ({"output": 0}, *self._further))

    @property
    def out(self) -> Artifact[T_co]:
        """What it gave: its output, or all of them as one if it has several. Raises `NotFound` if it has none."""
        count = self._row["outputs"]
        if not count:
            why = self.error or (f"{self.because} before it" if self.because else "")
            raise NotFound(f"{self.step} of run {self.run[:SHORT]} has no output: it is {self.state}{f', {why}' if why else ''}")
        if count == 1 or self.elements is not None:
            return self._artifact({"output": 0})
        several = {"output": ALL_OUTPUTS, "digest": None, "size": None, "format": None, "type": None}
        return self._artifact(several)

    @property
    def inputs(self) -> dict[str, Taken]:
        """What it took, by argument: outputs of other invocations (as that run had them made or reused), and files."""
        return {argument: self._inputs[argument] for argument in sorted(self._inputs, key=_natural)}

    async def element(self, place: int) -> Element[Any]:
        """One element of a fan-out, by its place from 0 on. Raises `NotFound` if there is none."""
        return await element_of(self._access, self, place)

    async def left_out(self) -> dict[str, str]:
        """A fan-out's elements that failed, and how: each by the file that it is about, else as "step[12]"; in order."""
        if self.elements is None or not self.elements.failed:
            return {}
        failed = await self._access.failed_elements_of(RunId(self.run), InvocationId(self._row["invocation"]))
        files = {_index(name): taken.path for name, taken in self._inputs.items() if isinstance(taken, FileVersion)}
        return {files.get(index, f"{self.step}[{index}]"): told(failure)[0] or "" for index, failure in failed.items()}

    async def why(self) -> Reason:
        """Why it ran, or did not have to: see `Run.why`."""
        reason: Reason = await import_module("ashore.questions").why_call(self._access, self.run, self.id)
        return reason

    async def debug(
        self, code: Work[Any, Any] | None = None, /, *, element: int | None = None, effects: Literal["hold", "run"] = "hold"
    ) -> T_co:
        """Call the plain function once more, here, with the recorded inputs: see `StepOfRun.debug`."""
        questions = import_module("ashore.questions")
        run = await questions.past_run(self._access, self.run)
        value: T_co = await questions.debug_call(run, questions.Chosen(self.step, self.id, element), code, effects=effects)
        return value

    def _artifact(self, row: Mapping[str, Any]) -> Artifact[Any]:
        made = {"no": self._row["origin"] or self.no, "invocation": self._row["made_by"], "run": self.cached_from or self.run}
        made |= {"found_in": self.run, "found_as": self._row["invocation"]}
        return Artifact(self._access, {**self._row, **made, "kind": "reused" if self.cached_from else "made", **row})

    def _output(self, place: int) -> Artifact[Any] | None:
        if place == ALL_OUTPUTS or self.elements is not None or not self._row["outputs"]:
            return self.out if self._row["outputs"] else None
        return next((artifact for artifact in self.outputs if artifact.output == place), None)

    def _repr_html_(self) -> str:
        return step_html(self)

    def __repr__(self) -> str:
        took = "" if self.took is None else f" in {self.took:.3g} s"
        source = f" from run {self.cached_from[:SHORT]}" if self.cached_from else took
        error = f": {self.error}" if self.error else ""
        return f"<Invocation {self.short} of {self.step}: {self.state}{source}{error}>"


def _elements(row: Mapping[str, Any]) -> Elements:
    done, cached, failed = (row[f"elements_{state}"] or 0 for state in ("done", "cached", "failed"))
    return Elements(row["elements"], done, cached, failed, row["elements_skipped"])


class Invocations(Sequence[Invocation[T]], Generic[T]):
    """The invocations of one step in a run. Acts as its one element, else says how to choose."""

    def __init__(self, step: str, run: str, found: Sequence[Invocation[T]]) -> None:
        self._step = step
        self._run = run
        self._found = found

    @overload
    def __getitem__(self, place: int) -> Invocation[T]: ...
    @overload
    def __getitem__(self, place: slice) -> Invocations[T]: ...
    def __getitem__(self, place: int | slice) -> Invocation[T] | Invocations[T]:
        if isinstance(place, slice):
            return Invocations(self._step, self._run, self._found[place])
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Invocation[T]]:
        return iter(self._found)

    def __repr__(self) -> str:
        return repr(self._found[0]) if len(self) == 1 else f"<{len(self)} Invocations of {self._step} in run {self._run[:SHORT]}>"

    def _repr_html_(self) -> str:
        return step_html(self._found[0]) if len(self) == 1 else steps_html(self._found)

    def where(self, **params: Any) -> Invocations[T]:
        """Those with these parameters."""
        found = [one for one in self._found if all(name in one.params and one.params[name] == params[name] for name in params)]
        return Invocations(self._step, self._run, found)

    @property
    def one(self) -> Invocation[T]:
        """The only one. Raises `NotFound` otherwise."""
        if len(self._found) == 1:
            return self._found[0]
        if not self._found:
            raise NotFound(f"no invocation of {self._step} in run {self._run[:SHORT]} is like that")
        differing = listed([f"{self._step}({', '.join(f'{k}={v!r}' for k, v in one.params.items())})" for one in self._found])
        raise NotFound(
            f"{self._step} has {len(self)} invocations in run {self._run[:SHORT]}: {differing}",
            mend="Choose one by place, [0], or by parameter, .where(name=value)",
        )

    @property
    def out(self) -> Artifact[T]:
        """What its one element gave."""
        return self.one.out

    async def why(self) -> Reason:
        """Why its one element ran, or did not have to."""
        return await self.one.why()

    async def debug(
        self, code: Work[Any, Any] | None = None, /, *, element: int | None = None, effects: Literal["hold", "run"] = "hold"
    ) -> T:
        """Call the function of its one element once more, with the recorded inputs, and open pdb where it fails."""
        return await self.one.debug(code, element=element, effects=effects)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.one, name)


def _index(argument: str) -> int:
    """12 of "file[12]"; -1 if it is none of many."""
    found = _ELEMENT.search(argument)
    return int(found[1]) if found else -1


def _natural(argument: str) -> list[str | int]:
    """To sort by: "file[9]" before "file[10]"."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(argument)]


async def invocations_of(access: Access, runs: Sequence[int]) -> dict[int, list[Invocation[Any]]]:
    """The invocations of these runs (by number), in the order of the log, with their outputs and inputs."""
    params = {"runs": json.dumps(list(runs))}
    found: dict[int, list[Invocation[Any]]] = {number: [] for number in runs}
    by_number: dict[int, Invocation[Any]] = {}
    for row in await access.ask("steps_of", params):
        one: Invocation[Any] = Invocation(access, row)
        by_number[one.no] = one
        found[row["run_no"]].append(one)
    for row in await access.ask("outputs_of", params):
        by_number[row["no"]]._further.append(row)
    for row in await access.ask("metrics_of", params):
        by_number[row["no"]].metrics[row["name"]] = row["value"]
    for row in await access.ask("inputs_of", params):
        taken = by_number[row["source"]]._output(row["output"])
        if row["element"] == EACH:
            by_number[row["no"]].gone_over[row["argument"]] = by_number[row["source"]]
        if taken is not None:
            by_number[row["no"]]._inputs[row["argument"]] = taken
    for row in await access.ask("readings_of", params):
        by_number[row["no"]]._inputs[row["argument"]] = FileVersion(access, {**row, "id": row["file"]})
    return found


def chosen(step: str, run: str, invocations: Sequence[Invocation[Any]]) -> Invocations[Any]:
    """Those of one step. Raises `NotFound` if the run has none."""
    found = [one for one in invocations if one.step == step]
    if not found:
        names = sorted({one.step for one in invocations})
        hint = did_you_mean(step, names) or (f"It has {listed(names)}" if names else "It has called none so far")
        raise NotFound(f"run {run[:SHORT]} has no step {step!r}", mend=hint)
    return Invocations(step, run, found)
