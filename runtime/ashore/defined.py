"""Which code a run's steps are, and which of it this process has stated in the log."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ashore.codec import encode as encode_value
from ashore.definitions import Definition
from ashore.engine.looking import Looker
from ashore.engine.means import Means
from ashore.engine.values import INLINE_LIMIT
from ashore.events import Event, Output, StepDefined, encode, raw_digest
from ashore.files import File
from ashore.fingerprint import Fingerprint, fingerprint_of, names_in, remembered, sources_of
from ashore.graph import Node
from ashore.ids import CodeId
from ashore.works import Work
from ashore_stores.artifacts.base import Sink
from ashore_stores.errors import Missing
from ashore_stores.logs.base import NO_MARK, Batch

_NO_FILES: Mapping[str, bytes] = {}
_NO_OPTIONS: Mapping[str, int] = {}
SOURCES_FORMAT = "value/1"
_KEPT_SOURCES = 1024
"""Codes whose sources are kept at hand, for further runtimes of this process."""

_sources: dict[CodeId, bytes] = {}
"""The source texts of codes that were looked through in this process, encoded."""


class Defined:
    """The codes of steps, as of when they are asked for, with the definitions that the log has not been told yet."""

    def __init__(self, means: Means, root: str) -> None:
        self._means = means
        self._root = root
        self._stated: set[CodeId] = set()
        self._stored: dict[CodeId, Output] = {}
        """Sources of codes that the log does not have yet."""

    async def stamp(self, nodes: Sequence[Node]) -> list[Event]:
        """Give each node its code; returns the definitions to be stated before anything of them."""
        known = await self.learn(node.work for node in nodes)
        codes: dict[Definition, CodeId] = {}
        events: list[Event] = []
        for node in nodes:
            definition = node.work.definition
            code = codes.get(definition)
            if code is None:
                code, stated = self._state(definition, known[definition])
                codes[definition] = code
                events += stated
            node.code = code
        return events

    async def learn(self, works: Iterable[Work[Any, Any]]) -> Mapping[Definition, Fingerprint]:
        """The fingerprints as of now; what has to be walked through is walked in a worker thread, as that may take its time."""
        definitions = {work.definition: None for work in works}
        known = {
            one: taken for one in definitions if (taken := _remembered(one)) is not None and not self._is_sourceless(taken.code)
        }
        unknown = [one for one in definitions if one not in known]
        if unknown:
            known.update(await self._means.ports.workers.run(self._learn, unknown))
        for definition in definitions:
            if definition not in known:  # the loop's thread changed what was walked through there
                known[definition] = fingerprint_here(definition, self._means.looker, self._root)
            code = known[definition].code
            if code not in self._stated and code not in self._stored and code in _sources and not self._means.log.marked(code):
                self._stored[code] = await self._store(_sources[code])
        return known

    async def define(self, work: Work[Any, Any]) -> tuple[CodeId, list[Event]]:
        """The code of one step as of now, and what is to be stated before anything of it."""
        known = await self.learn([work])
        return self._state(work.definition, known[work.definition])

    def of(self, work: Work[Any, Any]) -> tuple[CodeId, list[Event]]:
        """As `define`, without waiting: microseconds if nothing has changed since it was taken, else the walk is made here."""
        return self._state(work.definition, fingerprint_here(work.definition, self._means.looker, self._root))

    def _state(self, definition: Definition, taken: Fingerprint) -> tuple[CodeId, list[Event]]:
        if taken.code in self._stated:
            return taken.code, []
        self._stated.add(taken.code)
        stated = StepDefined(
            *(taken.code, definition.name, definition.role, definition.file, definition.line, taken.parts, definition.doc or ""),
            places=tuple(map(str, taken.places)),
            unfollowed=tuple((one.what, one.where, one.mend) for one in taken.unfollowed),
            ignored=tuple(sorted(definition.ignored)),
            sources=self._stored.pop(taken.code, None),
        )
        return taken.code, [stated]

    def _learn(self, definitions: list[Definition]) -> dict[Definition, Fingerprint]:
        known: dict[Definition, Fingerprint] = {}
        for definition in definitions:
            try:
                taken = fingerprint_here(definition, self._means.looker, self._root)
                if taken.code not in _sources:
                    _keep(taken.code, encode_value(sources_of(definition.fn, definition.options.declared)))
            except RuntimeError:
                continue
            known[definition] = taken
        return known

    def _is_sourceless(self, code: CodeId) -> bool:
        """Whether a code is new to this process and to the log, so that its sources have to be looked through."""
        return not (code in self._stated or code in _sources or self._means.log.marked(code))

    async def _store(self, data: bytes) -> Output:
        """The sources as an artifact: small ones in the log itself."""
        if len(data) <= INLINE_LIMIT:
            return Output(hashlib.sha256(data).digest(), len(data), SOURCES_FORMAT, "dict", data)

        def produce(sink: Sink) -> None:
            sink.write(data)

        blob = await self._means.artifacts.put(produce)
        return Output(raw_digest(blob.digest), blob.size, SOURCES_FORMAT, "dict")


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


def definitions_batch(events: Sequence[Event]) -> Batch:
    """The events as a batch; definitions are found again by their code."""
    marks = [event.code if isinstance(event, StepDefined) else NO_MARK for event in events]
    return Batch(encode(events), len(events), b"".join(marks))


def _keep(code: CodeId, data: bytes) -> None:
    _sources[code] = data
    if len(_sources) > _KEPT_SOURCES:
        del _sources[next(iter(_sources))]


def _remembered(definition: Definition) -> Fingerprint | None:
    """The fingerprint if it was taken before and holds; of a step that declares files none: they have to be looked at."""
    options, declared = _seed(definition), definition.options.declared
    if declared.files:
        return None
    return remembered(definition.fn, name=definition.name, role=definition.role, options=options, cache=declared)


def _seed(definition: Definition) -> Mapping[str, int]:
    """Of the options the one that changes what comes out."""
    seed = definition.options.seed
    return _NO_OPTIONS if seed is None else {"seed": seed}
