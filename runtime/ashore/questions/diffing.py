"""What differs between two runs, side by side: parameters, code, inputs, outputs, metrics, durations, versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final, Literal, TypeAlias, overload

from ashore.events import text_digest
from ashore.questions.changes import Change, code_changes, file_changes, input_changes, param_changes, shown, value_text
from ashore.questions.facts import Definition, Facts, Invocation, files_of
from ashore.questions.why import SHORT

_DIGEST_SHOWN: Final = len("sha256-") + SHORT
_SLOWER: Final = 1.5
"""How many times longer a step took in one run for that to be told of by itself ..."""
_SECONDS: Final = 0.1
"""... and how many seconds at least."""
_COLUMN: Final = 40
"""Characters of a column, at most."""

Kind: TypeAlias = Literal["run", "param", "file", "version", "calls", "code", "input", "output", "metric", "duration", "state"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    run: str
    state: str
    facts: Facts
    environment: Mapping[str, str] = field(default_factory=dict)
    """Python, the platform, the commit, and each installed distribution's version."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing, as it is in both runs."""

    kind: Kind
    step: str
    """The call that it is about; "" is the run itself."""
    name: str
    left: Any
    right: Any
    is_equal: bool
    text: str = ""
    """What changed, where the two values do not say it by themselves."""
    invocation: str = ""
    """Of the call, in hex: the left one's, if there is one."""

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}".strip() if self.kind not in ("run", "version", "duration") else self.name or self.kind

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Diff(Sequence[Difference]):
    """The differences of two runs, and what is equal if that was asked for. Printed, they stand side by side."""

    def __init__(self, left: str, right: str, rows: Iterable[Difference]) -> None:
        self.left = left
        self.right = right
        self.rows = tuple(rows)

    @overload
    def __getitem__(self, place: int) -> Difference: ...
    @overload
    def __getitem__(self, place: slice | str) -> Diff: ...
    def __getitem__(self, place: int | slice | str) -> Difference | Diff:
        """A difference by its place, or those of one step, by its name, as another `Diff`."""
        if isinstance(place, str):
            return Diff(self.left, self.right, [row for row in self.rows if place in (row.step, row.step.rpartition("/")[2])])
        return Diff(self.left, self.right, self.rows[place]) if isinstance(place, slice) else self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        head = ("", f"run {self.left[:SHORT]}", f"run {self.right[:SHORT]}")
        cells = [head, *self._cells()]
        first, second = (max(len(row[column]) for row in cells if row[1]) for column in (0, 1))
        lines = [f"{label.ljust(first)}  {left.ljust(second)}  {right}".rstrip() for label, left, right in cells]
        return "\n".join(lines if self.rows else [*lines, "nothing differs"])

    def _cells(self) -> Iterator[tuple[str, str, str]]:
        """Label and two columns of each line; a line of text is nothing but a label."""
        call = ""
        for row in self.rows:
            if row.invocation != call:
                call = row.invocation
                yield row.step, "", ""
            margin = "  " if row.step else ""
            if row.text:
                yield f"{margin}{row.text}", "", ""
            else:
                yield f"{margin}{row.label}", _cell(row), _cell(row, right=True)

    def __repr__(self) -> str:
        return str(self)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"left": self.left, "right": self.right, "differences": [row.record() for row in self.rows]}


def diff(left: Side, right: Side, definitions: Mapping[bytes, Definition], *, everything: bool = False) -> Diff:
    """The two runs side by side: only what differs, or `everything`."""
    rows = [*_runs(left, right), *_versions(left, right)]
    for one, other in pairs(left.facts, right.facts):
        call = one or other
        assert call is not None
        found = _calls((left.facts, one), (right.facts, other), definitions)
        rows += [replace(row, step=call.name, invocation=call.call.invocation.hex()) for row in found]
    return Diff(left.run, right.run, [row for row in rows if everything or not row.is_equal])


def pairs(left: Facts, right: Facts) -> Iterator[tuple[Invocation | None, Invocation | None]]:
    """The calls of two runs that stand for one another: the same call, else of the same step in the same order."""
    rest: dict[str, list[Invocation]] = {}
    for other in right:
        if other.call.invocation not in left.invocations:
            rest.setdefault(other.name, []).append(other)
    for one in left:
        same = right.invocations.get(one.call.invocation)
        others = rest.get(one.name, [])
        yield one, same or (others.pop(0) if others else None)
    for others in rest.values():
        for other in others:
            yield None, other


# --- the runs themselves ---


def _runs(left: Side, right: Side) -> Iterator[Difference]:
    started = [side.facts.started for side in (left, right)]
    for name in ("pipeline", "target", "key"):
        yield _row("run", name, *[(getattr(one, name) or None) if one else None for one in started])
    yield _row("run", "state", left.state, right.state)
    yield _duration(_took(left.facts), _took(right.facts))
    yield from _params(*[dict(one.params) if one else {} for one in started])


