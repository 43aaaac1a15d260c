"""Between stored forms and values: what a consumer receives, and what an invocation's result becomes.

A consumer receives the stored form loaded back, so that a fresh, a reused and a resumed run see the same. Values that cannot
change are shared by all consumers of a process; everything else is loaded anew for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from ashore.codec import decode, encode, pack_plain
from ashore.errors import StepError
from ashore.events import UNSTORED, Output, raw_digest, text_digest
from ashore.files import File
from ashore.graph import UNSET, Argument, FileRef, Node, Ref, Source, fill, sources_in
from ashore.ids import hash_id
from ashore.materialize import (
    VALUE_FORMAT,
    MaterializeError,
    check_loads_back,
    dump_to,
    dump_value,
    load_value,
    may_share,
    type_name,
)
from ashore.works import Work
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import Missing
from ashore_stores.ports import Workers

INLINE_LIMIT = 32 * 1024
"""Bytes up to which a value lives in the log; larger ones are blobs."""

_CHECK_AT_ONCE = 64 * 1024 * 1024
"""Bytes up to which a first value is loaded back and compared before it is published."""

Blobs = Mapping[bytes, Any]
"""What was loaded for a consumer, by digest: blobs, and values that were handed on in memory."""

_IN_MEMORY = b"in memory:"
"""How the digest begins of what is no blob."""

_ATOMS = frozenset((int, str, float, bool, type(None)))
"""Types whose values msgpack brings back as they are."""
CONSTANT = (int, str, float, bool, type(None), bytes)
"""Types whose values nobody can change, and which hold nothing else."""

_checked: set[tuple[Any, int, type]] = set()
"""Which (definition, output, type) have had their first value checked in this process."""


class Stored(NamedTuple):
    """What an invocation made, or one element of a fan-out: one of its outputs, or (place None) its whole value."""

    work: Any
    """The step (not typed as one: checkers would take it for a method of this class)."""
    outputs: tuple[Output, ...]
    place: int | None

    @property
    def taken(self) -> tuple[Output, ...]:
        """The outputs that are meant."""
        return self.outputs if self.place is None else (self.outputs[self.place],)

    @property
    def content(self) -> bytes:
        """Its identity: of several outputs as one value not that of a list with the same parts."""
        outputs, several = self.taken, self.work.outputs
        if several is None or self.place is not None:
            return outputs[0].identity
        names = "" if isinstance(several, int) else f"{self.work.returns.__qualname__}({','.join(several)})"
        return hash_id(b"outputs", names.encode(), *(output.identity for output in outputs))


class Item(NamedTuple):
    """One element of a fan-out's source: what it is named by, and how it is had."""

    identity: bytes
    value: Any
    """A `Stored` value, a template with the places of `sources` in it, or the plain value itself."""
    sources: Sequence[Source] = ()
    file: File | None = None
    is_fresh: bool = False
    """Whether each consumer needs a copy of its own, which the identity, its encoding, gives."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain value, and no artifact or template with artifacts in it: its identity is its encoding then."""
        return self.is_fresh or (self.file is None and type(self.value) in CONSTANT)


def blobs_of(arguments: Iterable[Argument]) -> list[bytes]:
    """Digests of the blobs that must be loaded before these arguments can be given."""
    return [digest for argument in arguments for digest in blobs_in(argument.sources)]


def blobs_in(sources: Iterable[Source]) -> list[bytes]:
    """Digests of the blobs that must be loaded before these places can be filled."""
    needed: list[bytes] = []
    for source in sources:
        if type(source) is Ref:
            needed.extend([output.digest for output in outputs_at(source) if output.data is None])
    return needed


def outputs_at(ref: Ref) -> Iterable[Output]:
    """All outputs that a reference stands for."""
    node = ref.node
    if node.fan:
        for outputs in node.elements.kept() if node.elements else ():
            if ref.output is None:
                yield from outputs
            else:
                yield outputs[ref.output]
    elif ref.output is None:
        yield from node.outputs
    else:
        yield node.outputs[ref.output]


async def load_blobs(artifacts: ArtifactStore, digests: Iterable[bytes]) -> Blobs:
    """Load blobs, verified and mapped. Raises `Missing`, `Corrupt`."""
    return {digest: await _load(artifacts, digest) for digest in digests}


