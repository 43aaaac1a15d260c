"""Calls that count: of equal ones, which is which. Per strand, in the order in which its one task makes them."""

from __future__ import annotations

from typing import Any
from weakref import ref

from ashore.engine.pump import current_task
from ashore.errors import AmbiguousCall, user_line
from ashore.graph import occurrence_of
from ashore.ids import InvocationId, hash_id
from ashore.strands import current_strand


class Counting:
    """The counted calls of one run so far."""

    def __init__(self) -> None:
        self._numbers: dict[InvocationId, int] = {}
        self._callers: dict[InvocationId, tuple[Any, str]] = {}

    def next(self, identity: InvocationId, name: str) -> InvocationId:
        """The invocation of the next call with this identity. Raises `AmbiguousCall` if another living task made one."""
        strand = current_strand.get()
        if strand:
            identity = InvocationId(hash_id(identity, b"strand", strand.encode("utf-8", "surrogatepass")))
        self._check(identity, name, strand)
        number = self._numbers.get(identity, 0)
        self._numbers[identity] = number + 1
        return occurrence_of(identity, number)

    def _check(self, identity: InvocationId, name: str, strand: str) -> None:
        task = current_task()
        where = user_line()
        caller = self._callers.get(identity)
        if caller is not None:
            other = caller[0]()
            if other is not None and other is not task and not other.done():
                where_else = f"one at {caller[1]}, one here"
                what = f"equal calls of {name} were made by two tasks{f' of strand {strand!r}' if strand else ''}: {where_else}"
                mend = "Name what each of the tasks does: `with ashore.strand(name):` around its calls"
                raise AmbiguousCall(what, where=where, mend=mend)
        self._callers[identity] = (ref(task), where) if task is not None else (_nobody, where)


def _nobody() -> None:
    return None
