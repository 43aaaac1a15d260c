"""Random specifications of graphs, by seed: chains, diamonds, fans, parts of graphs that other graphs have had before."""

from __future__ import annotations

import random
from typing import Any

from tests.scenarios.graphs_program import FLAVOURS, Spec

WEIGHTS = {"number": 5, "small": 4, "flaky": 2, "many": 4, "pair": 3, "parts": 1, "blob": 1}
NEVER_LISTS = ("number", "small", "flaky", "blob")


class Maker:
    """One graph being made."""

    def __init__(self, rng: random.Random, size: int, depth: int = 0, given: int = 0) -> None:
        self.rng = rng
        self.size = size
        self.depth = depth
        self.given = given
        self.nodes: list[Spec] = []
        self.kinds: list[str] = []
        """What each node gives: "one", "list", "pair", "parts", "fan", "fan of pairs", "any"."""

    def spec(self) -> Spec:
        while len(self.nodes) < self.size:
            self.add()
        return {"nodes": self.nodes, "result": self.result()}

    def add(self) -> None:
        roll = self.rng.random()
        if self.nodes and roll < 0.06:  # an equal call: the same invocation, but for a part of a graph
            place = self.rng.randrange(len(self.nodes))
            self.keep(self.nodes[place], self.kinds[place])
        elif roll < 0.14 and self.depth < 2 and self.nodes:
            self.add_sub()
        elif roll < 0.42:
            self.add_fan()
        else:
            self.add_call()

    def keep(self, node: Spec, kind: str) -> None:
        self.nodes.append(node)
        self.kinds.append(kind)

    def add_sub(self) -> None:
        args = [self.argument() for _ in range(self.rng.randrange(3))]
        inner = Maker(self.rng, self.rng.randrange(1, 5), self.depth + 1, len(args))
        self.keep({"do": "sub", "spec": inner.spec(), "args": args}, "any")

    def step(self) -> tuple[str, str]:
        shape = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        return shape, f"{shape}_{self.rng.choice(FLAVOURS)}"

    def add_call(self) -> None:
        shape, name = self.step()
        is_source = not self.nodes or self.rng.random() < 0.15
        args = [] if is_source else [self.argument() for _ in range(self.rng.choice((1, 1, 2, 3)))]
        node = {"do": name, "tag": self.rng.randrange(4), "args": args, "over": [], "how": "", "on_error": ""}
        self.keep(node, {"many": "list", "pair": "pair", "parts": "parts"}.get(shape, "one"))

    def add_fan(self) -> None:
        shape, name = self.step()
        number = self.rng.choice((1, 1, 1, 2))
        how = self.rng.choice(("zip", "product")) if number > 1 else "zip"
        if how == "zip" and number > 1 and self.rng.random() < 0.85:
            source = self.source()
            args = [source, self.same_length(source)]
        else:
            args = [self.source(may_stream=place == 0 and (number == 1 or how == "product")) for place in range(number)]
        over = list(range(number))
        if self.rng.random() < 0.3:
            args.append(self.argument())
            if self.rng.random() < 0.5:
                args, over = [args[-1], *args[:-1]], [place + 1 for place in over]
        on_error = self.rng.choice(("stop", "skip", "skip", "collect"))
        node = {"do": name, "tag": self.rng.randrange(4), "args": args, "over": over, "how": how, "on_error": on_error}
        self.keep(node, {"pair": "fan of pairs", "parts": "fan of parts"}.get(shape, "fan"))

    def source(self, *, may_stream: bool = False) -> list[Any]:
        """Something to fan out."""
        if may_stream and self.rng.random() < 0.15:
            return ["stream", [["literal", self.rng.randrange(6)] for _ in range(self.rng.randrange(5))]]
        lists = [place for place, kind in enumerate(self.kinds) if kind in ("list", "fan", "fan of pairs", "fan of parts")]
        roll = self.rng.random()
        if lists and roll < 0.55:
            place = self.near(lists)
            if self.kinds[place].startswith("fan of") and self.rng.random() < 0.5:
                return ["out", place, self.rng.randrange(2)]
            return ["ref", place]
        if self.nodes and roll < 0.85:
            return ["list", [self.argument() for _ in range(self.rng.randrange(5))]]
        return ["list", [["literal", self.rng.randrange(6)] for _ in range(self.rng.randrange(5))]]

    def same_length(self, source: list[Any]) -> list[Any]:
        if source[0] == "list":
            return ["list", [self.argument() for _ in source[1]]]
        return source

    def argument(self, depth: int = 0) -> list[Any]:
        roll = self.rng.random()
        if self.given and roll < 0.25:
            return ["given", self.rng.randrange(self.given)]
        if not self.nodes or roll < 0.32:
            return ["literal", self.rng.choice([0, 1, 2, "x", None, True, 1.0, [1, 2]])]
        if roll < 0.47 and depth < 2:
            items = [self.argument(depth + 1) for _ in range(self.rng.randrange(4))]
            kind = self.rng.choice(("list", "tuple", "dict"))
            return ["dict", [[f"k{n}", item] for n, item in enumerate(items)]] if kind == "dict" else [kind, items]
        place = self.near(range(len(self.nodes)))
        if self.kinds[place] in ("pair", "parts", "fan of pairs", "fan of parts") and self.rng.random() < 0.6:
            return ["out", place, self.rng.randrange(2)]
        return ["ref", place]

    def near(self, places: Any) -> int:
        """One of the places, the last ones more often: chains grow long."""
        places = list(places)
        return int(places[-1 - min(int(self.rng.expovariate(0.5)), len(places) - 1)])

    def result(self) -> list[Any]:
        if self.rng.random() < 0.2 or not self.nodes:
            return ["list", [["ref", place] for place in range(len(self.nodes))]]
        return self.argument()


def random_spec(rng: random.Random, size: int) -> Spec:
    return Maker(rng, size).spec()


def changed_spec(rng: random.Random, spec: Spec) -> Spec:
    """The same graph with other tags here and there: most of it has been made before."""
    nodes = [dict(node, tag=rng.randrange(4)) if "tag" in node and rng.random() < 0.15 else node for node in spec["nodes"]]
    return {**spec, "nodes": nodes}
