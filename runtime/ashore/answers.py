"""Answers to the questions that runs wait for (`approval`), from whichever process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ashore.codec import decode
from ashore.engine.waits import answer
from ashore.errors import AnsweredAlready, NotFound
from ashore.events import Answered, Event, Invoked, RunEnded, StepFailed, StepRan, StepSkipped
from ashore.ids import InvocationId, RunId
from ashore_stores.logs.base import EventLog


class Question(NamedTuple):
    """A question that a run waits for."""

    invocation: InvocationId
    text: str


def questions_in(events: Iterable[Event]) -> list[Question]:
    """The questions of a run that nobody has answered, in the order in which they were asked."""
    asked: dict[InvocationId, Question] = {}
    for event in events:
        if isinstance(event, Invoked):
            for call in event.calls:
                if call.step == "approval" and dict(call.params).keys() >= {"question", "patience"}:
                    asked[call.invocation] = Question(call.invocation, str(decode(dict(call.params)["question"])))
        elif isinstance(event, (StepRan, StepFailed, StepSkipped, Answered)):
            asked.pop(event.invocation, None)
        elif isinstance(event, RunEnded):
            asked.clear()
    return list(asked.values())


async def answer_run(log: EventLog, run: RunId, events: Iterable[Event], question: str | None, said: tuple[bool, float]) -> str:
    """Answer the question of a run that is open, or the one with this text; returns it. `said`: yes or no, and when.

    Raises `NotFound` if there is none, or more than one; `AnsweredAlready` if somebody answers first.
    """
    found = [one for one in questions_in(events) if question is None or one.text == question]
    if len(found) != 1:
        what = f"run {run[:8]} waits for {'no answer' if not found else 'several answers'}"
        texts = ", ".join(repr(one.text) for one in found)
        mend = (
            f"Name the question: {texts}" if found else "`ashore show` tells what it waits for; it may have been answered already"
        )
        raise NotFound(what if question is None or found else f"run {run[:8]} does not ask {question!r}", mend=mend)
    yes, at = said
    if not await answer(log, Answered(run, found[0].invocation, yes, False, at)):
        raise AnsweredAlready(f"{found[0].text!r} of run {run[:8]} was answered already", mend="The first answer holds")
    return found[0].text