async def _load(artifacts: ArtifactStore, digest: bytes) -> Any:
    try:
        return await artifacts.load(text_digest(digest))
    except Missing:
        if not is_in_memory(digest):
            raise
        what = "this value was handed on in memory, within its run: it is not stored"
        raise MaterializeError(what, mend="Take store=False from the step that made it, and run it again") from None


def of_memory(name: bytes) -> bytes:
    """The digest of a value that is handed on in memory: `name` is 22 bytes."""
    return _IN_MEMORY + name


def name_in_memory(digest: bytes) -> bytes:
    """The name that `of_memory` made it of."""
    return digest[len(_IN_MEMORY) :]


def is_in_memory(digest: bytes) -> bool:
    """Whether it is no blob, but a value that this process hands on."""
    return digest.startswith(_IN_MEMORY)


def load_output(output: Output, blobs: Blobs) -> Any:
    """One stored value as a consumer receives it."""
    data = output.data
    if output.format == UNSTORED:
        return blobs[output.digest]
    return load_value(output.format, blobs[output.digest] if data is None else data)


def load_outputs(work: Work[Any, Any], outputs: Sequence[Output], place: int | None, blobs: Blobs) -> Any:
    """A step's value: one output, the tuple of all, or its `Outputs`."""
    if place is not None:
        return load_output(outputs[place], blobs)
    if work.outputs is None:
        return load_output(outputs[0], blobs)
    values = [load_output(output, blobs) for output in outputs]
    return tuple(values) if isinstance(work.outputs, int) else work.returns(*values)


def load_source(source: Source, blobs: Blobs) -> Any:
    """What stands for this place in the consumer's arguments."""
    if type(source) is FileRef:
        return source.file
    assert type(source) is Ref
    node = source.node
    if node.fan:
        kept = node.elements.kept() if node.elements else ()
        place = _only_place(node, source.output)
        if place is not None:
            return [load_output(outputs[place], blobs) for outputs in kept]
        return [load_outputs(node.work, outputs, source.output, blobs) for outputs in kept]
    if node.shared is not UNSET and source.output is None:
        return node.shared
    value = load_outputs(node.work, node.outputs, source.output, blobs)
    if node.work.outputs is None and node.outputs[0].format != UNSTORED and may_share(node.outputs[0].format, value):
        node.shared = value
    return value


def arguments_of(node: Node, blobs: Blobs) -> dict[str, Any]:
    """The arguments of a call of `node`, fresh for it. Fan-out arguments are left out."""
    return {argument.name: _value_of(argument, blobs) for argument in node.arguments if argument.each is None}


def _value_of(argument: Argument, blobs: Blobs) -> Any:
    template = argument.template
    if type(template) is Ref:
        return load_source(template, blobs)
    if not argument.sources:
        return decode(argument.encoded) if argument.fresh else template
    return fill(template, partial(load_source, blobs=blobs))


def _only_place(node: Node, place: int | None) -> int | None:
    """Which output of each element is meant, if it is one."""
    return 0 if place is None and node.work.outputs is None else place


def content_of(source: Source) -> bytes:
    """What a source brings into the keys of its consumers: the identity of its content."""
    if type(source) is FileRef:
        return source.content
    assert type(source) is Ref
    node = source.node
    if not node.fan:
        return Stored(node.work, node.outputs, source.output).content
    kept = node.elements.kept() if node.elements else ()
    place = _only_place(node, source.output)
    if place is not None:
        return hash_id(b"elements", *[outputs[place].content or outputs[place].digest for outputs in kept])
    return hash_id(b"elements", *(Stored(node.work, outputs, source.output).content for outputs in kept))


def list_of(ref: Ref, blobs: Blobs) -> Sequence[Any]:
    """The list that a step gave, to be gone over. Raises `TypeError` if it is none."""
    value = load_source(ref, blobs)
    if not isinstance(value, (list, tuple)):
        name = ref.node.work.name
        raise TypeError(f"each({name}(...)) needs a list; {name} returned {type(value).__name__}")
    return value


