"""A run's result as the log keeps it: its shape, with the outputs in it. Complete in itself, so that anybody can load it.

The encoding is a nested msgpack array, by its first element: "o" one output; "t" a step's tuple of outputs; "n" a step's
`Outputs` (its class's name, its fields, the outputs); "e" the elements of a fan-out, "c" the same as a column if they
are outputs of one kind; "l" / "u" / "d" a list, tuple or dict of shapes; "p" a plain value (`ashore.codec`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from ashore import fans
from ashore.codec import decode, encode
from ashore.events import Column, Output
from ashore.fans import column_of
from ashore.graph import FileRef, Node, Ref
from ashore.outputs import Outputs


def encode_result(template: Any) -> bytes:
    """The shape of a result whose references are all settled."""
    return msgspec.msgpack.encode(_shape(template))


def outputs_in(result: bytes) -> list[Output]:
    """All outputs that a result names (some may be blobs that have to be loaded first)."""
    found: list[Output] = []
    if result:
        _build(msgspec.msgpack.decode(result), lambda output: found.append(output))
    return found


def identity_of(result: bytes) -> bytes:
    """What equal results have in common, however and wherever they were made: their shape, and the content of their outputs."""
    return msgspec.msgpack.encode(_by_content(msgspec.msgpack.decode(result))) if result else b""


def _by_content(shape: list[Any]) -> list[Any]:
    tag, content = shape
    if tag == "c":
        return ["e", [["o", [output.format, output.type, output.identity]] for output in _outputs(content)]]
    if tag == "o":
        return [tag, _content(content)]
    if tag == "t":
        return [tag, [_content(output) for output in content]]
    if tag == "n":
        return [tag, [*content[:2], [_content(output) for output in content[2]]]]
    if tag == "p":
        return shape
    if tag == "d":
        return [tag, [[key, _by_content(item)] for key, item in content]]
    return [tag, [_by_content(item) for item in content]]


def _outputs(column: Any) -> list[Output]:
    return fans.outputs_in(msgspec.convert(column, Column))


def _content(output: Any) -> list[Any]:
    known = msgspec.convert(output, Output)
    return [known.format, known.type, known.identity]


def decode_result(result: bytes, load: Callable[[Output], Any]) -> Any:
    """The value, each output by what `load` gives for it."""
    return _build(msgspec.msgpack.decode(result), load) if result else None


def _shape(template: Any) -> list[Any]:
    kind = type(template)
    if kind is Ref:
        return _shape_of_ref(template)
    if kind is Output:
        return ["o", template]
    if kind is FileRef:
        return ["p", encode(template.file)]
    if kind is list or kind is tuple:
        return ["l" if kind is list else "u", [_shape(item) for item in template]]
    if kind is dict:
        return ["d", [[encode(key), _shape(item)] for key, item in template.items()]]
    return ["p", encode(template)]


def _shape_of_ref(ref: Ref) -> list[Any]:
    node = ref.node
    if node.fan:
        kept = list(node.elements.kept()) if node.elements else []
        place = 0 if ref.output is None and node.work.outputs is None else ref.output
        if place is not None and len({(outputs[place].format, outputs[place].type) for outputs in kept}) == 1:
            return ["c", column_of([outputs[place] for outputs in kept])]
        return ["e", [_shape_of_outputs(node, outputs, ref.output) for outputs in kept]]
    return _shape_of_outputs(node, node.outputs, ref.output)


def _shape_of_outputs(node: Node, outputs: tuple[Output, ...], place: int | None) -> list[Any]:
    if place is not None:
        return ["o", outputs[place]]
    if node.work.outputs is None:
        return ["o", outputs[0]]
    if isinstance(node.work.outputs, int):
        return ["t", list(outputs)]
    kind = node.work.returns
    return ["n", [f"{kind.__module__}:{kind.__qualname__}", list(node.work.outputs), list(outputs)]]


def _build(shape: list[Any], load: Callable[[Output], Any]) -> Any:
    tag, content = shape
    if tag == "o":
        return load(msgspec.convert(content, Output))
    if tag == "p":
        return decode(content)
    if tag == "c":
        return [load(output) for output in _outputs(content)]
    if tag == "d":
        return {decode(key): _build(item, load) for key, item in content}
    if tag == "t":
        return tuple([load(msgspec.convert(output, Output)) for output in content])
    if tag == "n":
        name, fields, outputs = content
        return _named(name, fields, [load(msgspec.convert(output, Output)) for output in outputs])
    items = [_build(item, load) for item in content]
    return tuple(items) if tag == "u" else items


def _named(name: str, fields: list[str], values: list[Any]) -> Any:
    """The `Outputs` again, if its class is imported here; else a dictionary by field."""
    module, _, qualname = name.partition(":")
    kind: Any = sys.modules.get(module)
    for part in qualname.split("."):
        kind = getattr(kind, part, None)
    if isinstance(kind, type) and issubclass(kind, Outputs):
        return kind(*values)
    return dict(zip(fields, values, strict=True))
