"""The code that ran: each step's own, with all that it reaches, as it stood when it was fingerprinted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ashore.questions.facts import Definition
from ashore.questions.why import SHORT, calls_of


@dataclass(frozen=True, slots=True)
class StepCode:
    """The code of one step. `str()` is the text."""

    step: str
    role: str
    file: str
    line: int
    code: str
    """Its fingerprint, in hex."""
    sources: Mapping[str, str]
    """Source by part: "code" is the step's own, "helper clean.normalize", "constant RATE" ... what it reaches."""
    places: Mapping[str, str]
    """Where each part stands: "clean.py:10-14"."""

    @property
    def name(self) -> str:
        return self.step

    def __str__(self) -> str:
        head = f"# {self.role} {self.step}, {self.file}:{self.line}, fingerprint {self.code[:SHORT]}"
        if not self.sources:
            return f"{head}\n# its sources are not on record\n"
        return "\n".join([head, *(self._part(name, text) for name, text in self.sources.items())])

    def _part(self, name: str, text: str) -> str:
        place = f" ({self.places[name]})" if self.places.get(name) else ""
        return f"\n# {name}{place}\n{text.rstrip()}"

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        parts = {name: {"place": self.places.get(name, ""), "source": text} for name, text in self.sources.items()}
        return {"step": self.step, "role": self.role, "file": self.file, "line": self.line, "code": self.code, "parts": parts}


class Code(Sequence[StepCode]):
    """The code of a run's steps. Printed, it is the text; `code["fit"]` is that of one step."""

    def __init__(self, run: str, steps: Iterable[StepCode]) -> None:
        self.run = run
        self.steps = tuple(steps)

    def __getitem__(self, place: Any) -> Any:
        """By its place, or by the step's name."""
        if isinstance(place, str):
            return calls_of(self.steps, place, self.run)[0]
        return Code(self.run, self.steps[place]) if isinstance(place, slice) else self.steps[place]

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.steps))

    def __repr__(self) -> str:
        return str(self)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"run": self.run, "steps": [step.record() for step in self.steps]}


def code_told(run: str, definitions: Iterable[Definition], texts: Mapping[bytes, Mapping[str, str]]) -> Code:
    """The code of these definitions, with the sources of those that have some on record."""
    return Code(run, [_told(definition, texts.get(definition.code, {})) for definition in definitions])


def _told(definition: Definition, sources: Mapping[str, str]) -> StepCode:
    code = definition.code.hex()
    return StepCode(definition.step, definition.role, definition.file, definition.line, code, sources, definition.places)
