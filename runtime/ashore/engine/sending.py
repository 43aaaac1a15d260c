"""The arguments of an attempt as another process gets them: stored forms, which that process loads by itself.

Written with the codec; in the place of each value that a step made stands what names it (`Given`): its outputs, inline or by the
digest of a blob in the artifact store, and the step that made them, whose module knows the classes in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import msgspec

from ashore.codec import Codec, Undecodable, encode_with
from ashore.engine.fanout import Element
from ashore.engine.invoke import files_of
from ashore.engine.means import Means
from ashore.engine.processes import Task
from ashore.engine.units import Unit, blobs_needed, node_of
from ashore.engine.values import Blobs, Item, Stored, is_in_memory, load_output
from ashore.errors import StepError
from ashore.events import Output
from ashore.graph import FileRef, Ref, Source, fill
from ashore.materialize import MaterializeError
from ashore.works import Work

_FORMAT: Final = "given/1"
_ONE: Final = ""
_TUPLE: Final = "tuple"


class Given(msgspec.Struct, frozen=True, array_like=True):
    """A value that a step made."""

    outputs: tuple[Output, ...]
    shape: str
    """"": one value; "tuple": one value each; else the qualified name of the `Outputs` class that they make."""
    module: str
    """Where the step that made it is defined, or the `Outputs` class, if there is one."""
    file: str
    """That module's file, "" if it has none."""


_pack: Final = msgspec.msgpack.Encoder().encode
_given: Final = msgspec.msgpack.Decoder(Given)


class _Sending:
    """The codec's foreign values on their way out."""

    def dump(self, value: Any) -> tuple[str, bytes] | None:
        return (_FORMAT, _pack(value)) if type(value) is Given else None

    def load(self, format: str, data: memoryview) -> NoReturn:
        raise Undecodable(f"the format {format!r} is only read where attempts run")


def task_of(unit: Unit, means: Means) -> Task:
    """The attempt of a unit, for another process. Raises `StepError` for what cannot be sent there."""
    node = node_of(unit)
    work = node.work
    if any([is_in_memory(digest) for digest in blobs_needed(unit)]):
        what = f"{work.name} runs in a process of its own, and one of its inputs is only handed on in memory (store=False)"
        raise StepError(what, where=f"{work.file}:{work.line}", mend="Take store=False from the step that makes it")
    secrets = tuple((name, secret.name, secret.value) for name, secret in _secrets(unit, means).items())
    task = Task(work, node.code, _arguments(unit), tuple(blobs_needed(unit)), tuple(files_of(unit)), secrets)
    task = task._replace(seed=work.definition.options.seed)
    trials = node.trials
    if trials is None:
        return task
    if type(unit) is Element:
        trials = trials.element(unit.index)
    return task._replace(memory=trials.policy.memory, gpus=trials.gpus)


def _secrets(unit: Unit, means: Means) -> dict[str, Any]:
    work = node_of(unit).work
    resources = [supply.name for supply in work.supplied if not supply.is_secret]
    if resources:
        raise StepError(
            f"{work.name} runs in a process of its own, and its resource {resources[0]!r} is open in this one",
            where=f"{work.file}:{work.line}",
            mend="Open it in the step, or let the step run on a thread: take process=, timeout=, gpus=, memory= and seed= out",
        )
    return means.supplies.given(work) if work.supplied else {}


def _arguments(unit: Unit) -> tuple[tuple[str, bytes], ...]:
    sent: list[tuple[str, bytes]] = []
    for argument in node_of(unit).arguments:
        if argument.each is not None:
            continue
        encoded = argument.encoded if not argument.sources else _encoded(argument.name, fill(argument.template, _sent))
        sent.append((argument.name, encoded))
    if type(unit) is Element:
        for feed, item in zip(unit.fanout.feeds, unit.items, strict=True):
            sent.append((feed.name, _item(feed.name, item)))
    return tuple(sent)


def _item(name: str, item: Item) -> bytes:
    if type(item.value) is Stored:
        return _encoded(name, _made(item.value.work, item.value.outputs, item.value.place))
    return _encoded(name, fill(item.value, _sent) if item.sources else item.value)


def _encoded(name: str, value: Any) -> bytes:
    return encode_with(_Sending(), value, name=name)


def _sent(source: Source) -> Any:
    if type(source) is FileRef:
        return source.file
    assert type(source) is Ref
    node = source.node
    if node.fan:
        kept = node.elements.kept() if node.elements else ()
        return [_made(node.work, outputs, source.output) for outputs in kept]
    return _made(node.work, node.outputs, source.output)


def _made(work: Work[Any, Any], outputs: Sequence[Output], place: int | None) -> Given:
    if place is not None or work.outputs is None:
        return Given((outputs[place or 0],), _ONE, work.module, file_of(work.module))
    if isinstance(work.outputs, int):
        return Given(tuple(outputs), _TUPLE, work.module, file_of(work.module))
    module = work.returns.__module__
    return Given(tuple(outputs), work.returns.__qualname__, module, file_of(module))


def file_of(module: str) -> str:
    """The file that an imported module came from; "" if it has none."""
    return getattr(sys.modules.get(module), "__file__", None) or ""


# Where the attempt runs.


class NotImportedThere(StepError):
    """An argument is of a class whose module is not imported where the attempt runs."""

    def __init__(self, what: str, module: str) -> None:
        super().__init__(what)
        self.module = module


def _first(error: BaseException) -> BaseException:
    """What a chain of errors began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class Receiving:
    """Arguments as they arrive: `find(module, file)` imports a module that has a class which is not known yet."""

    def __init__(self, blobs: Blobs, find: Callable[[str, str], Any]) -> None:
        self._blobs = blobs
        self._find = find
        self._codec = Codec(self)

    def arguments(self, sent: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        """The arguments by name. Raises `NotImportedThere` for a class that is not, `Undecodable` for what cannot be loaded."""
        try:
            return {name: self._codec.decode(data) for name, data in sent}
        except Undecodable as error:
            first = _first(error)
            module = getattr(first, "module", "")
            if not module:
                raise
            raise NotImportedThere(str(first), module) from error

    def dump(self, value: Any) -> None:
        return None

    def load(self, format: str, data: memoryview) -> Any:
        if format != _FORMAT:
            raise Undecodable(f"no argument has the format {format!r}")
        given = _given.decode(data)
        values = [self._value(output, given) for output in given.outputs]
        if given.shape == _ONE:
            return values[0]
        if given.shape == _TUPLE:
            return tuple(values)
        made: Any = self._find(given.module, given.file)
        for part in given.shape.split("."):
            made = getattr(made, part)
        return made(*values)

    def _value(self, output: Output, given: Given) -> Any:
        try:
            return load_output(output, self._blobs)
        except (MaterializeError, Undecodable):
            self._find(given.module, given.file)  # the step that made it has imported its class, and registered its materializer
            return load_output(output, self._blobs)
