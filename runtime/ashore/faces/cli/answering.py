"""`ashore approve`: answering the question that a run waits for."""

from __future__ import annotations

from functools import partial

from ashore.answers import answer_run
from ashore.catalogue import of_stack
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded, opened
from ashore.faces.cli.settings import DONE, Settings
from ashore.histories import History


def approve(settings: Settings, run: str, question: str | None, deny: bool) -> int:
    """Answer a run's question; the exit code."""
    return commanded(settings, partial(_approve, run, question, deny))


async def _approve(name: str, question: str | None, deny: bool, session: Session) -> int:
    async with opened(session) as stack, of_stack(stack) as catalogue:
        run = await found_run(catalogue, name)
        recorded = History.of(await stack.log.about(run.id.encode()), run.id)
        text = await answer_run(stack.log, run.id, recorded.events, question, (not deny, stack.ports.clock.now()))
    said = "denied" if deny else "approved"
    if session.settings.json:
        session.terminal.record({"run": run.id, "question": text, "answer": said})
    else:
        session.terminal.say(f"{said}: {text}")
    return DONE
