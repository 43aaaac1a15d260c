"""Wiring: the calls of a `def` pipeline's body become a checked graph of invocations. Pure.

A node is one invocation. It is named by content (scope, step, identities of its inputs), so that equal calls are one node with
many handles, and a body that is wired again after a crash finds its recorded results. A graph cannot have a cycle: a handle
exists only after its call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from ashore.calls import Bound, current_scope
from ashore.codec import Unencodable, encode
from ashore.definitions import Definition
from ashore.elements import Each
from ashore.errors import GraphError
from ashore.events import Call, Failure, FileUse, Input, Output, path_text
from ashore.files import File
from ashore.handles import Handle
from ashore.ids import CacheKey, CodeId, InvocationId, RunId, hash_id
from ashore.parameters import compatible, validated
from ashore.signatures import Parameter
from ashore.works import Pipeline, Step, Work

_PLAIN = (int, str, float, bool, type(None), bytes)
_PLACEHOLDER = "\0input"
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

    __slots__ = ("each", "encoded", "fresh", "name", "paths", "sources", "template")

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
        "attempt",
        "because",
        "body",
        "code",
        "consumers",
        "elements",
        "failure",
        "fan",
        "has_files",
        "index",
        "invocation",
        "is_reusable",
        "key",
        "missing",
        "outputs",
        "ready_at",
        "reused_run",
        "scope",
        "shared",
        "state",
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
        self.is_reusable = False
        """Whether a result may be served to other runs: at least one input is an artifact, or the step says so."""
        self.code: CodeId = CodeId(b"")
        self.consumers: list[Node] = []

        self.state = WAITING
        self.missing = 0
        self.key: CacheKey = CacheKey(b"")
        self.outputs: tuple[Output, ...] = ()
        self.elements: Fan | None = None
        self.failure: Failure | None = None
        self.because: list[InvocationId] = []
        self.reused_run = RunId("")
        self.ready_at = 0.0
        self.attempt = 1
        self.shared: Any = UNSET
        """The loaded value, if it is immutable and may be handed to every consumer."""
        self.body: Any = None
        """The body that asked for it, if that is an `async def`; the engine's."""
        self.waiters: Any = None
        """What waits in a body for its outcome; the engine's."""

    @property
    def is_body(self) -> bool:
        """Whether it is no step but a sub-run: an `async def` pipeline whose body decides while it runs."""
        return isinstance(self.work, Pipeline)

    def __repr__(self) -> str:
        return f"{self.scope + '/' if self.scope else ''}{self.work.name}:{self.invocation.hex()[:8]}"


class Fan:
    """The columns of a fan-out: what became of each element, by index."""

    __slots__ = ("count", "failed", "outputs", "unsettled")

    def __init__(self, count: int) -> None:
        self.count = count
        self.unsettled = count
        self.outputs: list[tuple[Output, ...] | None] = [None] * count
        self.failed: dict[int, Failure] = {}

    def kept(self) -> Iterator[tuple[Output, ...]]:
        """The outputs of the elements that have some, in order."""
        return (outputs for outputs in self.outputs if outputs is not None)


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

    def works(self) -> list[Work[Any, Any]]:
        """Its steps, each once."""
        return list({id(node.work): node.work for node in self.nodes}.values())


