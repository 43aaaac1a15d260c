"""A graph as the log keeps it."""

from __future__ import annotations

from ashore.events import Call, FileUse, Input, path_text
from ashore.files import File
from ashore.graph.nodes import FileRef, Node, Ref
from ashore.records import EACH


def call_of(node: Node) -> Call:
    """A node as the log keeps it."""
    inputs: list[Input] = []
    files: list[FileUse] = []
    params: list[tuple[str, bytes]] = []
    for argument in node.arguments:
        for path, source in zip(argument.paths, argument.sources, strict=True):
            if type(source) is Ref:
                inputs.append(input_of(source, path, -1 if argument.each is None else EACH))
            elif type(source) is FileRef:
                files.append(file_use(path, source.file))
        if argument.is_value:
            params.append((argument.name, argument.encoded))
            if argument.origin is not None:
                inputs.append(input_of(argument.origin, argument.name))
    taken = (tuple(inputs), tuple(files), tuple(params))
    return Call(node.invocation, node.work.name, node.code, node.scope, *taken, node.fan, node.given)


def input_of(source: Ref, place: str, element: int = -1) -> Input:
    """An output that is taken at this place, as the log keeps it."""
    return Input(place, source.node.invocation, _output_place(source), element)


def _output_place(source: Ref) -> int:
    if source.output is not None:
        return source.output
    return 0 if source.node.work.outputs is None or source.node.fan else -1


def file_use(argument: str, file: File) -> FileUse:
    """A file as the log keeps it."""
    return FileUse(argument, path_text(file.path), file.size, file.mtime_ns, file.digest)
