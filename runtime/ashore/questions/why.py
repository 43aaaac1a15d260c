"""Why each call of a run ran, or did not have to: decided from the record alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias, overload

from ashore.errors import NotFound, did_you_mean
from ashore.events import StepRan, StepSkipped
from ashore.ids import CacheKey, RunId
from ashore.questions.changes import Change, changes_between
from ashore.questions.facts import Definition, Facts, Invocation, files_of
from ashore.refreshing import ALL

SHORT: Final = 8
_COMPARED: Final = 64
"""Earlier calls of a step that a call is compared with at most, the newest first."""

Verdict: TypeAlias = Literal["cached", "source", "uncached", "changed", "first", "again", "skipped", "waiting"]


class Made(NamedTuple):
    """An output that is on record under a key: by which run, and what it is."""

    run: RunId
    content: tuple[bytes, ...]
    renews: bool = False
    """Whether it was made to be served in the place of those before it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the questions about one run are answered from."""

    run: RunId
    facts: Facts
    earlier: Sequence[tuple[RunId, Facts]] = ()
    """Runs of the same pipeline before it, the newest first."""
    definitions: Mapping[bytes, Definition] = field(default_factory=dict)
    made: Mapping[CacheKey, Sequence[Made]] = field(default_factory=dict)
    """What was executed under its keys, by whichever run, in the order of the log."""

    @property
    def pipeline(self) -> str:
        return self.facts.started.pipeline if self.facts.started else ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one call ran, or did not. `str()` says it."""

    step: str
    scope: str
    invocation: str
    """Hex."""
    state: str
    verdict: Verdict
    """cached: reused. source: plain parameters only, runs in every run. uncached: its step is never reused. changed: see `changes`.
    first: no earlier call is on record. again: though nothing changed. skipped, waiting: it has not run."""
    text: str
    """The reason in one line."""
    changes: tuple[Change, ...] = ()
    """Against the nearest earlier call, which is in run `against`."""
    against: str | None = None
    cached_from: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.scope}/{self.step}" if self.scope else self.step

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.text}", *(f"  {note}" for note in self.notes)])

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Why(Sequence[Reason]):
    """The reasons of a run, call by call. Printed, it is the answer; `why["fit"]` are those of one step."""

    def __init__(self, run: str, pipeline: str, reasons: Sequence[Reason]) -> None:
        self.run = run
        self.pipeline = pipeline
        self.reasons = tuple(reasons)

    @overload
    def __getitem__(self, place: int) -> Reason: ...
    @overload
    def __getitem__(self, place: slice | str) -> Why: ...
    def __getitem__(self, place: int | slice | str) -> Reason | Why:
        """A reason by its place, or a `Why` of one step by its name."""
        if isinstance(place, str):
            return Why(self.run, self.pipeline, calls_of(self.reasons, place, self.run))
        if isinstance(place, slice):
            return Why(self.run, self.pipeline, self.reasons[place])
        return self.reasons[place]

    def __len__(self) -> int:
        return len(self.reasons)

    def __str__(self) -> str:
        return "\n".join([f"run {self.run[:SHORT]} of {self.pipeline}", *(f"  {line}" for line in self._lines())])

    def _lines(self) -> Iterator[str]:
        width = max((len(reason.name) for reason in self.reasons), default=0)
        for reason in self.reasons:
            yield f"{reason.name.ljust(width)}  {reason.text}"
            for note in reason.notes:
                yield f"{' ' * width}  {note}"

    def __repr__(self) -> str:
        return str(self)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"run": self.run, "pipeline": self.pipeline, "steps": [reason.record() for reason in self.reasons]}


def why(record: Record, step: str | None = None) -> Why:
    """The reasons of a run's calls, or of those of one step. Raises `NotFound` if it has no such step."""
    calls = calls_of(list(record.facts), step, record.run)
    return Why(record.run, record.pipeline, [reason(record, one) for one in calls])


