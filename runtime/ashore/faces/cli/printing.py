"""`ashore cat`: prints a value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ashore.catalogue import Artifact, Catalogue, FileVersion, NotFound, Stored
from ashore.codec import decode as decode_value
from ashore.codec import show
from ashore.errors import WrongArgument
from ashore.faces.cli.lineage import Family
from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run, one_call
from ashore.faces.cli.results import PLAIN_FORMAT
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.showing import artifact_json
from ashore.faces.cli.tables import value_or_head_json, value_or_head_text
from ashore.faces.cli.texts import plural
from ashore.materialize import load_value
from ashore_stores.keys import Buffer
from ashore_stores.ports import Workers

_VERBATIM: Final = frozenset({"str", "bytes", "bytearray"})
"""Types of values that are text or bytes by themselves."""


def cat(settings: Settings, artifact: str, step: str | None, output: int | None, *, raw: bool, rows: int) -> int:
    """Print a value; the exit code."""
    return commanded(settings, partial(_cat, (artifact, step, output), raw, rows))


async def _cat(named: tuple[str, str | None, int | None], raw: bool, rows: int, session: Session) -> int:
    async with catalogued(session) as (catalogue, stack):
        artifact = await _meant(catalogue, *named)
        parts = await artifact.stored()
        terminal, workers = session.terminal, stack.ports.workers
        if raw:
            terminal.raw(_raw(artifact, parts))
        elif session.settings.json:
            values = await workers.run(lambda: [_json(part, rows) for part in parts])
            terminal.record({**artifact_json(artifact), "value": values[0] if artifact.is_one else values})
        else:
            await _print(session, artifact, parts, rows, workers)
    return DONE


async def _print(session: Session, artifact: Artifact[Any], parts: Sequence[Stored], rows: int, workers: Workers) -> None:
    texts = await workers.run(lambda: [_text(part, rows) for part in parts])
    for place, text in enumerate(texts):
        session.terminal.result_block(text if artifact.is_one else f"[{place}] {text}")


async def _meant(catalogue: Catalogue, name: str, step: str | None, output: int | None) -> Artifact[Any]:
    """By RUN and STEP, or by an artifact's id, or RUN:STEP. Raises `NotFound`."""
    found = await Family(catalogue).find(name) if step is None else one_call(await found_run(catalogue, name), step).out
    if isinstance(found, FileVersion):
        raise WrongArgument(f"{found.short} is the file {found.path}, which is yours", where="", mend="Look at it where it lies")
    if output is None:
        return found
    one = await catalogue.artifact(f"{found.id.partition(':')[0]}:{output}@{found.run}")
    if not isinstance(one, Artifact):
        raise NotFound(f"{found.short} has no output {output}")
    return one


def _raw(artifact: Artifact[Any], parts: Sequence[Stored]) -> Buffer:
    """The bytes of text and bytes as they are, of anything else its stored form. Raises `WrongArgument` if it is several."""
    if not artifact.is_one:
        what = f"{artifact.step} gave {plural(len(parts), 'value')}, and --raw writes one"
        raise WrongArgument(what, where="", mend="Choose one by --output, or print them all without --raw")
    (part,) = parts
    if part.format != PLAIN_FORMAT or part.type not in _VERBATIM:
        return part.data
    value: Any = decode_value(part.data)
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _text(part: Stored, rows: int) -> str:
    if part.format == PLAIN_FORMAT:
        shown = show(part.data)
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=2)
    return value_or_head_text(load_value(part.format, part.data), rows)


def _json(part: Stored, rows: int) -> Any:
    if part.format == PLAIN_FORMAT:
        return show(part.data)
    return value_or_head_json(load_value(part.format, part.data), rows)
