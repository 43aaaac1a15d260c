"""Values that pass through a body: where they come from, and how what it makes itself is kept.

A value that a body passes on is compared by its stored form with what it has awaited: if it is that, it came from there. Else the
body made it, of anything that it had been given so far; that is on record as how many values it had been given then.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any, Final

from ashore.codec import Unencodable, encode
from ashore.definitions import Definition
from ashore.errors import GraphError, InternalError
from ashore.events import Awaited, Output
from ashore.graph import Argument, Node, Ref
from ashore.ids import InvocationId, hash_id
from ashore.materialize import MaterializeError, check_loads_back, dump_value
from ashore.works import Step

_TRIVIAL: Final = (None, True, False, 0, 1, "")
"""Values that say nothing about where they come from."""
_PLAIN: Final = (str, int, float, bool, bytes, type(None))


class Given:
    """What one body has been given so far: the values that it awaited, in order."""

    __slots__ = ("_by_content", "_order", "_told", "scope")

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self._by_content: dict[bytes, Ref] = {}
        self._order: list[tuple[InvocationId, int]] = []
        self._told = 0

    def __len__(self) -> int:
        return len(self._order)

    def take(self, ref: Ref) -> None:
        """The body was given the value of this handle."""
        node = ref.node
        if node.fan:
            self._order.append((node.invocation, -1))
            return
        places = range(len(node.outputs)) if ref.output is None else (ref.output,)
        for place in places:
            content = node.outputs[place].identity
            if content not in self._by_content:
                self._by_content[content] = Ref(node, None if node.work.outputs is None else place)
                self._order.append((node.invocation, place))

    def origin(self, argument: Argument) -> Ref | None:
        """The handle whose value this plain argument is, if it is one."""
        if not self._by_content or argument.sources or (argument.template in _TRIVIAL and not argument.fresh):
            return None
        return self._by_content.get(hashlib.sha256(argument.encoded).digest())

    def of_result(self, returned: Any, outputs: Sequence[Output]) -> Ref | None:
        """The handle whose value the body returned, if it is one."""
        if len(outputs) != 1 or (type(returned) in _PLAIN and returned in _TRIVIAL):
            return None
        return self._by_content.get(outputs[0].identity)

    def of_content(self, content: bytes) -> Ref | None:
        return self._by_content.get(content)

    def untold(self) -> tuple[Awaited, ...]:
        """What it was given and is not on record yet: before a call of which it is part."""
        untold = [Awaited(self.scope, place, *self._order[place]) for place in range(self._told, len(self._order))]
        self._told = len(self._order)
        return tuple(untold)


def _made() -> Step[Any, Any]:
    async def value() -> Any:
        """What a body made."""
        raise InternalError("a value that a body made was called")

    definition = Definition(value, "value", {}, is_pipeline=False)
    return Step(definition, definition.options)


MADE: Final = _made()
"""What stands for the value itself in the graph: an invocation without inputs."""


def is_recordable(value: Any) -> bool:
    """Whether events can hold this value as it is."""
    if type(value) in _PLAIN:
        return True
    try:
        encode(value)
    except Unencodable:
        return False
    return True


def dumped(value: Any, where: str) -> Output:
    """A value that events cannot hold, in its stored form, at once: the body may change it afterwards.

    Raises `GraphError`; what cannot be stored is not thrown away: the error has it as `.value`.
    """
    try:
        stored = dump_value(value, limit=sys.maxsize, name=where)
        data = stored.data
        if data is None:
            raise InternalError(f"{where} has no stored form in memory")
        check_loads_back(value, stored.format, data)
    except MaterializeError as error:
        refused = GraphError(f"{where} cannot be recorded: {error.what}", mend=error.mend)
        refused.value = value  # type: ignore[attr-defined]  # documented: what the body made
        raise refused from error
    return Output(hashlib.sha256(data).digest(), len(data), stored.format, stored.type, data, stored.content)


def made_node(index: int, scope: str, output: Output) -> Node:
    """The invocation that stands for a value which a body made."""
    invocation = InvocationId(hash_id(scope.encode(), b"value", output.format.encode(), output.identity))
    return Node(index, MADE, scope, [], invocation)
