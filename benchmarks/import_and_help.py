"""Question 21: what everybody pays before anything happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.child import Cost, cost_of, cost_of_command
from benchmarks.harness import Goals, Question, Row, Size, empty_folder

QUESTION = Question(21, "what everybody pays", durable="nothing")
LEAST_ROUNDS = 5  # the answer is a gate, so it is never taken from a single look


def limit_nothing(folder: Path) -> Cost:
    return cost_of("pass", folder)


def ours_import(folder: Path) -> Cost:
    """With every name of the lazy door: what a program pays that goes on to run something."""
    return cost_of("import ashore; [getattr(ashore, name) for name in ashore.__all__]", folder)


def ours_help(folder: Path) -> Cost:
    return cost_of_command("ashore", ["--help"], folder)


def measure(size: Size) -> Iterator[Row]:
    with empty_folder() as folder:
        rounds = [
            (limit_nothing(folder), ours_import(folder), ours_help(folder)) for _ in range(max(size.rounds, LEAST_ROUNDS) + 1)
        ][1:]
    name = "python -c pass"
    imports = tuple((nothing.cpu, imported.cpu) for nothing, imported, _ in rounds)
    helps = tuple((nothing.cpu, helped.cpu) for nothing, _, helped in rounds)
    memory = tuple((nothing.memory, imported.memory) for nothing, imported, _ in rounds)
    yield Row("CPU of import ashore, all of it", name, imports, "s", Goals(0.25, 0.12, 0.08), judged="ours", gate=True)
    yield Row("CPU of ashore --help", name, helps, "s", Goals(0.3, 0.15, 0.1), judged="ours", gate=True)
    yield Row("memory after import", name, memory, "MB", Goals(35, 25, 22), judged="ours", gate=True)
