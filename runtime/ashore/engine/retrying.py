"""Whether a failed attempt is made again, and after which wait. Pure: it looks at no clock, and chance is handed to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ashore.durations import seconds_of
from ashore.errors import StepError
from ashore.materialize.base import MaterializeError
from ashore.policies import Retry


def next_wait(retry: Retry | None, failed: int, error: BaseException, chance: Callable[[], float]) -> float | None:
    """Seconds to wait before the next attempt, after `failed` attempts that failed, the last by `error`; None: give up.

    `chance()` is a number in [0, 1). Raises `StepError` if the user's own predicate raises.
    """
    if retry is None or failed > retry.times or not _is_worth_it(retry, error):
        return None
    wait = min(seconds_of(retry.wait) * _grown(retry.factor, failed - 1), seconds_of(retry.cap))
    return wait * (1 - chance() / 2) if retry.jitter else wait


def _is_worth_it(retry: Retry, error: BaseException) -> bool:
    if isinstance(error, MaterializeError | KeyboardInterrupt):  # the same result would have no stored form again
        return False
    if isinstance(retry.on, type | tuple):
        return isinstance(error, retry.on)
    return isinstance(error, Exception) and _asked(retry.on, error)


def _asked(predicate: Callable[[Exception], Any], error: Exception) -> bool:
    try:
        return bool(predicate(error))
    except Exception as own:
        name = getattr(predicate, "__qualname__", repr(predicate))
        what = f"{name}, which says whether to try again after {type(error).__name__}, raised {type(own).__name__}: {own}"
        raise StepError(what, mend="A predicate of Retry(on=...) returns True or False") from own


def _grown(factor: float, times: int) -> float:
    try:
        return factor**times
    except OverflowError:
        return float("inf")
