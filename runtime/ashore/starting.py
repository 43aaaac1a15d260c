"""From a call to a run that can go: arguments checked, files looked at, the graph wired, its first events written down."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from anyio.lowlevel import current_token

from ashore.calls import Bound, Call
from ashore.codec import Unencodable, decode, encode
from ashore.engine.limits import limit_key
from ashore.engine.means import Means
from ashore.errors import GraphError, StepError, WrongArgument, did_you_mean, user_line
from ashore.events import Arrivals, Event, FileUse, Invoked, RunStarted
from ashore.files import File
from ashore.graph import NOTHING_REPLACED, Graph, call_of, file_use, wire, wire_step
from ashore.handles import Handle
from ashore.ids import RunId, hash_id
from ashore.parameters import validated
from ashore.policies import Policy
from ashore.replacing import Replacements
from ashore.runs import Run
from ashore.signatures import Parameter
from ashore.targets import target_of
from ashore.works import Pipeline, Work

_NO_RUN = RunId("")
_CALLS = 4096
"""Calls that go into one `Invoked` event."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call whose arguments are checked and whose files have been looked at."""

    work: Work[Any, Any]
    arguments: Mapping[str, Any]
    params: tuple[tuple[str, bytes], ...]
    files: tuple[FileUse, ...]
    policy: Policy | None
    """What the call asks for around it; a process that resumes the run goes by the step's own."""
    refresh: tuple[str, ...] = ()
    """The names of the steps that are done again though their results are known."""

    @property
    def entrance(self) -> tuple[Policy, Hashable] | None:
        """What a run of it has to be let in by, and where it queues. Raises `GraphError` if that cannot be said."""
        if not isinstance(self.work, Pipeline) or self.policy is None:
            return None
        try:
            key = limit_key(self.policy, self.arguments)
        except StepError as error:  # a callback of the user's
            raise GraphError(f"{self.work.name}: {error.what}", where=self.work.definition.where, mend=error.mend) from error
        return self.policy, (self.work.module, self.work.name, key)

    @property
    def digest(self) -> bytes:
        """Equal for equal arguments: by name, value, and of files path and content."""
        parts: list[bytes] = [self.work.name.encode()]
        for name, value in self.params:
            parts += (name.encode(), value)
        for use in self.files:
            parts += (use.argument.encode(), use.path.encode("utf-8", "surrogateescape"), use.digest)
        return hash_id(*parts)

    def shown(self) -> dict[str, str]:
        """The arguments as texts, for people."""
        return {name: repr(value) for name, value in self.arguments.items()}


class Once:
    """The one run of a call on one loop: whoever awaits or starts the call next is given it."""

    def __init__(self) -> None:
        self.loop = current_token()
        self.lock = anyio.Lock()
        self.run: Run[Any] | None = None


def once_of(call: Handle[Any]) -> Once:
    """The run of this call on the running loop, or the place for it."""
    if not isinstance(call, Call):
        return Once()
    if call.once is None or call.once.loop != current_token():
        call.once = Once()
    once: Once = call.once
    return once


def refreshed_by(call: Handle[Any]) -> tuple[str, ...]:
    """The names of the steps that the run of this call does again."""
    return call.refreshed if isinstance(call, Call) else ()


async def prepare(bound: Bound, means: Means, refresh: tuple[str, ...] = ()) -> Prepared:
    """Check a call's arguments and look at its files. Raises `GraphError`, `Missing`."""
    work = bound.work
    arguments: dict[str, Any] = {}
    for parameter in work.parameters:
        arguments[parameter.name] = await _argument(work, parameter, bound.arguments[parameter.name], bound.where, means)
    return Prepared(work, arguments, *_recorded(work, arguments), bound.options.policy, refresh)


async def prepared_with(work: Work[Any, Any], started: RunStarted, changed: Mapping[str, Any], means: Means) -> Prepared:
    """The call of a recorded run with some arguments changed; those that are not stay as they were, files too.

    Raises `WrongArgument` for one that `work` does not take, or that it takes by now and nothing gives.
    """
    named = {parameter.name: parameter for parameter in work.parameters}
    recorded = _restored(started)
    strangers = [name for name in (*changed, *recorded) if name not in named]
    if strangers:
        hint = did_you_mean(strangers[0], named) or f"It takes {', '.join(named) or 'no arguments'}"
        raise WrongArgument(f"{work.name} has no parameter `{strangers[0]}`", where=user_line(), mend=hint)
    arguments: dict[str, Any] = {}
    for name, parameter in named.items():
        if name not in changed and name in recorded:
            arguments[name] = recorded[name]
        elif name not in changed and parameter.is_required:
            what = f"{work.name} takes `{name}` by now, which run {started.run[:8]} was not given"
            raise WrongArgument(what, where=user_line(), mend=f"Say it: {name}=...")
        else:
            arguments[name] = await _argument(work, parameter, changed.get(name, parameter.default), user_line(), means)
    return Prepared(work, arguments, *_recorded(work, arguments), work.options.policy)


