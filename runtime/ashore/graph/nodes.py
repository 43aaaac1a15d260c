"""What a graph is made of: invocations, their arguments, and the places that other invocations' outputs fill. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from ashore.attempts import Trials
from ashore.calls import Bound
from ashore.definitions import Definition
from ashore.elements import Each
from ashore.events import Failure, Output
from ashore.fans import Fan
from ashore.files import File
from ashore.ids import CacheKey, CodeId, InvocationId, RunId, hash_id
from ashore.refreshing import ALL
from ashore.works import Step, Work

_PLAIN = (int, str, float, bool, type(None), bytes)
NOTHING_REPLACED: Mapping[Definition, Step[Any, Any]] = {}


@final
class Ref:
    """A place in an argument that another node's output will fill."""

    __slots__ = ("node", "output")

    def __init__(self, node: Node, output: int | None) -> None:
        self.node = node
        self.output = output

    @property
    def identity(self) -> bytes:
        place = 0xFFFF if self.output is None else self.output
        return self.node.invocation + place.to_bytes(2, "little")

    def __repr__(self) -> str:
        return repr(self.node) if self.output is None else f"{self.node!r}[{self.output}]"


@final
@dataclass(frozen=True, slots=True, repr=False)
class FileRef:
    """A place in an argument that is a file, looked at already."""

    file: File

    def __repr__(self) -> str:
        return repr(self.file)

    @property
    def identity(self) -> bytes:
        return self.file.path.encode("utf-8", "surrogateescape") + b"\0" + self.file.digest

    @property
    def content(self) -> bytes:
        """What the file brings into a cache key: its name without folders, and its content."""
        return self.file.name.encode("utf-8", "surrogateescape") + b"\0" + self.file.digest


Source: TypeAlias = Ref | FileRef


class Argument:
    """One argument of a node: a template with places for inputs, or a plain value."""

    __slots__ = ("each", "encoded", "fresh", "name", "origin", "paths", "sources", "template")

    def __init__(
        self, name: str, template: Any, sources: Sequence[Source], paths: Sequence[str], encoded: bytes, each: Each[Any] | None
    ) -> None:
        self.name = name
        self.template = template
        self.sources = sources
        self.paths = paths
        self.encoded = encoded
        """The plain value, or the template with placeholders, as canonical bytes; empty for a lone input."""
        self.each = each
        self.fresh = not sources and not isinstance(template, _PLAIN)
        """Whether each consumer needs a copy of its own of this plain value."""
        self.origin: Ref | None = None
        """The output that this plain value is equal to, if a body was given that: for lineage only."""

    @property
    def refs(self) -> Iterator[Ref]:
        """Those of its inputs that other invocations make."""
        return (source for source in self.sources if type(source) is Ref)

    @property
    def is_value(self) -> bool:
        """Whether `encoded` is the argument's value: with inputs it is a skeleton, of an iterator a name."""
        return bool(self.encoded) and not self.sources and (self.each is None or isinstance(self.template, list))

    def takes_elements_of(self, source: Ref) -> bool:
        """Whether elements are taken from this producer one by one: of a list that one step makes they come all at once."""
        return self.each is not None and (source.node.fan or self.template is not source)

    @property
    def places(self) -> bytes:
        """Where in a container the inputs stand: a text may look like a placeholder."""
        return "\n".join(self.paths).encode() if self.encoded and self.sources else b""


WAITING, READY, RUNNING, DONE, FAILED, SKIPPED, CANCELLED = range(7)
"""How far a node is; from DONE on, it is settled."""
UNSET: Any = object()
"""No value yet."""