class Wiring:
    """The scope in which a `def` pipeline's body is called: it collects what the body asks for."""

    def __init__(self, graph: Graph | None = None, scope: str = "") -> None:
        self.graph = Graph([]) if graph is None else graph
        self.nodes = self.graph.nodes
        self.by_invocation = self.graph.by_invocation
        self._scope = scope
        self._sub_runs: dict[str, int] = {}
        self._definitions: dict[str, list[Definition]] = {}
        """By name, in the order of their first calls: two steps of one name, from two modules, are two steps."""
        self._checked: dict[tuple[int, int | None, int, str], bool] = {}

    def called(self, bound: Bound) -> Any:
        work = bound.work
        if isinstance(work, Pipeline) and not work.is_async:
            return self._sub_run(work, bound)
        assert isinstance(work, Step | Pipeline)
        return Handle(bound, node=self._node(work, bound))

    def _sub_run(self, work: Pipeline[Any, Any], bound: Bound) -> Any:
        outer = self._scope
        self._scope = f"{outer}/{self._sub_scope(work, bound)}" if outer else self._sub_scope(work, bound)
        try:
            return work.fn(**bound.arguments)
        finally:
            self._scope = outer

    def _sub_scope(self, work: Pipeline[Any, Any], bound: Bound) -> str:
        """What the scope of a sub-run is called: a wired body makes its calls in one order."""
        count = self._sub_runs[work.name] = self._sub_runs.get(work.name, 0) + 1
        return f"{work.name}#{count}"

    def _node(self, work: Work[Any, Any], bound: Bound) -> Node:
        arguments = [self._argument(work, parameter, bound.arguments[parameter.name]) for parameter in work.parameters]
        _check_groups(work, arguments)
        identity = identity_of(self._scope, self._name(work, bound), arguments)
        invocation = self._occurrence(identity, work)
        node = self.by_invocation.get(invocation)
        if node is None:
            work = self.graph.replaced.get(work.definition, work)
            node = Node(len(self.nodes), work, self._scope, arguments, invocation)
            _note_inputs(node, bound.options.cache)
            self.nodes.append(node)
            self.by_invocation[invocation] = node
            if node.is_body:
                node.is_reusable = False
                self.graph.bodies[invocation] = bound
            self._added(node, identity)
        return node

    def _occurrence(self, identity: InvocationId, work: Work[Any, Any]) -> InvocationId:
        """Which invocation a call with this identity is: equal calls of a step are one, each call of a pipeline is its own."""
        if not isinstance(work, Pipeline):
            return identity
        number = 0
        while (occurrence := occurrence_of(identity, number)) in self.by_invocation:
            number += 1
        return occurrence

    def _added(self, node: Node, identity: InvocationId) -> None:
        """A new invocation waits for the producers of its inputs, unless it is a sub-run: that takes handles as they are."""
        if not node.is_body:
            connect(node)

    def _name(self, work: Work[Any, Any], bound: Bound) -> bytes:
        """What a call is named by: the step's name, told apart from other steps of that name, and the call's own key."""
        others = self._definitions.setdefault(work.name, [])
        if work.definition not in others:
            others.append(work.definition)
        number, key = others.index(work.definition), bound.options.key
        return f"{work.name}\0{number}\0{key}".encode() if number or key else work.name.encode()

    def _argument(self, work: Work[Any, Any], parameter: Parameter, value: Any) -> Argument:
        kind = type(value)
        if kind in _PLAIN:
            value = validated(parameter, value)
            return Argument(parameter.name, value, (), (), encode(value), None)
        if isinstance(value, Handle):
            ref = self._ref(value)
            self._check_fits(ref, work, parameter, value)
            return Argument(parameter.name, ref, (ref,), (parameter.name,), b"", None)
        if isinstance(value, Each):
            return self._fan(parameter, value)
        return self._composed(work, parameter, value)

    def _ref(self, handle: Handle[Any]) -> Ref:
        node = handle.node
        if not isinstance(node, Node) or self.by_invocation.get(node.invocation) is not node:
            raise GraphError(
                f"{handle!r} belongs to another run or was called outside this pipeline: "
                f"call {handle.bound.work.name}(...) inside the pipeline's body, or await it and pass its value"
            )
        return Ref(node, handle.output)

    def _check_fits(self, ref: Ref, work: Work[Any, Any], parameter: Parameter, handle: Handle[Any]) -> None:
        producer = ref.node
        place = (id(producer.work), ref.output, id(work), parameter.name)
        if place in self._checked or producer.fan:
            return
        produced = handle.annotation
        if compatible(produced, parameter.annotation) is False:
            raise GraphError(
                f"{work.name}({parameter.name}=...) takes {_type_name(parameter.annotation)}, but "
                f"{producer.work.name}(...) gives {_type_name(produced)}: pass another output, or change one of the annotations"
            )
        self._checked[place] = True

    def _composed(self, work: Work[Any, Any], parameter: Parameter, value: Any) -> Argument:
        sources: list[Source] = []
        paths: list[str] = []
        template = self._template(value, parameter.name, sources, paths)
        if not sources:
            value = validated(parameter, value)
            return Argument(parameter.name, value, (), (), _encoded(f"{work.name}({parameter.name}=...)", value), None)
        if template is sources[0]:
            return Argument(parameter.name, template, sources, paths, b"", None)
        skeleton = _encoded(f"{work.name}({parameter.name}=...)", fill(template, lambda _: _PLACEHOLDER))
        return Argument(parameter.name, template, sources, paths, skeleton, None)

    def _template(self, value: Any, path: str, sources: list[Source], paths: list[str]) -> Any:
        """`value` with a `Ref` or `FileRef` in the place of each handle and file; itself if it holds none."""
        kind = type(value)
        if isinstance(value, Handle):
            return self._found(self._ref(value), path, sources, paths)
        if kind is File:
            return self._found(FileRef(value), path, sources, paths)
        if kind is list or kind is tuple:
            before = len(sources)
            parts = [self._template(item, f"{path}[{n}]", sources, paths) for n, item in enumerate(value)]
            return kind(parts) if len(sources) > before else value
        if kind is dict:
            before = len(sources)
            named = {key: self._template(item, f"{path}[{key!r}]", sources, paths) for key, item in value.items()}
            return named if len(sources) > before else value
        if isinstance(value, Each):
            raise GraphError(f"each(...) stands inside {path}: pass it as an argument of its own, by position")
        return value

    @staticmethod
    def _found(source: Source, path: str, sources: list[Source], paths: list[str]) -> Source:
        sources.append(source)
        paths.append(path)
        return source

    def _fan(self, parameter: Parameter, each: Each[Any]) -> Argument:
        sources: list[Source] = []
        paths: list[str] = []
        if isinstance(each.source, Handle):
            template: Any = self._found(self._ref(each.source), parameter.name, sources, paths)
            return Argument(parameter.name, template, sources, paths, b"", each)
        if not isinstance(each.source, (list, tuple, range)):
            raise GraphError(
                f"each({type(each.source).__name__}) cannot be fanned out: each(...) takes a list, or a handle of a list"
            )
        template = self._template(list(each.source), parameter.name, sources, paths)
        skeleton = _encoded(f"each(...) for {parameter.name}", fill(template, lambda _: _PLACEHOLDER) if sources else template)
        return Argument(parameter.name, template, sources, paths, skeleton, each)


