"""What went wrong, in one readable message, and the exit code that says of which kind it was."""

from __future__ import annotations

import importlib
import os
import traceback
from typing import Final

import anyio
import click

import ashore_stores.errors as stores
from ashore.errors import AshoreError, HomeError, InternalError, NotFound, RunCancelled, RunFailed
from ashore.faces.cli.settings import FAILED, NOT_FOUND, TRANSIENT, USAGE, Settings
from ashore.faces.cli.terminal import Terminal
from ashore_stores.index.base import BadQuery

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_LIBRARY: Final = os.path.dirname(os.path.dirname(os.path.abspath(str(importlib.__file__))))
_OURS: Final = tuple(
    f"{os.path.normpath(folder)}{os.sep}"
    for folder in (
        os.path.join(_HERE, os.pardir, os.pardir),
        *(os.path.dirname(os.path.abspath(str(module.__file__))) for module in (stores, click, anyio)),
        *(os.path.join(_LIBRARY, name) for name in ("asyncio", "importlib")),
    )
)
"""Folders whose frames say nothing to users: ours, and those of what we are called by."""
_FROZEN: Final = ("<frozen importlib", "<frozen runpy", "uvloop/")


class NoHome(HomeError):
    """There is no home where one was looked for."""


class BrokenTarget(AshoreError):
    """The user's file raised when it was imported. The error that it raised is the cause."""


def tell(error: Exception, settings: Settings) -> int:
    """Say what an error that ended the command means; returns the exit code."""
    error = first_of(error)
    terminal = Terminal(settings)
    terminal.status("")
    if settings.traceback:
        terminal.say_block("".join(traceback.format_exception(error)).rstrip("\n"))
    elif isinstance(error, BrokenTarget):
        terminal.say_block(users_traceback(error.__cause__ or error).rstrip("\n"))
    elif not isinstance(error, AshoreError | stores.StoreError) and not _is_bug(error):
        terminal.say_block(users_traceback(error).rstrip("\n"))
    terminal.say_block(f"ashore: {message(error)}")
    return exit_code(error)


def message(error: BaseException) -> str:
    """The error as a sentence."""
    if isinstance(error, RunFailed):
        return error.what
    text = str(error)
    if not isinstance(error, AshoreError | stores.StoreError) or not text:
        text = f"{type(error).__name__}: {error}" if text else type(error).__name__
    return f"{text}. This is a bug of ashore: please report it, with what --traceback shows" if _is_bug(error) else text


def _is_bug(error: BaseException) -> bool:
    """Whether it is of our making: no line of the user's is involved."""
    if isinstance(error, AshoreError | stores.StoreError):
        return isinstance(error, InternalError)
    return all(_is_ours(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def exit_code(error: BaseException) -> int:
    """Of which kind it is."""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    if isinstance(error, HomeError) and isinstance(error.__cause__, stores.StoreError):
        return exit_code(error.__cause__)
    return USAGE if isinstance(error, AshoreError) else FAILED


_CODES: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], int], ...]] = (
    ((RunFailed, RunCancelled, InternalError, stores.Corrupt), FAILED),
    ((NotFound, NoHome, stores.Missing), NOT_FOUND),
    ((BadQuery, stores.ReadOnly, stores.NewerFormat), USAGE),
    (stores.StoreError, TRANSIENT),
)


def first_of(error: Exception) -> Exception:
    """What comes out of task groups, as the one error that it began with. A failed run is a group that stays one."""
    while isinstance(error, ExceptionGroup) and not isinstance(error, RunFailed):
        error = error.exceptions[0]
    return error


def users_traceback(error: BaseException) -> str:
    """The traceback without our frames."""
    shown = traceback.TracebackException.from_exception(error)
    _trim(shown)
    return "".join(shown.format())


def _trim(shown: traceback.TracebackException) -> None:
    shown.stack = traceback.StackSummary.from_list([frame for frame in shown.stack if not _is_ours(frame.filename)])
    for further in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if further is not None:
            _trim(further)


def _is_ours(file: str) -> bool:
    return file.startswith((*_OURS, *_FROZEN))
