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


class Streamed(list[Any]):
    """What an async iterator gives. It has no identity but that it is the n-th."""

    def __init__(self, items: list[Any], number: int) -> None:
        super().__init__(items)
        self.number = number

    def __repr__(self) -> str:
        return f"stream {self.number}"


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
class Spot:
    """One place of what is gone over."""

    state: str = "there"
    """"there", "gone" (it failed and is left out) or "lost" (it fails, or what comes before fails, the whole)."""
    value: Any = None
    key: str = ""
    """As the cache sees it."""
    ends: frozenset[str] = frozenset()
    """What says its end before it is there."""
    is_optional: bool = False


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
    perhaps: frozenset[str] = frozenset()
    """How it reads if this fails before what it goes over does, which lets it be skipped."""
    is_fan: bool = False
    spots: list[Spot] = field(default_factory=list)
    cuts: bool = False
    """Whether what takes its elements one by one is cut off, as it has none or fails."""


@dataclass
class Told:
    """The oracle's answer for one graph."""

    invocations: dict[str, Outcome]
    """By identity, in the order of the calls."""
    order: list[str]
    result: str
    """Canonical; "" if the run fails."""
    failures: list[frozenset[str]]
    perhaps: list[frozenset[str]] = field(default_factory=list)
    """Failures that there may be, beside those."""

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
        if kind == "stream":
            self.counts["stream"] = self.counts.get("stream", 0) + 1
            return Streamed(items, self.counts["stream"])
        return tuple(items) if kind == "tuple" else items

    def called(self, node: Spec) -> str:
        arguments = [*(self.form(form) for form in node["args"]), None, None, None][:3]
        over = f"{node['over']}{node['how']}{node['on_error']}" if node["over"] else ""
        identity = f"{self.scope}|{node['do']}|{node['tag']}|{arguments!r}|{over}"
        if identity not in self.told:
            self.told[identity] = self.outcome(node, arguments)
        return identity

    def outcome(self, node: Spec, arguments: list[Any]) -> Outcome:
        singly = [place for place in node["over"] if not self.is_whole(arguments[place])]
        whole = list(refs_in([argument for place, argument in enumerate(arguments) if place not in singly]))
        if any(self.told[ref.identity].state != "done" for ref in whole):
            return Outcome("skipped", is_fan=bool(node["over"]), cuts=True)
        needs = frozenset().union(*(self.told[ref.identity].ends for ref in whole))
        has_refs = any(refs_in(arguments))
        is_kept = has_refs if node["do"].split("_")[1] not in ("kept", "fresh") else node["do"].endswith("kept")
        if node["over"]:
            return self.fan(node, arguments, needs, is_kept=is_kept)
        values = [self.filled(argument) for argument in arguments]
        keys = [self.keyed(argument) for argument in arguments]
        unit, value = self.unit(node, values, f"node {keys}" if is_kept else "", needs)
        if unit.fails:
            return Outcome("failed", units=[unit], messages=frozenset([unit.said]), cuts=True)
        return Outcome("done", value, [unit], needs | {unit.said})

    def is_whole(self, argument: Any) -> bool:
        """Whether what is gone over is a list that one step gives."""
        return isinstance(argument, Ref) and not self.told[argument.identity].is_fan

    def fan(self, node: Spec, arguments: list[Any], needs: frozenset[str], *, is_kept: bool) -> Outcome:
        over = node["over"]
        sources = [self.spots(arguments[place]) for place in over]
        before = [self.told[ref.identity] for place in over for ref in refs_in(arguments[place])]
        cut = any(outcome.cuts for outcome in before)
        if node["how"] != "product" and len({len(source) for source in sources}) > 1:
            if cut:
                return Outcome("skipped", is_fan=True, cuts=True)
            text = f"{node['do']}(each(...), ...) got lists of different lengths"
            return Outcome("failed", messages=frozenset([text]), is_fan=True, cuts=True)
        rows = list(product(*sources) if node["how"] == "product" else zip(*sources, strict=True))
        units: list[Unit] = []
        spots = [self.spot(node, arguments, (index, row, needs), units, is_kept=is_kept, cut=cut) for index, row in enumerate(rows)]
        return self.whole(node, spots, units, cut=cut, is_broken=any(outcome.state != "done" for outcome in before))

    def spot(
        self,
        node: Spec,
        arguments: list[Any],
        place: tuple[int, tuple[Spot, ...], frozenset[str]],
        units: list[Unit],
        *,
        is_kept: bool,
        cut: bool,
    ) -> Spot:
        """What comes to one place; its unit, if it has one, is added."""
        index, row, needs = place
        if any(part.state != "there" for part in row):
            return Spot("gone" if all(part.state != "lost" for part in row) else "lost")
        over = node["over"]
        shared = [None if number in over else self.filled(argument) for number, argument in enumerate(arguments)]
        shown = ["" if number in over else self.keyed(argument) for number, argument in enumerate(arguments)]
        for number, part in zip(over, row, strict=True):
            shared[number], shown[number] = part.value, part.key
            needs = needs | part.ends
        unit, value = self.unit(node, shared, f"element {over} {shown}" if is_kept else "", needs)
        unit.index = index
        unit.is_optional = cut or any(part.is_optional for part in row)
        units.append(unit)
        if unit.fails:
            return Spot("lost" if node["on_error"] == "stop" else "gone")
        return Spot("there", value, ends=needs | {unit.said}, is_optional=unit.is_optional)

    def whole(self, node: Spec, spots: list[Spot], units: list[Unit], *, cut: bool, is_broken: bool) -> Outcome:
        policy, failed = node["on_error"], frozenset(unit.said for unit in units if unit.fails)
        if failed and policy == "stop":
            for spot in spots:
                spot.is_optional = True
            for unit in units:
                unit.is_optional = True
        if cut:
            perhaps = failed if policy == "stop" else frozenset[str]()
            return Outcome("skipped", None, units, perhaps=perhaps, is_fan=True, spots=spots, cuts=True)
        if failed and policy != "skip":
            messages = failed if policy == "stop" else frozenset([f"of {node['do']} failed"])
            return Outcome("failed", None, units, messages=messages, is_fan=True, spots=spots, cuts=policy == "stop")
        if is_broken:
            return Outcome("skipped", None, units, is_fan=True, spots=spots)
        kept = Fan(spot.value for spot in spots if spot.state == "there")
        ends = frozenset[str]().union(*(spot.ends for spot in spots))
        return Outcome("done", kept, units, ends, is_fan=True, spots=spots)

    def spots(self, argument: Any) -> list[Spot]:
        """The places of what is gone over."""
        if not isinstance(argument, Ref):
            return [self.listed(item) for item in argument]
        outcome = self.told[argument.identity]
        if not outcome.is_fan:
            return [Spot("there", value, f"plain {shown(value)}") for value in self.ref_value(argument)]
        return [self.staged(spot, argument.place) for spot in outcome.spots]

    def staged(self, spot: Spot, place: int | None) -> Spot:
        if spot.state != "there":
            return spot
        value = spot.value if place is None else one(spot.value, place)
        return Spot("there", value, f"<{shown(value)}>", spot.ends, spot.is_optional)

    def listed(self, item: Any) -> Spot:
        outcomes = [self.told[ref.identity] for ref in refs_in(item)]
        if any(outcome.state != "done" for outcome in outcomes):
            return Spot("lost")
        return Spot("there", self.filled(item), self.item(item), frozenset[str]().union(*(outcome.ends for outcome in outcomes)))

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
    perhaps = [outcome.perhaps for outcome in invocations.values() if outcome.perhaps]
    result = ""
    if not failures:
        oracle = Oracle(spec, "", invocations, (), {})
        result = canonical(plain(oracle.filled(returned)))
    return Told(invocations, list(invocations), result, failures, perhaps)