def calls_of(found: Sequence[Any], step: str | None, run: str) -> list[Any]:
    """Those of one step, by its name, with the sub-run before it or without; None: all. Raises `NotFound` if there is none."""
    if step is None:
        return list(found)
    names = [one.call.step if isinstance(one, Invocation) else one.step for one in found]
    chosen = [one for one, name in zip(found, names, strict=True) if step in (name, one.name)]
    if not chosen:
        hint = did_you_mean(step, names) or (f"It has {', '.join(sorted(set(names)))}" if names else "It has called none")
        raise NotFound(f"run {run[:SHORT]} has no step {step!r}", mend=hint)
    return chosen


def reason(record: Record, one: Invocation) -> Reason:
    reused = _reused_from(one)
    if reused and not _executed(one):
        return _named(one, "cached", _cached(one, reused), cached_from=reused[0], notes=tuple(_rivals(record, one)))
    nearest = _nearest(record, one)
    verdict, text = _verdict(record, one, nearest)
    if nearest is None:
        return _named(one, verdict, text, notes=tuple(_rivals(record, one)))
    notes = (*_moved(verdict, nearest), *_same_output(one, nearest), *_rivals(record, one))
    changes = () if verdict == "again" else tuple(nearest.changes)
    return _named(one, verdict, text, changes=changes, against=nearest.run, notes=notes)


def _named(one: Invocation, verdict: Verdict, text: str, **more: Any) -> Reason:
    call = one.call
    return Reason(call.step, call.scope, call.invocation.hex(), one.state, verdict, text, **more)


# --- reuse ---


def _reused_from(one: Invocation) -> list[RunId]:
    """The runs whose outputs it has, each once, the one that most are from first."""
    if one.elements is not None:
        runs = list(one.elements.reused.values())
        return sorted(set(runs), key=lambda run: (-runs.count(run), run)) if len(set(runs)) > 1 else runs[:1]
    outcome = one.outcome
    return [outcome.reused_run] if isinstance(outcome, StepRan) and outcome.reused_run else []


def _executed(one: Invocation) -> int:
    """How many elements of a fan-out were run here."""
    if one.elements is None:
        return 0
    return len(one.elements.outputs) - len(one.elements.reused) + len(one.elements.failed)


def _cached(one: Invocation, runs: Sequence[RunId]) -> str:
    source = f"run {runs[0][:SHORT]}" + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
    if one.elements is None:
        return f"cached from {source}"
    count = len(one.elements.outputs)
    return f"cached from {source}: {'its one element' if count == 1 else f'all {count} elements'}"


def _rivals(record: Record, one: Invocation) -> Iterator[str]:
    """Several outputs of one key: the step does not always give the same."""
    made = record.made.get(one.outcome.key, ()) if isinstance(one.outcome, StepRan) else ()
    if len({each.content for each in made}) > 1:
        runs = ", ".join(dict.fromkeys(each.run[:SHORT] for each in made))
        renewed = [each.run[:SHORT] for each in made if each.renews]
        served = f"that of run {renewed[-1]} is served, which renewed it" if renewed else "the first one is served"
        yield f"its key has {len({each.content for each in made})} different outputs (runs {runs}): {served}"


# --- what ran ---


class _Nearest(NamedTuple):
    """The earlier call that a call is most like."""

    run: RunId
    one: Invocation
    changes: list[Change]


def _nearest(record: Record, one: Invocation) -> _Nearest | None:
    """The earlier call of the step with the fewest changes; of equals one of the same sub-run, then the newest."""
    best: _Nearest | None = None
    best_rank = (0, False)
    for run, facts, earlier in _candidates(record, one):
        changes = changes_between(one, record.facts, earlier, facts, record.definitions)
        rank = (len(changes), earlier.call.scope != one.call.scope)
        if best is None or rank < best_rank:
            best, best_rank = _Nearest(run, earlier, changes), rank
    return best


def _candidates(record: Record, one: Invocation) -> Iterator[tuple[RunId, Facts, Invocation]]:
    """Earlier calls of the step: first the same call (by name and arguments), in each run, then others."""
    left = _COMPARED
    for run, facts in record.earlier:
        same = facts.invocations.get(one.call.invocation)
        others = [other for other in facts.of(one.call.step) if other is not same]
        for earlier in ([same] if same else []) + others[: max(left, 1)]:
            if earlier.call.fan == one.call.fan:
                yield run, facts, earlier
                left -= 1
        if left <= 0:
            return


