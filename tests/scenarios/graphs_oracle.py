"""What a random graph must do, computed by plain recursion over its specification: values, failures, what runs, what is reused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from tests.scenarios.graphs_outside import canonical
from tests.scenarios.graphs_program import Flaky, Parts, Spec, value_of


class Fan(list[Any]):
    """The list that a fan-out gives: its elements are artifacts of their own."""


class Whole(tuple[Any, ...]):
    """Several outputs as one value."""


@dataclass
class Unit:
    """One execution that may happen: of a node, or of one element of a fan-out."""

    said: str
    """What it says outside."""
    key: str
    """What it is cached under; "" if it is not, or if it fails."""
    needs: frozenset[str] = frozenset()
    """What must have said its end before it starts."""
    index: int = -1
    is_optional: bool = False
    """Whether it may be left out: another element failed the fan-out."""
    fails: bool = False


@dataclass
class Outcome:
    """What becomes of one invocation."""

    state: str
    value: Any = None
    units: list[Unit] = field(default_factory=list)
    ends: frozenset[str] = frozenset()
    """What says its end before this has its outputs."""
    messages: frozenset[str] = frozenset()
    """How its failure may read."""
    is_fan: bool = False


@dataclass
class Told:
    """The oracle's answer for one graph."""

    invocations: dict[str, Outcome]
    """By identity, in the order of the calls."""
    order: list[str]
    result: str
    """Canonical; "" if the run fails."""
    failures: list[frozenset[str]]

    def units(self) -> Iterator[tuple[str, Unit]]:
        for identity in self.order:
            for unit in self.invocations[identity].units:
                yield identity, unit


class Oracle:
    """One scope of a graph."""

    def __init__(self, spec: Spec, scope: str, told: dict[str, Outcome], given: tuple[Any, ...], counts: dict[str, int]) -> None:
        self.spec = spec
        self.scope = scope
        self.told = told
        self.given = given
        self.counts = counts
        self.nodes: list[Any] = []
        """(identity, place of output or None), or what a part of the graph returned."""

    def all(self) -> Any:
        for node in self.spec["nodes"]:
            self.nodes.append(self.sub(node) if node["do"] == "sub" else Ref(self.called(node)))
        return self.form(self.spec["result"])

    def sub(self, node: Spec) -> Any:
        self.counts["sub"] = self.counts.get("sub", 0) + 1
        scope = f"{self.scope}/sub#{self.counts['sub']}"
        return Oracle(node["spec"], scope, self.told, tuple(self.form(form) for form in node["args"]), self.counts).all()

    def form(self, form: list[Any]) -> Any:
        """An argument with references in the place of handles."""
        kind, *rest = form
        if kind == "ref":
            return self.nodes[rest[0]]
        if kind == "out":
            return Ref(self.nodes[rest[0]].identity, rest[1])
        if kind == "given":
            return self.given[rest[0]]
        if kind == "literal":
            return rest[0]
        if kind == "dict":
            return {name: self.form(item) for name, item in rest[0]}
        items = [self.form(item) for item in rest[0]]
        return tuple(items) if kind == "tuple" else items

    def called(self, node: Spec) -> str:
        arguments = [*(self.form(form) for form in node["args"]), None, None, None][:3]
        over = f"{node['over']}{node['how']}{node['on_error']}" if node["over"] else ""
        identity = f"{self.scope}|{node['do']}|{node['tag']}|{arguments!r}|{over}"
        if identity not in self.told:
            self.told[identity] = self.outcome(node, arguments)
        return identity

    def outcome(self, node: Spec, arguments: list[Any]) -> Outcome:
        refs = list(refs_in(arguments))
        if any(self.told[ref.identity].state != "done" for ref in refs):
            return Outcome("skipped")
        needs = frozenset().union(*(self.told[ref.identity].ends for ref in refs))
        values = [self.filled(argument) for argument in arguments]
        keys = [self.keyed(argument) for argument in arguments]
        is_kept = bool(refs) if node["do"].split("_")[1] not in ("kept", "fresh") else node["do"].endswith("kept")
        if node["over"]:
            return self.fan(node, values, (arguments, keys), needs, is_kept=is_kept)
        unit, value = self.unit(node, values, f"node {keys}" if is_kept else "", needs)
        if unit.fails:
            return Outcome("failed", units=[unit], messages=frozenset([unit.said]))
        return Outcome("done", value, [unit], needs | {unit.said})

    def fan(
        self, node: Spec, values: list[Any], given: tuple[list[Any], list[str]], needs: frozenset[str], *, is_kept: bool
    ) -> Outcome:
        over, keys = node["over"], given[1]
        sources = [list(zip(values[place], self.items(given[0][place], values[place]), strict=True)) for place in over]
        if node["how"] != "product" and len({len(source) for source in sources}) > 1:
            return Outcome(
                "failed", messages=frozenset([f"{node['do']}(each(...), ...) got lists of different lengths"]), is_fan=True
            )
        rows = list(product(*sources) if node["how"] == "product" else zip(*sources, strict=True))
        units, kept = [], Fan()
        for index, row in enumerate(rows):
            inputs, shown = list(values), list(keys)
            for place, (value, key) in zip(over, row, strict=True):
                inputs[place], shown[place] = value, key
            unit, value = self.unit(node, inputs, f"element {over} {shown}" if is_kept else "", needs)
            unit.index = index
            units.append(unit)
            if not unit.fails:
                kept.append(value)
        failed = [unit for unit in units if unit.fails]
        if failed and node["on_error"] == "stop":
            for unit in units:
                unit.is_optional = True
            return Outcome("failed", units=units, messages=frozenset(unit.said for unit in failed), is_fan=True)
        return Outcome("done", kept, units, needs | {unit.said for unit in units if not unit.fails}, is_fan=True)

    def unit(self, node: Spec, inputs: list[Any], key: str, needs: frozenset[str]) -> tuple[Unit, Any]:
        name, tag = node["do"], node["tag"]
        padded = tuple([plain(value) for value in inputs])
        said = f"{name} {tag} {canonical(padded)}"
        try:
            value = value_of(name.split("_")[0], name, tag, padded)
        except Flaky:
            return Unit(said, "", needs, fails=True), None
        return Unit(said, f"{name} {tag} {key}" if key else "", needs), Whole(value) if isinstance(value, tuple) else value

    # Arguments.

    def ref_value(self, ref: Ref) -> Any:
        value = self.told[ref.identity].value
        if ref.place is None:
            return value
        return Fan(one(item, ref.place) for item in value) if isinstance(value, Fan) else one(value, ref.place)

    def filled(self, argument: Any) -> Any:
        return mapped(argument, self.ref_value)

    def keyed(self, argument: Any) -> str:
        """An argument as the cache sees it: whether a part is an artifact makes a difference, and of what kind it is."""
        return repr(mapped(argument, lambda ref: Shown(f"<{shown(self.ref_value(ref))}>")))

    def items(self, argument: Any, values: Any) -> list[str]:
        """The elements of what is fanned out, as the cache sees them."""
        if isinstance(argument, Ref):
            is_list = not isinstance(values, Fan)
            return [f"plain {shown(value)}" if is_list else f"<{shown(value)}>" for value in values]
        return [self.item(item) for item in argument]

    def item(self, item: Any) -> str:
        if isinstance(item, Ref):
            return f"<{shown(self.ref_value(item))}>"
        return f"holding {self.keyed(item)}" if any(refs_in(item)) else f"plain {shown(item)}"


