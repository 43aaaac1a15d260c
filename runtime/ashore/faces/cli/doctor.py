"""`ashore doctor`: looks at everything that has to be well for a home to be of use, and says what is not and how to mend it."""

from __future__ import annotations

import platform
import sys
from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from ashore.errors import HomeError
from ashore.faces.cli.examining import OK, PROBLEM, Finding, examine_record
from ashore.faces.cli.session import Session, check_home, commanded, home_of
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.terminal import DIM, GREEN, RED, YELLOW, printable
from ashore.faces.cli.texts import plural, size
from ashore.home import Home, open_home
from ashore.stack import open_stack
from ashore_stores.errors import StoreError
from ashore_stores.ports import Ports
from ashore_stores.system import permissions_of, room_at, system_ports, watch_limits

_LEAST_ROOM: Final = 1 << 30
"""Bytes that should be free, at least."""
_LEAST_INSTANCES: Final = 64
_LEAST_WATCHES: Final = 8_192
_OTHERS: Final = 0o022
"""Permission bits by which others may write."""
_LIBRARIES: Final = ("numpy", "pandas", "polars", "pyarrow", "scikit-learn", "skops", "pydantic", "attrs")
_COLOURS: Final = {OK: GREEN, PROBLEM: RED}


def doctor(settings: Settings) -> int:
    """Examine the home; the exit code says whether all is well."""
    return commanded(settings, _doctor)


async def _doctor(session: Session) -> int:
    ports = system_ports()
    where = home_of(session.settings, ports.disk)
    check_home(where, ports.disk)
    findings: list[Finding] = []
    async for finding in _examine(where, ports):
        findings.append(finding)
        if not session.settings.json:
            _tell(session, finding)
    problems = [finding for finding in findings if finding.state == PROBLEM]
    if session.settings.json:
        session.terminal.record({"home": where, "well": not problems, "checks": [finding._asdict() for finding in findings]})
    else:
        verdict = plural(len(problems), "problem") if problems else "all is well"
        session.terminal.say(verdict, RED if problems else GREEN)
    return FAILED if problems else DONE


def _tell(session: Session, finding: Finding) -> None:
    terminal = session.terminal
    state = terminal.painted(finding.state.ljust(7), _COLOURS.get(finding.state, YELLOW))
    terminal.painted_result(f"{state}  {finding.check.ljust(11)}  {printable(finding.what)}")
    if finding.mend:
        terminal.painted_result(f"{' ' * 22}{terminal.painted(printable(finding.mend), DIM)}")


async def _examine(where: str, ports: Ports) -> AsyncIterator[Finding]:
    yield _versions()
    try:
        home = await ports.workers.run(partial(open_home, ports, where, create=False))
    except (HomeError, StoreError) as error:
        yield Finding("home", PROBLEM, str(error), getattr(error, "mend", ""))
        return
    yield Finding("home", OK, f"{home.path}, format understood")
    for look in (_permissions, _file_system, _room):
        yield await ports.workers.run(look, home, ports)
    yield await _watching(home, ports)
    try:
        stack = await open_stack(home=home.path, ports=ports, create=False)
    except StoreError as error:
        mend = "Look the whole log through for damage: ashore log verify"
        yield Finding("log", PROBLEM, f"cannot be opened: {error}", mend)
        return
    async for finding in examine_record(stack):
        yield finding


def _versions() -> Finding:
    libraries = ", ".join(f"{name} {found}" for name in _LIBRARIES if (found := _version(name)))
    python = f"Python {platform.python_version()} on {sys.platform}"
    return Finding("versions", OK, f"ashore {_version('ashore')}, {python}{f', with {libraries}' if libraries else ''}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _permissions(home: Home, ports: Ports) -> Finding:
    for folder in (home.path, home.log, home.artifacts, home.index):
        if ports.disk.stat(folder) is None:
            continue  # made when it is needed
        probe = f"{folder}/.probe-{ports.random.token(4).hex()}"
        try:
            ports.disk.open(probe, write=True, create=True, exclusive=True).close()
            ports.disk.remove(probe)
        except StoreError as error:
            mend = "Give its owner the right to write there, or run as its owner; until then the home can only be read"
            return Finding("permissions", PROBLEM, f"{folder} cannot be written: {error}", mend)
    if permissions_of(home.path) & _OTHERS:
        what = f"others may write in {home.path}, and so put in what your runs then trust"
        return Finding("permissions", PROBLEM, what, f"chmod go-w {home.path}")
    return Finding("permissions", OK, "every folder can be written, by its owner only")


def _file_system(home: Home, ports: Ports) -> Finding:
    if ports.disk.is_network(home.path):
        what = f"{home.path} lies on a network file system, which may not keep locks between machines: it can only be read"
        return Finding("file system", PROBLEM, what, "Move the home to a local disk, and name it by --home or ASHORE_HOME")
    return Finding("file system", OK, "a local disk")


def _room(home: Home, ports: Ports) -> Finding:
    room = room_at(home.path)
    what = f"{size(room.free)} of {size(room.total)} free"
    if room.free < _LEAST_ROOM:
        return Finding("disk space", PROBLEM, what, "Make room: a full disk fails steps, though nothing on record is lost")
    return Finding("disk space", OK, what)


async def _watching(home: Home, ports: Ports) -> Finding:
    limits = watch_limits()
    told = f": {limits.instances:,} instances, {limits.watches:,} watches for each user" if limits else ""
    mend = "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536"
    try:
        async with ports.watcher.watch(home.path):
            pass
    except StoreError as error:
        return Finding("watching", PROBLEM, f"changes of files cannot be watched{told}: {error}", mend)
    if limits and (limits.instances < _LEAST_INSTANCES or limits.watches < _LEAST_WATCHES):
        return Finding("watching", PROBLEM, f"this machine lets little be watched{told}", mend)
    return Finding("watching", OK, f"changes of files can be watched{told}")
