"""Looking at a failure where it happened: pdb at the failing frame, in the main thread."""

from __future__ import annotations

import pdb
from types import TracebackType

_OURS = ("ashore", "ashore_stores", "asyncio", "anyio", "uvloop")


def look_at(error: BaseException) -> bool:
    """Open pdb where the error was raised; of a failed run, that is the first of its failures. False if nothing is left to look at.

    An error that was recorded, or that comes from another process, has no frames any more.
    """
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    frames = users_frames(error)
    if frames is None:
        return False
    pdb.post_mortem(frames)
    return True


def users_frames(error: BaseException) -> TracebackType | None:
    """The traceback from the first line on that is not of ours; None if there is none."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frames = frames.tb_next
    return frames
