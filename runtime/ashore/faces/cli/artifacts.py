"""`ashore artifacts`: what was made, as a list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ashore.catalogue import Catalogue
from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.terminal import DIM, printable
from ashore.faces.cli.texts import SHORT, moment, size, table

_DIGEST: Final = len("sha256-") + SHORT

_OF_ANY_RUN: Final = """
select a.id, a.kind, a.run, r.pipeline, a.step, a.output, a.type, a.format, a.size, a.digest, a.stored, a.made
from artifacts a join runs r on r.id = a.run
where a.kind <> 'file'
  and (:step is null or a.step = :step) and (:type is null or instr(lower(a.type), lower(:type)) > 0)
  and (:pipeline is null or r.pipeline = :pipeline) and (:digest is null or a.digest like :digest)
  and (:tag is null or a.id in (select artifact from tags where tag = :tag and is_current))
order by r.no desc, a.made desc, a.id limit :limit
"""
_OF_RUN: Final = """
select a.id, iif(s.cached_from is null, a.kind, 'reused') as kind, a.run, s.pipeline, s.step, a.output, a.type, a.format, a.size,
  a.digest, a.stored, a.made
from steps s
join artifacts a on a.invocation = coalesce(s.cached_invocation, s.invocation) and a.run = coalesce(s.cached_from, s.run)
where s.run = :run
  and (:step is null or s.step = :step) and (:type is null or instr(lower(a.type), lower(:type)) > 0)
  and (:pipeline is null or s.pipeline = :pipeline) and (:digest is null or a.digest like :digest)
  and (:tag is null or a.id in (select artifact from tags where tag = :tag and is_current))
order by s.no, a.output limit :limit
"""


class Wanted(NamedTuple):
    """Which artifacts are listed: None is any."""

    step: str | None = None
    type: str | None = None
    """A part of the type's name, in any case."""
    pipeline: str | None = None
    digest: str | None = None
    """The beginning of the digest."""
    tag: str | None = None
    limit: int = 20


def artifacts(settings: Settings, run: str | None, **wanted: Any) -> int:
    """List artifacts; the exit code."""
    return commanded(settings, partial(_artifacts, run, Wanted(**wanted)))


async def _artifacts(name: str | None, wanted: Wanted, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        found = await _found(catalogue, name, wanted)
    terminal = session.terminal
    if session.settings.json:
        for row in found:
            terminal.record(row)
    elif found:
        head, *lines = table(("ARTIFACT", "STEP", "TYPE", "SIZE", "DIGEST", "RUN", "MADE"), [_cells(row) for row in found])
        terminal.painted_result(terminal.painted(head, DIM))
        for line in lines:
            terminal.painted_result(line)
    else:
        terminal.say("no such artifact is on record")
    return DONE


async def _found(catalogue: Catalogue, name: str | None, wanted: Wanted) -> list[dict[str, Any]]:
    params: dict[str, Any] = wanted._asdict()
    if wanted.digest is not None:
        params["digest"] = f"sha256-{wanted.digest.removeprefix('sha256-')}%"
    if name is None:
        return (await catalogue.sql(_OF_ANY_RUN, params)).records()
    run = await found_run(catalogue, name)
    return (await catalogue.sql(_OF_RUN, params | {"run": run.id})).records()


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    invocation, _, output = str(row["id"]).partition("@")[0].partition(":")
    step = f"{row['step']}[{output}]" if row["output"] else row["step"]
    digest = (row["digest"] or "")[:_DIGEST]
    reused = " (reused)" if row["kind"] == "reused" else ""
    return (
        f"{invocation[:SHORT]}:{output}",
        printable(step),
        printable(row["type"] or ""),
        size(row["size"]),
        digest,
        f"{row['run'][:SHORT]}{reused}",
        moment(row["made"]),
    )