def _took(facts: Facts) -> float | None:
    return facts.ended.at - facts.started.at if facts.started and facts.ended else None


def _versions(left: Side, right: Side) -> Iterator[Difference]:
    for name in dict.fromkeys((*left.environment, *right.environment)):
        yield _row("version", name, left.environment.get(name), right.environment.get(name))


# --- calls ---


def _calls(
    left: tuple[Facts, Invocation | None], right: tuple[Facts, Invocation | None], definitions: Mapping[bytes, Definition]
) -> Iterator[Difference]:
    facts, one = left
    others, other = right
    if one is None or other is None:
        yield _row("calls", "", int(one is not None), int(other is not None))
        return
    yield from _changed("code", _codes(one, other, definitions), one.call.code.hex(), other.call.code.hex())
    yield from _params(dict(one.call.params), dict(other.call.params))
    yield from _changed("file", file_changes(files_of(one), files_of(other)))
    yield from _changed("input", input_changes(facts.taken(one), others.taken(other), others.producers(other)))
    yield from _outputs(one.made(), other.made())
    yield from _metrics(one, other)
    is_same_state = one.state.replace("cached", "done") == other.state.replace("cached", "done")
    yield Difference("state", "", "", one.state, other.state, is_same_state)
    yield _duration(_seconds(one), _seconds(other))


def _codes(one: Invocation, other: Invocation, definitions: Mapping[bytes, Definition]) -> list[Change]:
    found = list(code_changes(definitions.get(one.call.code), definitions.get(other.call.code)))
    if one.call.code != other.call.code and not found:
        found = [Change("code", "", one.call.code.hex(), other.call.code.hex(), "changed in a part that is not on record")]
    return found


def _duration(left: float | None, right: float | None) -> Difference:
    return Difference("duration", "", "took", left, right, not _is_longer(left, right))


def _params(left: Mapping[str, bytes], right: Mapping[str, bytes]) -> Iterator[Difference]:
    changed = {change.name for change in param_changes(left, right)}
    for name in dict.fromkeys((*left, *right)):
        sides = shown(left.get(name)), shown(right.get(name))
        yield Difference("param", "", name, sides[0], sides[1], name not in changed)


def _changed(kind: Kind, changes: Iterable[Change], *same: Any) -> Iterator[Difference]:
    """A difference for each change; if there is none and it has a value that is the same, that."""
    found = list(changes)
    for change in found:
        yield Difference(kind, "", change.name if kind != "code" else "", change.before, change.after, False, change.text)
    if not found and same:
        yield Difference(kind, "", "", same[0], same[1], True)


def _outputs(left: Sequence[bytes] | None, right: Sequence[bytes] | None) -> Iterator[Difference]:
    if left is None and right is None:
        return
    if left is None or right is None or len(left) == len(right) == 1:
        yield _row("output", "", _content(left), _content(right))
        return
    differing = sum(one != other for one, other in zip_longest(left, right))
    text = f"output: {differing} of {max(len(left), len(right))} differ" if differing else ""
    yield Difference("output", "", "", _content(left), _content(right), not differing, text)


def _metrics(one: Invocation, other: Invocation) -> Iterator[Difference]:
    """The numbers that both reported; a call that was reused reported them in the run that made its outputs."""
    if "cached" in (one.state, other.state):
        return
    for name in dict.fromkeys((*one.metrics, *other.metrics)):
        yield _row("metric", name, one.metrics.get(name), other.metrics.get(name))


def _content(contents: Sequence[bytes] | None) -> str | None:
    if contents is None:
        return None
    return text_digest(contents[0]) if len(contents) == 1 else f"{len(contents)} outputs"


def _seconds(one: Invocation) -> float | None:
    """How long it took; None if it was reused or has not ended."""
    started, ended = (getattr(one.outcome, name, None) for name in ("started", "ended"))
    return None if started is None or ended is None or one.state == "cached" else ended - started


def _is_longer(left: float | None, right: float | None) -> bool:
    """Whether one took so much longer that it is told of."""
    if left is None or right is None:
        return False
    low, high = sorted((left, right))
    return high - low >= _SECONDS and high >= low * _SLOWER


def _row(kind: Kind, name: str, left: Any, right: Any) -> Difference:
    return Difference(kind, "", name, left, right, left == right)


def _cell(row: Difference, *, right: bool = False) -> str:
    value = row.right if right else row.left
    if value is None:
        return "-"
    if row.kind == "duration":
        return f"{value:.3g} s"
    text = value if isinstance(value, str) else value_text(value)
    if text.startswith("sha256-"):
        return text[:_DIGEST_SHOWN]
    return text if len(text) <= _COLUMN else f"{text[: _COLUMN - 3]}..."
