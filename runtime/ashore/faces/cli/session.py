"""What a command works in: the event loop, and the open home."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import anyio

from ashore.faces.cli.settings import Settings
from ashore.faces.cli.terminal import Terminal
from ashore.faces.cli.troubles import NoHome, first_of
from ashore.home import find_home
from ashore.stack import Stack, open_stack
from ashore_stores.ports import Disk
from ashore_stores.system import system_ports


class Session(NamedTuple):
    """A command's settings and its terminal."""

    settings: Settings
    terminal: Terminal


@contextmanager
def session_of(settings: Settings) -> Iterator[Session]:
    """A command's session. What user code prints in it, and what libraries log, goes to stderr: stdout is for the result."""
    session = Session(settings, Terminal(settings))
    out, sys.stdout = sys.stdout, session.terminal.aside()
    try:
        yield session
    finally:
        sys.stdout = out
        session.terminal.status("")


def looped(session: Session, command: Callable[[Session], Awaitable[int]]) -> int:
    """Run a command in an event loop; its exit code, or the one error that ended it."""
    options = {"use_uvloop": find_spec("uvloop") is not None}
    try:
        return anyio.run(command, session, backend="asyncio", backend_options=options)
    except ExceptionGroup as group:
        error = first_of(group)
    raise error  # here, where it keeps its own cause


def commanded(settings: Settings, command: Callable[[Session], Awaitable[int]]) -> int:
    """A command that is nothing but what it does in the loop."""
    with session_of(settings) as session:
        return looped(session, command)


@asynccontextmanager
async def opened(session: Session, *, create: bool = False) -> AsyncIterator[Stack]:
    """The home's parts. Raises `NoHome` if there is none and `create` does not say to make one; a new one is told of."""
    ports = system_ports()
    where = home_of(session.settings, ports.disk)
    if not create:
        check_home(where, ports.disk)
    stack = await open_stack(home=where, ports=ports, create=create)
    try:
        if stack.home.is_new:
            session.terminal.say(f"new home: {stack.home.path}")
        yield stack
    finally:
        with anyio.CancelScope(shield=True):
            await stack.aclose()


def home_of(settings: Settings, disk: Disk) -> str:
    """Where the home is, or would be made."""
    return os.path.abspath(settings.home) if settings.home else find_home(disk)


def check_home(where: str, disk: Disk) -> None:
    """Raises `NoHome` if there is no home."""
    if disk.stat(f"{where}/format.json") is None:
        raise NoHome(f"there is no ashore home at {where}", mend="Run a pipeline first, or name a home with --home or ASHORE_HOME")
