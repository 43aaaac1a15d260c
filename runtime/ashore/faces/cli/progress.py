"""How a run goes, folded from its events and told as it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ashore.events import (
    Adopted,
    AttemptFailed,
    ElementsRan,
    Event,
    Failure,
    FileUse,
    Invoked,
    Redone,
    Reported,
    RunEnded,
    RunStarted,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
    text_path,
)
from ashore.faces.cli.terminal import DIM, GREEN, RED, YELLOW, Terminal
from ashore.faces.cli.texts import SHORT, attempt_line, duration, element_of, failure_line, plural, progress_text
from ashore.ids import InvocationId

STATE_COLOURS: Final = {
    "done": GREEN,
    "cached": DIM,
    "failed": RED,
    "skipped": YELLOW,
    "cancelled": YELLOW,
    "held": YELLOW,
    "running": "",
    "waiting": DIM,
}
_RUNNING_SHOWN: Final = 4
"""Names of running steps that go into the status line."""


@dataclass(slots=True)
class Progress:
    """What is known of one run so far. Elements of a fan-out count one by one."""

    started: RunStarted | None = None
    ended: RunEnded | None = None
    steps: int = 0
    settled: int = 0
    ran: int = 0
    cached: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    names: dict[InvocationId, str] = field(default_factory=dict)
    failures: dict[InvocationId, StepFailed] = field(default_factory=dict)
    running: dict[InvocationId, None] = field(default_factory=dict)
    left_out: list[tuple[InvocationId, str, Failure]] = field(default_factory=list)
    """Elements that failed, each by the file that it is about, or its number."""
    _elements: dict[InvocationId, Counter[str]] = field(default_factory=dict)
    _files: dict[tuple[InvocationId, int], str] = field(default_factory=dict)

    gone: dict[InvocationId, str] = field(default_factory=dict)
    """How far steps say they are."""

    def name(self, invocation: InvocationId) -> str:
        return self.names.get(invocation) or invocation.hex()[:SHORT]

    def elements(self, invocation: InvocationId) -> Counter[str]:
        """How many elements of a fan-out "ran", are "cached" or "failed"."""
        return self._elements.setdefault(invocation, Counter())

    def counts(self) -> dict[str, int]:
        counts = {"ran": self.ran, "cached": self.cached, "failed": self.failed, "skipped": self.skipped}
        return counts | {"cancelled": self.cancelled}

    def receive(self, event: Event) -> None:
        """Fold in an event of the run."""
        match event:
            case RunStarted():
                self.started = event
            case Invoked():
                self.steps += len(event.calls)
                self.names.update((call.invocation, call.step) for call in event.calls)
                self._know_files_of(event)
            case StepStarted():
                self.running[event.invocation] = None
            case ElementsRan():
                self._receive_elements(event)
            case Reported():
                self._receive_report(event)
            case StepRan() | StepFailed() | StepSkipped():
                self._settle(event)
            case RunEnded():
                self.ended = event
            case _:
                pass

    def _know_files_of(self, event: Invoked) -> None:
        for call in event.calls:
            self._know_files(call.invocation, call.files if call.fan else ())

    def _receive_report(self, event: Reported) -> None:
        if event.progress is not None and event.element < 0:
            self.gone[event.invocation] = f" {progress_text(event.progress)}"

    def _settle(self, event: StepRan | StepFailed | StepSkipped) -> None:
        self.settled += 1
        self.running.pop(event.invocation, None)
        if isinstance(event, StepSkipped):
            self.skipped += not event.was_running
            self.cancelled += event.was_running
        elif isinstance(event, StepFailed):
            self.failed += 1
            self.failures[event.invocation] = event
        elif event.elements < 0:  # a fan-out was counted element by element
            self.cached += bool(event.reused_run)
            self.ran += not event.reused_run

    def _receive_elements(self, event: ElementsRan) -> None:
        cached, failed = len(event.reused), len(event.failed)
        ran = len(event.indices) - cached
        self.cached += cached
        self.ran += ran
        self.failed += failed
        self.elements(event.invocation).update(ran=ran, cached=cached, failed=failed)
        self._know_files(event.invocation, event.files)
        for index, failure in event.failed:
            name = self._files.get((event.invocation, index), f"{self.name(event.invocation)}[{index}]")
            self.left_out.append((event.invocation, name, failure))

    def _know_files(self, invocation: InvocationId, files: Iterable[FileUse]) -> None:
        """Elements that are files are called by them."""
        for use in files:
            index = _index_of(use)
            if index is not None:
                self._files[invocation, index] = text_path(use.path)


def _index_of(use: FileUse) -> int | None:
    """12 of "file[12]"."""
    _, bracket, number = use.argument.removesuffix("]").rpartition("[")
    return int(number) if bracket and number.isdecimal() else None


class Narrator:
    """Tells a run's events: on a terminal one line that is rewritten and what is worth keeping, else a line for each."""

    def __init__(self, terminal: Terminal, run: str, pipeline: str) -> None:
        self._terminal = terminal
        self._run = run[:SHORT]
        self._pipeline = pipeline
        self.progress = Progress()

    def receive(self, event: Event) -> None:
        before = len(self.progress.left_out)
        self.progress.receive(event)
        for _, name, failure in self.progress.left_out[before:]:
            self._terminal.say(f"  {name} failed: {failure_line(failure)}", YELLOW)
        match event:
            case StepRan() if not self._terminal.is_live:
                self._terminal.say(f"  {self._ran(event)}")
            case StepFailed():
                took = duration(event.ended - event.started)
                self._terminal.say(f"  {self.progress.name(event.invocation)} failed in {took}: {failure_line(event.failure)}", RED)
            case AttemptFailed():
                name = self.progress.name(event.invocation)
                self._terminal.say(f"  {name}{element_of(event)} {attempt_line(event)}", YELLOW)
            case StepSkipped():
                self._terminal.say(f"  {self._skipped(event)}", YELLOW)
            case Redone():
                again = plural(len(event.invocations), "call")
                self._terminal.say(f"run {self._run} {self._pipeline} goes on after its end: {again} to be done again", YELLOW)
            case Adopted():
                self._terminal.say(f"run {self._run} {self._pipeline} goes on: its owner is gone", YELLOW)
            case _:
                pass

    def _ran(self, event: StepRan) -> str:
        name = self.progress.name(event.invocation)
        took = duration(event.ended - event.started)
        if event.elements >= 0:
            counts = self.progress.elements(event.invocation)
            told = ", ".join(f"{counts[kind]} {kind}" for kind in ("ran", "cached", "failed") if counts[kind])
            return f"{name} done in {took}: {plural(event.elements, 'element')}{f', {told}' if told else ''}"
        return f"{name} cached from run {event.reused_run[:SHORT]}" if event.reused_run else f"{name} done in {took}"

    def _skipped(self, event: StepSkipped) -> str:
        because = ", ".join([self.progress.name(invocation) for invocation in event.because])
        what = "cancelled" if event.was_running else "skipped"
        return f"{self.progress.name(event.invocation)} {what}{f' because of {because}' if because else ''}"

    def begin(self) -> None:
        self._terminal.say(f"run {self._run} {self._pipeline} started")

    def tick(self, seconds: float) -> None:
        """Show where it stands."""
        if self._terminal.is_live:
            progress = self.progress
            names = [progress.name(invocation) + progress.gone.get(invocation, "") for invocation in progress.running]
            more = f" and {len(names) - _RUNNING_SHOWN} more" if len(names) > _RUNNING_SHOWN else ""
            running = f", running {', '.join(names[:_RUNNING_SHOWN])}{more}" if names else ""
            counts = f"{progress.settled}/{progress.steps} steps, {self._counts()}"
            self._terminal.status(f"run {self._run} {self._pipeline} {duration(seconds)}: {counts}{running}")

    def end(self, state: str, seconds: float) -> None:
        self._terminal.status("")
        text = f"run {self._run} {self._pipeline} {state} in {duration(seconds)}: {self._counts()}"
        self._terminal.say(text, STATE_COLOURS.get(state, RED))

    def _counts(self) -> str:
        counts = self.progress.counts()
        told = [f"{counts[kind]} {kind}" for kind in ("ran", "cached")]
        return ", ".join(told + [f"{counts[kind]} {kind}" for kind in ("failed", "skipped", "cancelled") if counts[kind]])