def _verdict(record: Record, one: Invocation, nearest: _Nearest | None) -> tuple[Verdict, str]:
    if isinstance(one.outcome, StepSkipped):
        return "skipped", f"{_skipped(record, one.outcome)}{_against(nearest)}"
    if one.state in ("waiting", "running"):
        return "waiting", f"{one.state}{_against(nearest)}"
    if one.state != "failed" and not one.key:
        return _never_reused(one)
    if nearest is None:
        return "first", f"ran: no earlier run of {record.pipeline} on record has called it"
    if nearest.changes:
        return "changed", f"ran{_part(one)}: {_told(nearest)}"
    return _unchanged(record, one, nearest)


def _skipped(record: Record, outcome: StepSkipped) -> str:
    names = [record.facts.invocations[cause].name for cause in outcome.because if cause in record.facts.invocations]
    if names:
        return f"skipped: {', '.join(dict.fromkeys(names))} failed"
    return "cancelled with the run while it was under way" if outcome.was_running else "skipped: the run was cancelled"


def _never_reused(one: Invocation) -> tuple[Verdict, str]:
    if one.call.inputs or files_of(one):
        return "uncached", "ran: it says cache=False"
    return "source", "ran: a source (only plain parameters), runs in every run; cache=True would reuse it"


def _against(nearest: _Nearest | None) -> str:
    """For a call that has not run: what it is nearest to."""
    if nearest is None:
        return ""
    if not nearest.changes:
        return f"; nothing changed since run {nearest.run[:SHORT]}"
    return f"; {_told(nearest)}"


def _told(nearest: _Nearest) -> str:
    return f"{'; '.join(map(str, nearest.changes))} (since run {nearest.run[:SHORT]})"


def _part(one: Invocation) -> str:
    """How many elements of a fan-out ran, where others did not have to."""
    ran = _executed(one)
    if one.elements is None or not one.elements.reused:
        return ""
    return f" for {ran} of {ran + len(one.elements.reused)} elements, the others are cached"


def _unchanged(record: Record, one: Invocation, nearest: _Nearest) -> tuple[Verdict, str]:
    earlier, run = nearest.one, nearest.run[:SHORT]
    if earlier.state in ("failed", "skipped", "cancelled", "running", "waiting"):
        how = "failed" if earlier.state == "failed" else f"was {earlier.state}"
        return "again", f"ran: nothing changed since run {run}, where it {how}"
    if one.elements is not None and earlier.elements is not None and one.elements.reused and earlier.elements.failed:
        return "again", f"ran{_part(one)}: nothing changed since run {run}, where they failed"
    if not earlier.key:
        return "again", f"ran: nothing changed since run {run}, but its result was not kept for reuse there"
    if one.key and earlier.key != one.key:
        return "changed", f"ran{_part(one)}: what stands beside its inputs in an argument changed (since run {run})"
    return "again", f"ran{_part(one)}: nothing changed since run {run}, {_not_used(record, one)}"


def _not_used(record: Record, one: Invocation) -> str:
    """Why what was there under its key was not served."""
    started = record.facts.started
    if started is not None and not {ALL, one.call.step}.isdisjoint(started.refresh):
        return "but a refresh of it was asked for"
    if isinstance(one.outcome, StepRan) and one.outcome.renews:
        return "but what was made then is too old to be served, or not there any more"
    return "but what it made there was not to be had or not to be used"


def _moved(verdict: Verdict, nearest: _Nearest) -> Iterator[str]:
    """Of a step that runs in every run: what changed all the same."""
    if verdict in ("source", "uncached") and nearest.changes:
        yield _told(nearest)


def _same_output(one: Invocation, nearest: _Nearest) -> Iterable[str]:
    """Early cut-off: a step that ran and made what it had made before stops the wave."""
    made = one.made()
    if made is not None and one.state == "done" and made == nearest.one.made():
        yield f"its output is the same as in run {nearest.run[:SHORT]}: what only depends on it need not run"