def _note_inputs(node: Node, cache: bool | None) -> None:
    """Note what kind of inputs the node has."""
    has_inputs = False
    for argument in node.arguments:
        if argument.each is not None:
            node.fan = True
        for source in argument.sources:
            has_inputs = True
            if type(source) is not Ref:
                node.has_files = True
    node.is_reusable = has_inputs if cache is None else cache


def connect(node: Node) -> None:
    """Make the node a consumer of those of its inputs' producers that are not settled yet."""
    for argument in node.arguments:
        for source in argument.sources:
            if type(source) is Ref and source.node.state < DONE:
                source.node.consumers.append(node)
                node.missing += 1


def occurrence_of(identity: InvocationId, number: int) -> InvocationId:
    """The invocation of the `number`-th call (from 0) with an identity, where equal calls are not one."""
    return InvocationId(hash_id(identity, b"again", number.to_bytes(8, "little"))) if number else identity


def wire(
    pipeline: Pipeline[Any, Any], arguments: Mapping[str, Any], replaced: Mapping[Definition, Step[Any, Any]] = NOTHING_REPLACED
) -> Graph:
    """Call a `def` pipeline's body with these (validated) arguments and collect its graph. Raises `GraphError`."""
    wiring = Wiring(Graph([], replaced=replaced))
    token = current_scope.set(wiring)
    try:
        returned = pipeline.fn(**arguments)
    finally:
        current_scope.reset(token)
    return _graph(wiring, returned)


def wire_step(bound: Bound, replaced: Mapping[Definition, Step[Any, Any]] = NOTHING_REPLACED) -> Graph:
    """The graph of one step that is run by itself."""
    wiring = Wiring(Graph([], replaced=replaced))
    return _graph(wiring, wiring.called(bound))


def _graph(wiring: Wiring, returned: Any) -> Graph:
    sources: list[Source] = []
    wiring.graph.result = result = wiring._template(returned, "result", sources, [])
    _encoded("the pipeline's result", fill(result, lambda _: _PLACEHOLDER))
    return wiring.graph


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


def call_of(node: Node) -> Call:
    """A node as the log keeps it."""
    inputs: list[Input] = []
    files: list[FileUse] = []
    params: list[tuple[str, bytes]] = []
    for argument in node.arguments:
        for path, source in zip(argument.paths, argument.sources, strict=True):
            if type(source) is Ref:
                inputs.append(Input(path, source.node.invocation, _output_place(source)))
            elif type(source) is FileRef:
                files.append(file_use(path, source.file))
        if argument.encoded and not argument.sources:  # with some it is a skeleton, which names the call but is no value
            params.append((argument.name, argument.encoded))
    return Call(node.invocation, node.work.name, node.code, node.scope, tuple(inputs), tuple(files), tuple(params), node.fan)


def _output_place(source: Ref) -> int:
    if source.output is not None:
        return source.output
    return 0 if source.node.work.outputs is None or source.node.fan else -1


def file_use(argument: str, file: File) -> FileUse:
    """A file as the log keeps it."""
    return FileUse(argument, path_text(file.path), file.size, file.mtime_ns, file.digest)


def identity_of(scope: str, name: bytes, arguments: Sequence[Argument]) -> InvocationId:
    """What an invocation is named by: where it was asked for, what is called, and the identities of its inputs."""
    parts: list[bytes] = [scope.encode(), name]
    for argument in arguments:
        parts += (argument.name.encode(), argument.encoded, argument.places)
        parts += [source.identity for source in argument.sources]
        if argument.each is not None:
            parts += (b"each", argument.each.on_error.encode(), argument.each.group.how.encode())
    return InvocationId(hash_id(*parts))


def _check_groups(work: Work[Any, Any], arguments: Sequence[Argument]) -> None:
    groups = {id(argument.each.group) for argument in arguments if argument.each is not None}
    if len(groups) > 1:
        raise GraphError(
            f"{work.name} got several each(...) that do not belong together",
            mend=f"Write {work.name}(*each(a, b)) to go side by side, or {work.name}(*each.product(a, b)) for all combinations",
        )


def _encoded(place: str, value: Any) -> bytes:
    try:
        return encode(value)
    except Unencodable as error:
        raise GraphError(
            f"{place} cannot be recorded: {error}. Pass plain values, files or handles; let a step make anything else"
        ) from error


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
