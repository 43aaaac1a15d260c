"""`ashore debug`: a recorded call once more, with pdb where it fails."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from ashore.faces.cli.resuming import looped_pair
from ashore.faces.cli.session import Session, looped, opened, session_of
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.targeting import loaded
from ashore.faces.cli.texts import value_text
from ashore.faces.cli.troubles import users_traceback
from ashore.ids import RunId
from ashore.postmortem import look_at, users_frames
from ashore.questions import Chosen
from ashore.questions.debugging import called, checked_call
from ashore.runtime import Runtime
from ashore.works import Work


def debug(settings: Settings, run: str, step: str, element: int | None, effects: str, target: str | None) -> int:
    """Call it once more; the exit code: 1 if it fails again."""
    raised: list[Exception] = []
    with session_of(settings) as session:
        run_id, recorded = looped_pair(session, run)
        work = loaded(target or recorded)  # user code is imported outside the loop
        code = looped(session, partial(_call, run_id, work, (Chosen(step, None, element), effects), raised))
    for error in raised:  # out of the session: pdb has the terminal for itself
        sys.stderr.write(users_traceback(error))
        look_at(error)
    return code


async def _call(run_id: RunId, work: Work[Any, Any], asked: tuple[Chosen, str], raised: list[Exception], session: Session) -> int:
    async with opened(session) as stack, Runtime(stack) as runtime:
        again = await checked_call(await runtime.run(run_id), asked[0], work, effects=asked[1])
        try:
            value = await called(again)
        except Exception as error:
            if users_frames(error) is None:
                raise
            raised.append(error)
            return FAILED
        session.terminal.result_block(value_text(value))
        session.terminal.say(f"{again.work.name} did not fail this time")
    return DONE