async def _argument(work: Work[Any, Any], parameter: Parameter, value: Any, where: str, means: Means) -> Any:
    if isinstance(value, Handle):
        raise GraphError(
            f"{work.name}({parameter.name}=...) got a handle outside a pipeline",
            mend=f"Await it first and pass its value, or make the calls in a pipeline and start {work.name} there",
        )
    if holds_files(value):
        value = await means.ports.workers.run(_looked_at, means, value)
    return validated(parameter, value, where)


def prepared_again(work: Work[Any, Any], started: RunStarted) -> Prepared:
    """The call of a recorded run, for resuming it: recorded arguments, files as they were looked at then."""
    return Prepared(work, _restored(started), started.params, started.files, work.options.policy, started.refresh)


def wired(prepared: Prepared, replaced: Replacements = NOTHING_REPLACED) -> Graph:
    """The graph of a prepared call, with these steps in the place of others. Raises `GraphError`."""
    work = prepared.work
    if isinstance(work, Pipeline) and work.is_async:
        body = Bound(work, dict(prepared.arguments), work.options)
        return Graph([], body=body, replaced=replaced, refreshed=frozenset(prepared.refresh))
    with _without_collecting():
        if isinstance(work, Pipeline):
            graph = wire(work, prepared.arguments, replaced)
        else:
            options = msgspec.structs.replace(work.definition.options, policy=prepared.policy)
            graph = wire_step(Bound(work, dict(prepared.arguments), options), replaced)
    graph.refreshed = frozenset(prepared.refresh)
    unmet = graph.never_refreshed()
    if unmet and not graph.bodies:
        names = sorted({one.name for one in graph.works()})
        mend = did_you_mean(unmet[0], names) or f"It has {', '.join(names) or 'none'}"
        raise GraphError(f"{work.name} has no step {unmet[0]!r} to refresh", mend=mend)
    return graph


@contextmanager
def _without_collecting() -> Iterator[None]:
    """A graph is many objects and no garbage: collecting cycles while they are made costs a third of the wiring."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def first_events(run: RunId, prepared: Prepared, owner: bytes, about: About) -> RunStarted:
    """The event that a run starts with."""
    return RunStarted(
        run,
        prepared.work.name,
        target_of(prepared.work, about.root),
        prepared.params,
        prepared.files,
        owner,
        about.environment,
        about.at,
        about.key,
        about.arrivals,
        about.parent,
        about.without_effects,
        refresh=prepared.refresh,
    )


@dataclass(frozen=True, slots=True)
class About:
    """What else a run's first event says."""

    root: str
    environment: bytes
    at: float
    key: str = ""
    arrivals: Arrivals | None = None
    parent: RunId = _NO_RUN
    without_effects: bool = False


def invoked(run: RunId, graph: Graph, known: Iterable[bytes] = ()) -> list[Event]:
    """What the graph is, as events; invocations that were recorded before are left out."""
    recorded = set(known)
    calls = [call_of(node) for node in graph.nodes if node.invocation not in recorded]
    return [Invoked(run, tuple(calls[start : start + _CALLS])) for start in range(0, len(calls), _CALLS)]


def holds_files(value: Any) -> bool:
    """Whether there is a file in this argument."""
    kind = type(value)
    if kind is File:
        return True
    if kind is list or kind is tuple:
        return any(holds_files(item) for item in value)
    if kind is dict:
        return any(holds_files(item) for item in value.values())
    return False


def _looked_at(means: Means, value: Any) -> Any:
    kind = type(value)
    if kind is File:
        return means.looker.look(value)
    if kind is list or kind is tuple:
        return kind([_looked_at(means, item) for item in value])
    if kind is dict:
        return {key: _looked_at(means, item) for key, item in value.items()}
    return value


def _recorded(work: Work[Any, Any], arguments: Mapping[str, Any]) -> tuple[tuple[tuple[str, bytes], ...], tuple[FileUse, ...]]:
    files: list[FileUse] = []
    params: list[tuple[str, bytes]] = []
    for name, value in arguments.items():
        _collect(name, value, files)
        try:
            params.append((name, encode(value, numbers=True)))
        except Unencodable as error:
            raise GraphError(
                f"{work.name}({name}=...) cannot be recorded: {error}",
                mend="Pass plain values or files; let a step make anything else",
            ) from error
    return tuple(params), tuple(files)


def _collect(path: str, value: Any, files: list[FileUse]) -> None:
    kind = type(value)
    if kind is File:
        files.append(file_use(path, value))
    elif kind is list or kind is tuple:
        for place, item in enumerate(value):
            _collect(f"{path}[{place}]", item, files)
    elif kind is dict:
        for key, item in value.items():
            _collect(f"{path}[{key!r}]", item, files)


def _restored(started: RunStarted) -> dict[str, Any]:
    return {name: decode(value) for name, value in started.params}
