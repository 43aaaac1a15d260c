"""`ashore logs`: what the steps of a run have printed and logged."""

from __future__ import annotations

from functools import partial

from ashore.catalogue import of_stack
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded, opened
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.terminal import DIM
from ashore.faces.cli.texts import SHORT
from ashore.histories import History
from ashore.saying import Logs, Said, logs_in


def logs(settings: Settings, run: str, step: str | None, attempt: int | None) -> int:
    """Print them; the exit code."""
    return commanded(settings, partial(_logs, run, step, attempt))


async def _logs(name: str, step: str | None, attempt: int | None, session: Session) -> int:
    async with opened(session) as stack, of_stack(stack) as catalogue:
        run = await found_run(catalogue, name)
        recorded = History.of(await stack.log.about(run.id.encode()), run.id)
        said = logs_in(recorded.events, step, attempt)
    if session.settings.json:
        for one in said:
            session.terminal.record(one._asdict())
    else:
        _print(session, said)
    return DONE


def _print(session: Session, logs: Logs) -> None:
    """The texts; where they are of several attempts, each time it is another one's turn, of which."""
    several = len({_whose(said) for said in logs}) > 1
    before: str | None = None
    for said in logs:
        if several and _whose(said) != before:
            before = _whose(said)
            session.terminal.painted_result(session.terminal.painted(f"--- {before}", DIM))
        session.terminal.result_block(str(Logs((said,))).rstrip("\n"))
    if not logs:
        session.terminal.say("nothing was printed or logged")


def _whose(said: Said) -> str:
    element = f"[{said.element}]" if said.element >= 0 else ""
    attempt = f", attempt {said.attempt}" if said.attempt > 1 else ""
    return f"{said.step}{element} ({said.invocation[:SHORT]}){attempt}"
