"""Which code a run's steps are, and which of it this process has stated in the log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ashore.definitions import Definition
from ashore.engine.looking import Looker
from ashore.engine.means import Means
from ashore.events import Event, StepDefined
from ashore.files import File
from ashore.fingerprint import Fingerprint, fingerprint_of, names_in, remembered
from ashore.graph import Node
from ashore.ids import CodeId
from ashore.works import Work
from ashore_stores.errors import Missing

_NO_FILES: Mapping[str, bytes] = {}
_NO_OPTIONS: Mapping[str, int] = {}


class Defined:
    """The codes of steps, as of when they are asked for, with the definitions that the log has not been told yet."""

    def __init__(self, means: Means, root: str) -> None:
        self._means = means
        self._root = root
        self._stated: set[CodeId] = set()

    async def stamp(self, nodes: Sequence[Node]) -> list[Event]:
        """Give each node its code; returns the definitions to be stated before anything of them."""
        await self.learn(node.work for node in nodes)
        codes: dict[Definition, CodeId] = {}
        events: list[Event] = []
        for node in nodes:
            definition = node.work.definition
            code = codes.get(definition)
            if code is None:
                code, stated = self.of(node.work)
                codes[definition] = code
                events += stated
            node.code = code
        return events

    async def learn(self, works: Iterable[Work[Any, Any]]) -> None:
        """Take the fingerprints that are not known yet in a worker thread: the first walk through a closure may take its time."""
        definitions = {work.definition for work in works}
        unknown = [one for one in definitions if one.options.declared.files or _is_unknown(one)]
        if unknown:
            await self._means.ports.workers.run(self._learn, unknown)

    def of(self, work: Work[Any, Any]) -> tuple[CodeId, list[Event]]:
        """The code of one step as of now, and what is to be stated before anything of it. Microseconds if nothing changed."""
        definition = work.definition
        taken = fingerprint_here(definition, self._means.looker, self._root)
        if taken.code in self._stated:
            return taken.code, []
        self._stated.add(taken.code)
        stated = StepDefined(
            *(taken.code, definition.name, definition.role, definition.file, definition.line, taken.parts, definition.doc or ""),
            places=tuple(map(str, taken.places)),
            unfollowed=tuple((one.what, one.where, one.mend) for one in taken.unfollowed),
            ignored=tuple(sorted(definition.ignored)),
        )
        return taken.code, [stated]

    def _learn(self, definitions: list[Definition]) -> None:
        for definition in definitions:
            try:
                fingerprint_here(definition, self._means.looker, self._root)
            except RuntimeError:  # the loop's thread changed what was walked through: it is walked again there
                continue


def fingerprint_here(definition: Definition, looker: Looker, root: str) -> Fingerprint:
    """A step's fingerprint as of now, in this process; `root` is the project's, for the files that the step declares."""
    declared = definition.options.declared
    files = {name: _content_of(name, looker, root) for name in names_in(declared.files)} if declared.files else _NO_FILES
    options = _seed(definition)
    return fingerprint_of(definition.fn, name=definition.name, role=definition.role, options=options, cache=declared, files=files)


def _content_of(name: str, looker: Looker, root: str) -> bytes:
    """The digest of a declared file, which is relative to the project's root; of one that is not there, empty."""
    try:
        return looker.look(File(os.path.join(root, name))).digest
    except Missing:
        return b""


def _is_unknown(definition: Definition) -> bool:
    options, declared = _seed(definition), definition.options.declared
    return remembered(definition.fn, name=definition.name, role=definition.role, options=options, cache=declared) is None


def _seed(definition: Definition) -> Mapping[str, int]:
    """Of the options the one that changes what comes out."""
    seed = definition.options.seed
    return _NO_OPTIONS if seed is None else {"seed": seed}
