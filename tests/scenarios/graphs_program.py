"""The steps of the random graphs, and the one pipeline that wires whatever its specification says.

Each step computes its value from its name, its tag and its inputs alone, so that an oracle can, and says outside when it starts
and ends. A shape says what it gives, a flavour how it runs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import anyio
import anyio.lowlevel
from tests.scenarios.graphs_outside import canonical, digest_of, outside

from ashore import Outputs, each, pipeline, step

LARGE: Final = 40_000
"""Bytes of a blob: more than the log takes inline."""

Spec = dict[str, Any]


class Parts(Outputs):
    left: int
    right: str


class Flaky(ValueError):
    """What failing steps raise."""


def value_of(shape: str, name: str, tag: int, inputs: tuple[Any, ...]) -> Any:
    """What a step gives. Raises `Flaky`."""
    number = digest_of(name, str(tag), canonical(inputs))
    if shape == "flaky" and number % 4 == 0:
        raise Flaky(f"{name} {tag} {canonical(inputs)}")
    return SHAPES[shape](number)


SHAPES: Final[dict[str, Callable[[int], Any]]] = {
    "number": lambda number: number % 1000,
    "small": lambda number: number % 3,
    "flaky": lambda number: number % 10,
    "many": lambda number: [number // 7 % 5 + place for place in range(number % 5)],
    "pair": lambda number: (number % 10, [number % 3, number % 4]),
    "parts": lambda number: Parts(number % 10, f"p{number % 7}"),
    "blob": lambda number: b"%d" % (number % 9) * LARGE,
}
ANNOTATIONS: Final[dict[str, Any]] = {"pair": tuple[int, list[int]], "parts": Parts}
FLAVOURS: Final = ("thread", "inline", "suspend", "sleep", "kept", "fresh")
OPTIONS: Final[dict[str, dict[str, Any]]] = {"kept": {"cache": True}, "fresh": {"cache": False}}


def computed(shape: str, name: str, tag: int, inputs: tuple[Any, ...]) -> Any:
    said = f"{name} {tag} {canonical(inputs)}"
    outside.line(f"start {said}")
    value = value_of(shape, name, tag, inputs)
    outside.line(f"end {said}")
    return value


def made(shape: str, flavour: str) -> Any:
    """The step of a shape and a flavour."""
    name = f"{shape}_{flavour}"

    def threaded(tag: int, a: Any = None, b: Any = None, c: Any = None) -> Any:
        return computed(shape, name, tag, (a, b, c))

    async def inline(tag: int, a: Any = None, b: Any = None, c: Any = None) -> Any:
        return computed(shape, name, tag, (a, b, c))

    async def suspending(tag: int, a: Any = None, b: Any = None, c: Any = None) -> Any:
        await anyio.lowlevel.checkpoint()
        value = computed(shape, name, tag, (a, b, c))
        await anyio.lowlevel.checkpoint()
        return value

    async def sleeping(tag: int, a: Any = None, b: Any = None, c: Any = None) -> Any:
        await anyio.sleep(0.0005 * (tag % 3))
        return computed(shape, name, tag, (a, b, c))

    functions: dict[str, Any] = {"thread": threaded, "suspend": suspending, "sleep": sleeping}
    function = functions.get(flavour, inline)
    function.__name__ = function.__qualname__ = name
    function.__annotations__["return"] = ANNOTATIONS.get(shape, Any)
    return step(**OPTIONS.get(flavour, {}))(function)


STEPS: Final = {f"{shape}_{flavour}": made(shape, flavour) for shape in SHAPES for flavour in FLAVOURS}


class Wired:
    """One specification being wired: its handles by place."""

    def __init__(self, spec: Spec, given: tuple[Any, ...] = ()) -> None:
        self.spec = spec
        self.given = given
        self.handles: list[Any] = []

    def all(self) -> Any:
        for node in self.spec["nodes"]:
            self.handles.append(self.called(node))
        return self.value(self.spec["result"])

    def called(self, node: Spec) -> Any:
        if node["do"] == "sub":
            return sub(json.dumps(node["spec"]), *[self.value(form) for form in node["args"]])
        return STEPS[node["do"]](node["tag"], *self.arguments(node))

    def arguments(self, node: Spec) -> list[Any]:
        values = [self.value(form) for form in node["args"]]
        over = node["over"]
        if over:
            many = each.product if node["how"] == "product" else each
            fanned = many(*[values[place] for place in over], on_error=node["on_error"])
            for place, one in zip(over, fanned if len(over) > 1 else [fanned], strict=True):
                values[place] = one
        return values

    def value(self, form: list[Any]) -> Any:
        kind, *rest = form
        if kind == "ref":
            return self.handles[rest[0]]
        if kind == "out":
            handle = self.handles[rest[0]]
            return handle[rest[1]]
        if kind == "given":
            return self.given[rest[0]]
        if kind == "literal":
            return rest[0]
        if kind == "dict":
            return {name: self.value(item) for name, item in rest[0]}
        items = [self.value(item) for item in rest[0]]
        return streamed(items) if kind == "stream" else tuple(items) if kind == "tuple" else items


async def streamed(items: list[Any]) -> AsyncIterator[Any]:
    """Values that come one by one, some of them later."""
    for item in items:
        if item == 1:
            await anyio.sleep(0.0005)
        yield item


@pipeline
def sub(spec: str, a: Any = None, b: Any = None) -> Any:
    """A part of a graph, as a pipeline within the pipeline."""
    return Wired(json.loads(spec), (a, b)).all()


@pipeline
def build(spec: str) -> Any:
    """Whatever the specification says."""
    return Wired(json.loads(spec)).all()
