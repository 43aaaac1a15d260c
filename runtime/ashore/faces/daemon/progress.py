"""How far a run is, folded from its events, for people to read. Elements of a fan-out count one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ashore.events import Adopted, ElementsRan, Event, Failure, FileUse, Held, Invoked, Redone, RunEnded, StepFailed, StepRan
from ashore.ids import InvocationId


@dataclass(slots=True)
class Progress:
    """What is known of one run so far."""

    steps: int = 0
    """Invocations that were asked for."""
    settled: int = 0
    """How many of them are over."""
    fresh: int = 0
    """Calls that ran and gave something: steps, and elements of fan-outs."""
    cached: int = 0
    """Calls whose outputs were reused."""
    left_out: list[tuple[str, Failure]] = field(default_factory=list)
    """Elements that failed, each with the file that it is about (or its number)."""
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    """Steps that failed, by name."""
    ended: RunEnded | None = None
    held: list[Held] = field(default_factory=list)
    """Why it rests until somebody answers."""
    names: dict[InvocationId, str] = field(default_factory=dict)
    """What the invocations are called."""
    _files: dict[tuple[InvocationId, int], str] = field(default_factory=dict)

    def receive(self, event: Event) -> None:
        """Fold in an event of the run."""
        match event:
            case Invoked():
                self._asked(event)
            case ElementsRan():
                self._elements(event)
            case StepRan():
                self._ran(event)
            case StepFailed():
                self.settled += 1
                self.failures.append((self.names.get(event.invocation, "a step"), event.failure))
            case Held():
                self.held.append(event)
            case Adopted() | Redone():
                self.held.clear()
                self.ended = None
            case RunEnded():
                self.ended = event
            case _:
                pass

    def _asked(self, event: Invoked) -> None:
        self.steps += len(event.calls)
        for call in event.calls:
            self.names[call.invocation] = call.step
            self._know_files(call.invocation, call.files if call.fan else ())

    def _ran(self, event: StepRan) -> None:
        self.settled += 1
        if event.elements < 0:  # a fan-out was counted element by element
            self.cached += bool(event.reused_run)
            self.fresh += not event.reused_run

    def _elements(self, event: ElementsRan) -> None:
        self.cached += len(event.reused)
        self.fresh += len(event.indices) - len(event.reused)
        self._know_files(event.invocation, event.files)
        step = self.names.get(event.invocation, "an element")
        for index, failure in event.failed:
            self.left_out.append((self._files.get((event.invocation, index), f"{step}[{index}]"), failure))

    def _know_files(self, invocation: InvocationId, files: Iterable[FileUse]) -> None:
        """Elements that are files are called by them."""
        for use in files:
            index = _index_of(use)
            if index is not None:
                self._files[invocation, index] = use.path


def _index_of(use: FileUse) -> int | None:
    """12 of "file[12]"."""
    _, bracket, number = use.argument.removesuffix("]").rpartition("[")
    return int(number) if bracket and number.isdecimal() else None
