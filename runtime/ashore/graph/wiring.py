"""Wiring: the calls of a `def` pipeline's body become a checked graph of invocations. Pure.

A node is one invocation. It is named by content (scope, step, identities of its inputs), so that equal calls are one node with
many handles, and a body that is wired again after a crash finds its recorded results. A graph cannot have a cycle: a handle
exists only after its call.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from ashore.attempts import Trials
from ashore.calls import Bound, current_scope
from ashore.codec import Unencodable, encode
from ashore.definitions import Definition
from ashore.elements import Each
from ashore.errors import GraphError
from ashore.files import File
from ashore.graph.nodes import (
    NOTHING_REPLACED,
    Argument,
    FileRef,
    Graph,
    Node,
    Ref,
    Source,
    connect,
    fill,
    identity_of,
    occurrence_of,
)
from ashore.handles import Handle
from ashore.ids import InvocationId
from ashore.parameters import compatible, validated
from ashore.signatures import Parameter
from ashore.works import Pipeline, Step, Work

_PLAIN = (int, str, float, bool, type(None), bytes)
_PLACEHOLDER = "\0input"


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
        self._iterators: dict[str, list[AsyncIterable[Any]]] = {}
        """What fan-outs go over that has no content of its own, by name, in the order of the calls."""

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
        if any([argument.each for argument in arguments]):
            _check_groups(work, arguments)
        identity = identity_of(self._scope, self._name(work, bound), arguments)
        invocation = self._occurrence(identity, bound)
        node = self.by_invocation.get(invocation)
        if node is None:
            work = self.graph.replaced.get(work.definition, work)
            node = Node(len(self.nodes), work, self._scope, arguments, invocation)
            _note_inputs(node, bound.options.cache)
            if bound.options.policy is not None and not node.is_body:  # a pipeline's is about runs of it
                node.trials = Trials(bound.options.policy)
            self.nodes.append(node)
            self.by_invocation[invocation] = node
            if not work.is_step:
                node.is_reusable = False
            if node.is_body:
                self.graph.bodies[invocation] = bound
            self._added(node, identity)
        return node

    def _occurrence(self, identity: InvocationId, bound: Bound) -> InvocationId:
        """Which invocation it is: of a pipeline, and of what acts on the world, each is its own; equal ones of a step are one."""
        if not (isinstance(bound.work, Pipeline) or bound.options.acts):
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
            parts = [
                item if type(item) in _PLAIN else self._template(item, f"{path}[{n}]", sources, paths)
                for n, item in enumerate(value)
            ]
            return kind(parts) if len(sources) > before else value
        if kind is dict:
            before = len(sources)
            named = {
                key: item if type(item) in _PLAIN else self._template(item, f"{path}[{key!r}]", sources, paths)
                for key, item in value.items()
            }
            return named if len(sources) > before else value
        if isinstance(value, Each):
            raise GraphError(f"each(...) stands inside {path}: pass it as an argument of its own, by position")
        return value if kind in _PLAIN else self._leaf(value, path, sources, paths)

    def _leaf(self, value: Any, path: str, sources: list[Source], paths: list[str]) -> Any:
        """What stands for a value that is neither plain nor a container."""
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
            return Argument(parameter.name, each.source, (), (), self._named(each), each)
        template = self._template(list(each.source), parameter.name, sources, paths)
        skeleton = _encoded(f"each(...) for {parameter.name}", fill(template, lambda _: _PLACEHOLDER) if sources else template)
        return Argument(parameter.name, template, sources, paths, skeleton, each)

    def _named(self, each: Each[Any]) -> bytes:
        """The identity of an async iterator: it has no content, so it is known by its name and by which of that name it is."""
        name = _name_of(each.source)
        others = self._iterators.setdefault(name, [])
        if isinstance(each.source, AsyncIterator) and any(other is each.source for other in others):
            raise GraphError(
                f"{name} is gone over by two calls, and an async iterator gives its elements only once",
                mend=f"Call it for each: each({name}(...)), or hand the first call's handle on: each(handle)",
            )
        others.append(each.source)  # type: ignore[arg-type]  # what is no list is one
        return f"{name}#{len(others)}".encode()


def _name_of(source: Any) -> str:
    return getattr(source, "__qualname__", None) or type(source).__qualname__


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
    if not node.work.is_stored:
        node.has_recipe, node.is_reusable = node.is_reusable, False


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
    check_stored(sources)
    _encoded("the pipeline's result", fill(result, lambda _: _PLACEHOLDER))
    return wiring.graph


def check_stored(sources: Iterable[Source]) -> None:
    """What a run gives is on record: it cannot be a value that is only handed on. Raises `GraphError`."""
    for source in sources:
        if type(source) is Ref and not source.node.work.is_stored:
            name = source.node.work.name
            what = f"the run's result would be what {name} makes, and with store=False that is only handed on, to other steps"
            raise GraphError(what, mend=f"Return what a step makes of it, or take store=False from {name}")


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
