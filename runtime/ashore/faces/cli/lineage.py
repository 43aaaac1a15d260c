"""`ashore lineage`: what an artifact came from, or what came from it, as a tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from ashore.catalogue import Artifact, Catalogue, FileVersion, Invocation, NotFound, PastRun
from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.showing import artifact_json
from ashore.faces.cli.terminal import BOLD, DIM, Terminal, printable
from ashore.faces.cli.texts import SHORT, moment, plural, size
from ashore.faces.cli.tree import tree

Thing: TypeAlias = "Artifact[Any] | FileVersion"


_PLACE = re.compile(r"(.+)\[(\d+)\]")
"""One of several calls of a step: "fit[2]"."""


def lineage(settings: Settings, artifact: str, down: bool) -> int:
    """Show where an artifact comes from or went; the exit code."""
    return commanded(settings, partial(_lineage, artifact, down))


def _chosen(run: PastRun[Any], step: str) -> Any:
    """The calls of a step, or one of them by its place."""
    found = _PLACE.fullmatch(step)
    if found is None:
        return run[step]
    calls, place = run[found[1]], int(found[2])
    if place >= len(calls):
        raise NotFound(f"{found[1]} has {plural(len(calls), 'invocation')} in run {run.id[:SHORT]}, no [{place}]")
    return calls[place]


async def _lineage(name: str, down: bool, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        family = Family(catalogue)
        root = await family.find(name)
        below = await family.descendants(root) if down else await family.ancestors(root)
        if session.settings.json:
            session.terminal.record(_record(root, below, down=down))
        else:
            _show(session.terminal, root, below)
    return DONE


def _record(root: Thing, below: dict[Thing, list[Thing]], *, down: bool) -> dict[str, Any]:
    things = {thing: None for children in below.values() for thing in children}
    edges = [(one.id, other.id) if down else (other.id, one.id) for one, others in below.items() for other in others]
    return {
        "artifact": artifact_json(root),
        "descendants" if down else "ancestors": [artifact_json(thing) for thing in things],
        "edges": [{"source": source, "target": target} for source, target in edges],
    }


def _show(terminal: Terminal, root: Thing, below: dict[Thing, list[Thing]]) -> None:
    for twig, thing in tree([root], lambda thing: below.get(thing, [])):
        what, further = _text(thing)
        again = terminal.painted(" (above)", DIM) if twig.is_again else ""
        further = "" if twig.is_again else terminal.painted(printable(further), DIM)
        terminal.painted_result(f"{twig.before}{terminal.painted(printable(what), '' if twig.before else BOLD)}{further}{again}")


def _text(thing: Thing) -> tuple[str, str]:
    """What it is, and what else there is to say."""
    if isinstance(thing, FileVersion):
        return f"{thing.path}", f"  {thing.short}, {size(thing.size)}"
    parts = [thing.short, thing.type or "", size(thing.size), f"run {thing.run[:SHORT]}", moment(thing.made)]
    return f"{thing.step}{f'[{thing.output}]' if thing.output > 0 else ''}", f"  {', '.join(part for part in parts if part)}"


class Family:
    """Walks from artifact to artifact, run by run; each run is looked at once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._runs: dict[str, PastRun[Any]] = {}
        self._makers: dict[str, dict[str, Invocation[Any]]] = {}
        """run -> artifact's id -> the invocation of that run that made or reused it."""

    async def find(self, name: str) -> Thing:
        """By an artifact's id, by RUN:STEP, or by a file's path. Raises `NotFound`."""
        problem: NotFound | None = None
        for look in (self._by_step, self._catalogue.artifact, self._by_path):
            try:
                return await look(name)
            except NotFound as error:
                problem = problem or error
        if await self._names_run(name):
            assert problem is not None
            raise problem
        raise NotFound(
            f"{name!r} is no artifact, step or file on record",
            mend="Write an artifact's id, RUN:STEP such as @last:fit, or the path of a file",
        )

    async def _names_run(self, name: str) -> bool:
        try:
            await found_run(self._catalogue, name.rpartition(":")[0])
        except NotFound:
            return False
        return True

    async def _by_step(self, name: str) -> Thing:
        run_name, colon, step = name.rpartition(":")
        if not colon or not step or step.isdecimal():
            raise NotFound(f"{name!r} names no step of a run")
        run = await found_run(self._catalogue, run_name)
        await self._learn(run.id)
        artifact: Artifact[Any] = _chosen(run, step).out
        return artifact

    async def _by_path(self, name: str) -> Thing:
        return (await self._catalogue.file(name)).newest

    async def _learn(self, run_id: str) -> dict[str, Invocation[Any]]:
        if run_id not in self._makers:
            run = self._runs[run_id] = await self._catalogue.run(run_id)
            self._makers[run_id] = {output.id: one for one in run.invocations if one.outputs for output in (*one.outputs, one.out)}
        return self._makers[run_id]

    async def ancestors(self, root: Thing) -> dict[Thing, list[Thing]]:
        """What each thing was made from, from the root upwards."""
        below: dict[Thing, list[Thing]] = {}
        waiting = [root]
        while waiting:
            thing = waiting.pop()
            if thing in below or isinstance(thing, FileVersion):
                continue
            maker = (await self._learn(thing.run)).get(thing.id)
            below[thing] = _distinct(list(maker.inputs.values())) if maker is not None else []
            waiting += below[thing]
        return below

    async def descendants(self, root: Thing) -> dict[Thing, list[Thing]]:
        """What was made from each thing, from the root downwards."""
        found = {thing.id: thing for thing in await root.descendants()}
        below: dict[Thing, list[Thing]] = {}
        for run_id in dict.fromkeys(thing.run for thing in found.values()):
            await self._learn(run_id)
            for one in self._runs[run_id].invocations:
                made = [found[output.id] for output in one.outputs if output.id in found]
                for taken in one.inputs.values():
                    if taken == root or taken.id in found:
                        below.setdefault(found.get(taken.id, root), []).extend(made)
        placed = {child for children in below.values() for child in children}
        below.setdefault(root, []).extend(thing for thing in found.values() if thing not in placed)
        return {thing: _distinct(children) for thing, children in below.items()}


def _distinct(things: Sequence[Thing]) -> list[Thing]:
    return list(dict.fromkeys(things))
