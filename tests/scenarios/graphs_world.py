"""A world: one home in which some random graphs are run twice each, killed and resumed, and compared with the oracle.

    python -m tests.scenarios.graphs_world FOLDER FIRST COUNT [GRAPHS SIZE]

prints one line for each world: its figures, or what was wrong, made as small as it gets, and the command that shows it again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from tests.scenarios.graphs_oracle import Told as Oracle
from tests.scenarios.graphs_oracle import Unit, told_of
from tests.scenarios.graphs_process import Found, Order, Told, run_child
from tests.scenarios.graphs_program import Spec, build
from tests.scenarios.graphs_random import changed_spec, random_spec

from ashore.graph import wire

GRAPHS = 8
SIZE = 14
KILLS = 3
"""How often one run is killed at most."""


@dataclass
class Report:
    """One world's figures."""

    seed: int
    graphs: int = 0
    processes: int = 0
    kills: int = 0
    killed_graphs: int = 0
    resumed: int = 0
    """Runs that a later process found unfinished in the log."""
    executions: int = 0
    reused: int = 0
    problems: list[str] = field(default_factory=list)
    again: str = ""


class Graph:
    """One specification with its oracle, and which invocation is which."""

    def __init__(self, spec: Spec) -> None:
        self.text = json.dumps(spec)
        self.told: Oracle = told_of(spec)
        nodes = wire(build, {"spec": self.text}).nodes
        if len(nodes) != len(self.told.order):
            raise AssertionError(f"{len(nodes)} invocations, not {len(self.told.order)}: {self.text}")
        self.units: list[tuple[str, Unit]] = []
        for node, identity in zip(nodes, self.told.order, strict=True):
            self.units += [(node.invocation.hex(), unit) for unit in self.told.invocations[identity].units]

    def left(self, found: Found | None) -> list[Unit]:
        """The units without a recorded outcome."""
        return [unit for name, unit in self.units if not is_recorded(found, name, unit)]

    def recorded(self, found: Found | None) -> list[Unit]:
        return [unit for name, unit in self.units if is_recorded(found, name, unit)]


def is_recorded(found: Found | None, name: str, unit: Unit) -> bool:
    return found is not None and (name in found.settled or unit.index in found.elements.get(name, ()))