@dataclass(frozen=True)
class Ref:
    identity: str
    place: int | None = None


class Shown(str):
    """A text that shows itself without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def one(value: Any, place: int) -> Any:
    return (value.left, value.right)[place] if isinstance(value, Parts) else value[place]


def refs_in(argument: Any) -> Iterator[Ref]:
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for item in argument:
            yield from refs_in(item)
    elif isinstance(argument, dict):
        yield from refs_in(list(argument.values()))


def mapped(argument: Any, give: Any) -> Any:
    if isinstance(argument, Ref):
        return give(argument)
    if isinstance(argument, (list, tuple)):
        return type(argument)([mapped(item, give) for item in argument])
    if isinstance(argument, dict):
        return {name: mapped(item, give) for name, item in argument.items()}
    return argument


def plain(value: Any) -> Any:
    """A value as a step receives it."""
    if isinstance(value, Whole):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def shown(value: Any) -> str:
    """A value with what it is made of: outputs and fan-outs are not the same as plain tuples and lists."""
    if isinstance(value, Fan):
        return f"fan[{','.join(map(shown, value))}]"
    if isinstance(value, Whole):
        return f"whole({','.join(map(shown, value))})"
    return canonical(value)


def told_of(spec: Spec) -> Told:
    """The oracle's answer."""
    invocations: dict[str, Outcome] = {}
    returned = Oracle(spec, "", invocations, (), {}).all()
    failures = [outcome.messages for outcome in invocations.values() if outcome.state == "failed"]
    result = ""
    if not failures:
        oracle = Oracle(spec, "", invocations, (), {})
        result = canonical(plain(oracle.filled(returned)))
    return Told(invocations, list(invocations), result, failures)