def item_of(part: Any) -> Item:
    """An element of a list: a plain value, a file, or a template with the places of handles in it."""
    kind = type(part)
    if kind in CONSTANT:
        return Item(encode(part), part)
    if kind is Ref:
        return Item(content_of(part), part, (part,))
    if kind is FileRef:
        return Item(part.content, part.file, file=part.file)
    if kind is File:
        return Item(FileRef(part).content, part, file=part)
    sources = list(sources_in(part))
    if not sources:
        return Item(encode(part), part, is_fresh=True)
    skeleton = encode(fill(part, lambda _: None))
    return Item(hash_id(skeleton, *(content_of(source) for source in sources)), part, sources)


def item_blobs(item: Item) -> list[bytes]:
    """Digests of the blobs that must be loaded before this element can be given."""
    if type(item.value) is Stored:
        return [output.digest for output in item.value.taken if output.data is None]
    return blobs_in(item.sources)


def load_item(item: Item, blobs: Blobs) -> Any:
    """An element's value, fresh for its one consumer."""
    value = item.value
    if type(value) is Stored:
        return load_outputs(value.work, value.outputs, value.place, blobs)
    if item.sources:
        return fill(value, partial(load_source, blobs=blobs))
    return decode(item.identity) if item.is_fresh else value


class Large(NamedTuple):
    """A result that does not go into the log: it is stored as a blob, or (format `UNSTORED`) handed on in memory."""

    value: Any
    format: str
    type: str
    content: bytes
    place: int


def dump_result(work: Work[Any, Any], result: Any) -> list[Output | Large]:
    """A step's result in its stored form, checked. Raises `MaterializeError`, `StepError` (a wrong number of outputs)."""
    several, dump = work.outputs, _dump if work.is_stored else _handed_on
    if several is None:
        return [dump(work, result, 0)]
    if isinstance(several, tuple):
        return [dump(work, getattr(result, name), place) for place, name in enumerate(several)]
    if not isinstance(result, tuple) or len(result) != several:
        raise StepError(
            f"{work.name} is annotated to return a tuple of {several} outputs, but returned {_shape(result)}",
            where=f"{work.file}:{work.line}",
        )
    return [dump(work, value, place) for place, value in enumerate(result)]


def plain_output(value: Any) -> Output | None:
    """The stored form of a number, a text or None, which needs no check; None for anything else, and for what is large."""
    kind = type(value)
    if kind in _ATOMS and (data := pack_plain(value)) is not None and len(data) <= INLINE_LIMIT:
        return Output(hashlib.sha256(data).digest(), len(data), VALUE_FORMAT, kind.__name__, data)
    return None


def dump_whole(work: Work[Any, Any], value: Any) -> Output | Large:
    """A value that a body made, as one output. Raises `MaterializeError`."""
    return _dump(work, value, -1)


def _handed_on(work: Work[Any, Any], value: Any, place: int) -> Output | Large:
    return Large(value, UNSTORED, type_name(type(value)), b"", place)


def _dump(work: Work[Any, Any], value: Any, place: int) -> Output | Large:
    dumped = dump_value(value, limit=INLINE_LIMIT)
    data = dumped.data
    if data is None:
        return Large(value, dumped.format, dumped.type, dumped.content, place)
    first = (work.definition, place, type(value))
    if first not in _checked:
        check_loads_back(value, dumped.format, data)
        _checked.add(first)
    return Output(hashlib.sha256(data).digest(), len(data), dumped.format, dumped.type, data, dumped.content)


async def store_large(artifacts: ArtifactStore, workers: Workers, work: Work[Any, Any], large: Large) -> Output:
    """Store a large value as a blob, durable when this returns; a first value is loaded back and compared."""
    blob = await artifacts.put(partial(dump_to, large.value))
    first = (work.definition, large.place, type(large.value))
    if first not in _checked and blob.size <= _CHECK_AT_ONCE:
        data = await artifacts.load(blob.digest)
        await workers.run(check_loads_back, large.value, large.format, data)
        _checked.add(first)
    return Output(raw_digest(blob.digest), blob.size, large.format, large.type, None, large.content)


async def store_all(
    artifacts: ArtifactStore, workers: Workers, work: Work[Any, Any], outputs: Sequence[Output | Large]
) -> tuple[Output, ...]:
    """The outputs with blobs in the place of the large ones, durable when this returns."""
    stored: list[Output] = []
    for output in outputs:
        if type(output) is Large:
            stored.append(await store_large(artifacts, workers, work, output))
        else:
            stored.append(cast("Output", output))
    return tuple(stored)


def _shape(result: Any) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