class World:
    """One home, and what the oracle knows to be in it."""

    def __init__(self, folder: str, seed: int) -> None:
        self.home = f"{folder}/.ashore"
        self.outside = f"{folder}/outside"
        self.rng = random.Random(seed)
        self.report = Report(seed)
        self.cached: set[str] = set()
        self.perhaps: set[str] = set()
        """What may be cached: elements of fan-outs that failed."""
        self.operations = 40
        self._read = 0

    def graph(self, spec: Spec, number: int) -> None:
        """Run one graph twice, either time killed and resumed perhaps."""
        graph = Graph(spec)
        is_killed = self.rng.random() < 0.7  # not every kill comes before the end: half of the graphs are hit
        kills = self.report.kills
        self.report.graphs += 1
        self.life(graph, f"{number}-first", KILLS if is_killed else 0)
        self.life(graph, f"{number}-second", 1 if is_killed and self.rng.random() < 0.3 else 0)
        self.report.killed_graphs += self.report.kills > kills

    def life(self, graph: Graph, key: str, kills: int) -> None:
        """One run from its start to its end, over as many processes as it takes."""
        attempts = self.rng.randrange(1, kills + 1) if kills else 0
        for attempt in range(attempts + 1):
            order = self.order(graph, key, is_killed=attempt < attempts)
            found, told, killed = run_child(order)
            self.report.processes += 1
            self.report.resumed += found is not None and bool(found.run) and not found.is_over
            self.judge(graph, found, told, f"{key}, process {attempt + 1}")
            if not killed:
                return
            self.report.kills += 1

    def order(self, graph: Graph, key: str, *, is_killed: bool) -> Order:
        rng = self.rng
        order = Order(self.home, self.outside, graph.text, key, by_resume=rng.random() < 0.5)
        if is_killed and rng.random() < 0.5:
            order.kill_at = rng.randrange(1, self.operations + 3)
            order.is_after = rng.random() < 0.5
        elif is_killed:
            order.kill_line = rng.randrange(2, 2 * len(graph.units) + 3)
        return order

    # What is checked.

    def judge(self, graph: Graph, found: Found | None, told: Told | None, where: str) -> None:
        lines = self.new_lines()
        if found is not None:
            self.cached.update(unit.key for unit in graph.recorded(found) if unit.key)
        problems = [*self.too_early(graph, found, lines), *self.wrong_counts(graph, found, lines, is_whole=told is not None)]
        if told is not None:
            problems += [*told.problems, *wrong_result(graph.told, told)]
            self.operations = max(told.operations, 10)
            self.report.reused += told.counts.get("cached", 0)
            for _, unit in graph.units:
                (self.perhaps if unit.is_optional else self.cached).update([unit.key] if unit.key else [])
        self.report.problems += [f"{where}: {problem} in {graph.text}" for problem in problems]

    def new_lines(self) -> list[str]:
        with open(self.outside, "rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        return text.decode().splitlines()

    def too_early(self, graph: Graph, found: Found | None, lines: list[str]) -> Iterable[str]:
        """Executions that began before their inputs were made and recorded."""
        known = self.cached | self.perhaps
        ended = {unit.said for unit in graph.recorded(found)} | {unit.said for _, unit in graph.units if unit.key in known}
        needs: dict[str, list[frozenset[str]]] = {}
        for _, unit in graph.units:
            needs.setdefault(unit.said, []).append(unit.needs)
        for line in lines:
            verb, _, said = line.partition(" ")
            if verb == "end":
                ended.add(said)
            elif verb == "start" and not any(needed <= ended for needed in needs.get(said, [])):
                yield f"{said} began before its inputs were there, or was never asked for"

    def wrong_counts(self, graph: Graph, found: Found | None, lines: list[str], *, is_whole: bool) -> Iterable[str]:
        """Executions that should not have been, or (of a process that came to its end) are missing."""
        executed = Counter(line.partition(" ")[2] for line in lines if line.startswith("start "))
        self.report.executions += executed.total()
        most, least = self.bounds(graph.left(found) if found is None or not found.is_over else [])
        for said in executed | least:
            if executed[said] > most[said]:
                yield f"{said} was executed {executed[said]} times, {most[said]} are right"
            elif is_whole and executed[said] < least[said]:
                yield f"{said} was executed {executed[said]} times, {least[said]} at least are right"

    def bounds(self, left: list[Unit]) -> tuple[Counter[str], Counter[str]]:
        """How often each execution may, and must, happen."""
        most: Counter[str] = Counter()
        least: Counter[str] = Counter()
        seen: set[str] = set()
        for unit in left:
            if unit.key and unit.key in self.cached:
                continue
            most[unit.said] += 1
            if not unit.is_optional and unit.key not in seen and unit.key not in self.perhaps:
                least[unit.said] += 1
                seen.update([unit.key] if unit.key else [])
        return most, least


def wrong_result(oracle: Oracle, told: Told) -> list[str]:
    if not oracle.failures:
        fine = told.failures is None and told.result == oracle.result
        return [] if fine else [f"the result is {told.failures or told.result}, {oracle.result} is right"]
    left = list(told.failures or [])
    for messages in oracle.failures:
        match = next((failure for failure in left if any(message in failure for message in messages)), None)
        if match is None:
            return [f"failures are {told.failures} ({told.result}), {[sorted(said) for said in oracle.failures]} are right"]
        left.remove(match)
    for messages in oracle.perhaps:
        match = next((failure for failure in left if any(message in failure for message in messages)), None)
        if match is not None:
            left.remove(match)
    return [f"failures that nobody knows of: {left}"] if left else []


def run_world(folder: str, seed: int, graphs: int = GRAPHS, size: int = SIZE) -> Report:
    """One world in an empty folder, removed at the end."""
    place = f"{folder}/world-{seed}-{graphs}-{size}"
    os.makedirs(place)
    world = World(place, seed)
    specs: list[Spec] = []
    try:
        for number in range(graphs):
            is_new = not specs or world.rng.random() < 0.6
            spec = (
                random_spec(world.rng, world.rng.randrange(1, size + 1))
                if is_new
                else changed_spec(world.rng, world.rng.choice(specs))
            )
            specs.append(spec)
            world.graph(spec, number)
            if world.report.problems:
                break
    finally:
        shutil.rmtree(place)
    return world.report


def smallest(folder: str, report: Report) -> Report:
    """The same seed, or a near one, in as small a world as still shows a problem."""
    for graphs, size in ((1, 2), (1, 3), (2, 3), (1, 5), (2, 5), (4, 8)):
        for seed in [report.seed, *range(20)]:
            tried = run_world(folder, seed, graphs, size)
            if tried.problems:
                tried.again = f"python -m tests.scenarios.graphs_world FOLDER {seed} 1 {graphs} {size}"
                return tried
    report.again = f"python -m tests.scenarios.graphs_world FOLDER {report.seed} 1"
    return report


def main(folder: str, first: int, count: int, graphs: int = GRAPHS, size: int = SIZE) -> None:
    for seed in range(first, first + count):
        report = run_world(folder, seed, graphs, size)
        if report.problems:
            report = smallest(folder, report)
        print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