@final
class Node:
    """An invocation: what was asked for, and how far it is.

    The wiring fills the first part; the machine (`ashore.engine.state`) alone changes the second.
    """

    __slots__ = (
        "arguments",
        "asked",
        "attempt",
        "because",
        "body",
        "code",
        "consumers",
        "elements",
        "failure",
        "fan",
        "given",
        "has_files",
        "has_recipe",
        "index",
        "invocation",
        "is_reusable",
        "key",
        "missing",
        "outputs",
        "reused_run",
        "scope",
        "shared",
        "stages",
        "state",
        "trials",
        "waiters",
        "work",
    )

    def __init__(self, index: int, work: Work[Any, Any], scope: str, arguments: list[Argument], invocation: InvocationId) -> None:
        self.index = index
        self.work = work
        self.scope = scope
        self.arguments = arguments
        self.invocation = invocation
        self.fan = False
        self.has_files = False
        self.is_reusable = self.has_recipe = False
        """Whether a result may be served to other runs: at least one input is an artifact, or the step says so. And whether that
        is so of what is handed on without being stored, and is equal by its recipe alone."""
        self.code: CodeId = CodeId(b"")
        self.consumers: list[Node] = []
        """Who needs its whole outcome."""
        self.stages: Sequence[Node] = ()
        """Fan-outs that go over its elements, or have it as an element: they take each as it comes."""

        self.state, self.missing = WAITING, 0
        self.key: CacheKey = CacheKey(b"")
        self.outputs: tuple[Output, ...] = ()
        self.elements: Fan | None = None
        self.failure: Failure | None = None
        self.because: tuple[InvocationId, ...] = ()
        self.reused_run = RunId("")
        self.attempt = 1
        self.trials: Trials | None = None
        """Its attempts, if the step asks for anything around its call (or an earlier attempt left something to go on from)."""
        self.shared: Any = UNSET
        """The loaded value, if it is immutable and may be handed to every consumer."""
        # The engine's, where a body decides: which one asked for it and when, what waits for its outcome there, and how many
        # values the body had been given, if this may be made of them.
        self.body: Any = None
        self.waiters: Any = None
        self.given = 0
        self.asked = 0.0

    @property
    def is_body(self) -> bool:
        """Whether it is no step but a sub-run: an `async def` pipeline whose body decides while it runs."""
        return self.work.is_body

    @property
    def on_error(self) -> str:
        """What a failed element means to this fan-out."""
        return next((argument.each.on_error for argument in self.arguments if argument.each is not None), "stop")

    def __repr__(self) -> str:
        return f"{self.scope + '/' if self.scope else ''}{self.work.name}:{self.invocation.hex()[:8]}"


@dataclass(slots=True)
class Graph:
    """A checked graph: nodes in an order in which inputs come first, and the shape of the result."""

    nodes: list[Node]
    result: Any = None
    """The pipeline's result with a `Ref` in the place of each handle."""
    by_invocation: dict[InvocationId, Node] = field(default_factory=dict)
    bodies: dict[InvocationId, Bound] = field(default_factory=dict)
    """The calls of `async def` pipelines: sub-runs that decide while they run."""
    body: Bound | None = None
    """The run's own call, if it is one of an `async def` pipeline: its body is called when the run goes."""
    replaced: Mapping[Definition, Step[Any, Any]] = field(default_factory=lambda: NOTHING_REPLACED)
    """What runs in the place of a step, by its definition."""

    refreshed: frozenset[str] = frozenset()
    """The names of steps that are to be called again though their results are known."""

    def never_refreshed(self) -> list[str]:
        """The names among `refreshed` that no node has."""
        met = {ALL, *(node.work.name for node in self.nodes)} if self.refreshed else set()
        return sorted(self.refreshed - met)

    def works(self) -> list[Work[Any, Any]]:
        """Its steps, each once."""
        return list({id(node.work): node.work for node in self.nodes}.values())


def connect(node: Node) -> None:
    """Make the node a consumer of those of its inputs' producers that are not settled yet."""
    for argument in node.arguments:
        for source in argument.refs:
            if source.node.state >= DONE:
                continue
            if argument.takes_elements_of(source):
                source.node.stages = (*source.node.stages, node)
            else:
                source.node.consumers.append(node)
                node.missing += 1


def occurrence_of(identity: InvocationId, number: int) -> InvocationId:
    """The invocation of the `number`-th call (from 0) with an identity, where equal calls are not one."""
    return InvocationId(hash_id(identity, b"again", number.to_bytes(8, "little"))) if number else identity


def fill(template: Any, load: Callable[[Source], Any]) -> Any:
    """A template with each place filled by what `load` gives for it. Containers are made anew."""
    kind = type(template)
    if kind is Ref or kind is FileRef:
        return load(template)
    if kind is list or kind is tuple:
        return kind([fill(item, load) for item in template])
    if kind is dict:
        return {key: fill(item, load) for key, item in template.items()}
    return template


def sources_in(template: Any) -> Iterator[Source]:
    """The places of a template that are filled, in order."""
    kind = type(template)
    if kind is Ref or kind is FileRef:
        yield template
    elif kind is list or kind is tuple:
        for item in template:
            yield from sources_in(item)
    elif kind is dict:
        yield from sources_in(list(template.values()))


def identity_of(scope: str, name: bytes, arguments: Sequence[Argument]) -> InvocationId:
    """What an invocation is named by: where it was asked for, what is called, and the identities of its inputs."""
    parts: list[bytes] = [scope.encode(), name]
    for argument in arguments:
        parts += (argument.name.encode(), argument.encoded, argument.places)
        parts += [source.identity for source in argument.sources]
        if argument.each is not None:
            parts += (b"each", argument.each.on_error.encode(), argument.each.group.how.encode())
    return InvocationId(hash_id(*parts))
