"""How often an invocation was tried, and what is known of it before it has an outcome. Pure: live as folded from the log."""

from __future__ import annotations

from typing import TypeAlias, final

from ashore.events import AttemptFailed, EffectAnswered, ElementsRan, Output, Reported, StepStarted
from ashore.policies import NOTHING, Policy

TrialEvent: TypeAlias = StepStarted | AttemptFailed | EffectAnswered | Reported


@final
class Trials:
    """The attempts of one invocation, or of one element of a fan-out."""

    __slots__ = ("answer", "begun", "checkpoint", "due", "elements", "failed", "first", "gpus", "is_open", "policy")

    def __init__(self, policy: Policy = NOTHING) -> None:
        self.policy = policy
        self.begun = 0
        """How many attempts began; the number of the last one."""
        self.failed = 0
        """How many of them failed."""
        self.first = 0.0
        """Wall time at which the first one began."""
        self.due = 0.0
        """Wall time at which the next one may begin."""
        self.is_open = False
        """Whether the last one began and nothing is on record of what came of it."""
        self.answer: EffectAnswered | None = None
        """What somebody said came of it, if it is open."""
        self.gpus: tuple[int, ...] = ()
        """The numbers of the GPUs of the attempt that is under way."""
        self.checkpoint: Output | None = None
        """The last one that an attempt left."""
        self.elements: dict[int, Trials] | None = None
        """Of the elements of a fan-out, those that were tried."""

    def element(self, index: int) -> Trials:
        """The attempts of one element."""
        if self.elements is None:
            self.elements = {}
        found = self.elements.get(index)
        if found is None:
            found = self.elements[index] = Trials(self.policy)
        return found

    def began(self, attempt: int, at: float) -> None:
        """An attempt began."""
        self.first = self.first or at
        self.begun = max(self.begun, attempt)
        self.is_open = True
        self.answer = None

    def broke(self, attempt: int, due: float) -> None:
        """An attempt failed, or was lost, and the next is due."""
        self.begun = max(self.begun, attempt)
        self.failed += 1
        self.due = due
        self.is_open = False

    def receive(self, event: TrialEvent) -> None:
        """Fold a recorded event in."""
        trials = self if event.element < 0 else self.element(event.element)
        if isinstance(event, StepStarted):
            trials.began(event.attempt, event.at)
        elif isinstance(event, AttemptFailed):
            trials.broke(event.attempt, event.ended + event.wait)
        elif isinstance(event, EffectAnswered):
            trials.answer = event
        elif event.checkpoint is not None:
            trials.checkpoint = event.checkpoint

    def settled(self, event: ElementsRan) -> None:
        """These elements have outcomes."""
        if self.elements is not None:
            for index in (*event.indices, *(index for index, _ in event.failed)):
                self.elements.pop(index, None)

    def lost(self) -> list[tuple[int, Trials]]:
        """Attempts that act on the world, and of which nobody knows what came, with the element (-1: the invocation itself)."""
        if not self.policy.effects:
            return []
        parts = [(-1, self), *(self.elements or {}).items()]
        return [(index, trials) for index, trials in parts if trials.is_open]
