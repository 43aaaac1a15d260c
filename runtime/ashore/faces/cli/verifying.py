"""`ashore log verify`: everything that can be damaged, looked at."""

from __future__ import annotations

import posixpath
from typing import Any

from ashore.events import UNSTORED, ElementsRan, Event, StepRan, decode, text_digest
from ashore.faces.cli.session import Session, check_home, commanded, home_of
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.terminal import RED
from ashore.faces.cli.texts import plural
from ashore.home import Home, open_home
from ashore.stack import Damage, Stack, damages, open_stack
from ashore_stores.errors import StoreError
from ashore_stores.keys import Position
from ashore_stores.ports import Ports
from ashore_stores.system import system_ports


def verify(settings: Settings) -> int:
    """Look the log and the artifacts through; the exit code."""
    return commanded(settings, _verify)


async def _verify(session: Session) -> int:
    ports = system_ports()
    where = home_of(session.settings, ports.disk)
    check_home(where, ports.disk)
    home = await ports.workers.run(lambda: open_home(ports, where, create=False))
    found, whole = await _look_through(session, home, ports)
    events, missing = await _missing(home, ports)
    for damage in missing:
        _tell(session, damage)
    found += missing
    terminal = session.terminal
    if session.settings.json:
        terminal.record({"damages": found, "events": events, "artifacts": whole, "whole": not found})
    else:
        verdict = plural(len(found), "damage") if found else "no damage"
        terminal.say(f"{plural(events, 'event')}, {plural(whole, 'artifact')}: {verdict}", RED if found else "")
    return FAILED if found else DONE


async def _look_through(session: Session, home: Home, ports: Ports) -> tuple[list[dict[str, Any]], int]:
    """The damages, told as they are found, and how many artifacts are whole."""
    found, whole = [], 0
    async for damage in damages(home, ports):
        if damage is None:
            whole += 1
            session.terminal.status(f"{plural(whole, 'artifact')} looked at")
        else:
            found.append(_damage_json(damage, home))
            _tell(session, found[-1])
    session.terminal.status("")
    return found, whole


def _damage_json(damage: Damage, home: Home) -> dict[str, Any]:
    path = damage.path.removeprefix(f"{home.path}/")
    segment = posixpath.basename(path) if path.startswith("log/") else None
    return {"path": path, "segment": segment, "offset": damage.offset, "position": damage.position, "what": damage.what}


def _tell(session: Session, damage: dict[str, Any]) -> None:
    if not session.settings.json:
        position = f", position {damage['position']}" if damage["position"] is not None else ""
        session.terminal.result(f"{damage['path']} at offset {damage['offset']}{position}: {damage['what']}", RED)


async def _missing(home: Home, ports: Ports) -> tuple[int, list[dict[str, Any]]]:
    """How many events can be read, and the artifacts that they name and that are not there."""
    found: list[dict[str, Any]] = []
    position = 0
    try:
        stack = await open_stack(home=home.path, ports=ports, create=False)
    except StoreError:
        return 0, found  # the log is damaged where it must not be to be opened: that was told
    known: set[bytes] = set()
    try:
        async for frame in stack.log.read():
            for position, event in enumerate(decode(frame.batch.body, frame.count), frame.first):
                for digest in _blobs(event) - known:
                    known.add(digest)
                    if await stack.artifacts.size(text_digest(digest)) is None:
                        found.append(_not_there(stack, digest, Position(position)))
    except StoreError:
        pass  # told already, as damage of the log
    finally:
        await stack.aclose()
    return position, found


def _not_there(stack: Stack, digest: bytes, position: Position) -> dict[str, Any]:
    path = f"{posixpath.basename(stack.home.artifacts)}/{text_digest(digest)}"
    return {
        "path": path,
        "segment": None,
        "offset": 0,
        "position": position,
        "what": "is missing, and the log says that it was made",
    }


def _blobs(event: Event) -> set[bytes]:
    """The artifacts that an event says are stored as blobs."""
    if isinstance(event, StepRan):
        made = () if event.elements >= 0 else event.outputs  # a fan-out's are those of its elements
        return {output.digest for output in made if output.data is None and output.digest and output.format != UNSTORED}
    if not isinstance(event, ElementsRan):
        return set()
    return {
        column.digests[32 * place : 32 * place + 32]
        for column in event.columns
        for place, data in enumerate(column.data)
        if data is None
    }
