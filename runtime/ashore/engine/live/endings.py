"""How a body ends: what failed it, and what it leaves as its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ashore.codec import Unencodable, encode
from ashore.engine.means import Means
from ashore.engine.values import INLINE_LIMIT, Large, blobs_in, dump_result, dump_whole, load_blobs, load_source, store_large
from ashore.events import Output
from ashore.graph import Ref, fill, sources_in
from ashore.ids import InvocationId
from ashore.works import Work
from ashore_stores.artifacts.base import Sink


class Broken(NamedTuple):
    """What failed a body."""

    roots: tuple[InvocationId, ...]
    """Invocations whose failures it did not handle."""
    own: tuple[Exception, ...]
    """What it raised itself."""


def what_broke(error: Exception | None, errors: Mapping[InvocationId, Exception], unhandled: Iterable[InvocationId]) -> Broken:
    """Sort what a body raised into failures of its steps and what is its own."""
    by_error = {id(one): invocation for invocation, one in errors.items()}
    roots: dict[InvocationId, None] = {}
    own: list[Exception] = []
    for leaf in _leaves(error):
        invocation = by_error.get(id(leaf))
        if invocation is None:
            own.append(leaf)
        else:
            roots[invocation] = None
    roots.update(dict.fromkeys(unhandled))
    return Broken(tuple(roots), tuple(own))


def group_of(errors: Sequence[Exception]) -> Exception:
    """Several exceptions as one."""
    return errors[0] if len(errors) == 1 else ExceptionGroup("the body raised several exceptions", errors)


def _leaves(error: BaseException | None) -> Iterable[Exception]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif isinstance(error, Exception):
        yield error


async def kept(work: Work[Any, Any], template: Any, means: Means) -> Any:
    """What a body returned, in a form that can be recorded: values that events cannot hold are stored, as outputs."""
    if _is_recordable(template):
        return template
    kind = type(template)
    if kind is list or kind is tuple:
        return kind([await kept(work, item, means) for item in template])
    if kind is dict:
        return {key: await kept(work, item, means) for key, item in template.items()}
    return await _stored(work, dump_whole(work, template), means)


def _is_recordable(template: Any) -> bool:
    try:
        encode(fill(template, lambda _: None))
    except Unencodable:
        return False
    return True


async def outputs_of_body(work: Work[Any, Any], template: Any, means: Means) -> tuple[Output, ...]:
    """The outputs of a sub-run: those of the step whose handle it returned, or what it returned, stored."""
    if type(template) is Ref and not template.node.fan and work.outputs is None:
        node = template.node
        if template.output is not None:
            return (node.outputs[template.output],)
        if node.work.outputs is None:
            return node.outputs
    blobs = await load_blobs(means.artifacts, blobs_in(sources_in(template)))
    value = fill(template, lambda source: load_source(source, blobs))
    return tuple([await _stored(work, part, means) for part in dump_result(work, value)])


async def stored(output: Output, means: Means) -> Output:
    """A value that is dumped already: in the log, if it is small, else as a blob. Durable, then."""
    data = output.data
    if data is None or len(data) <= INLINE_LIMIT:
        return output
    await means.artifacts.put(lambda sink: _write(sink, data))
    return Output(output.digest, output.size, output.format, output.type, None, output.content)


def _write(sink: Sink, data: bytes) -> None:
    sink.write(data)


async def _stored(work: Work[Any, Any], part: Output | Large, means: Means) -> Output:
    return await store_large(means.artifacts, means.ports.workers, work, part) if type(part) is Large else part  # type: ignore[return-value]
