"""The command: choose the questions, measure, show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.harness import CHECK, FULL, SMALL, Question, Row, Size
from benchmarks.report import json_lines, table

FILES = (
    *("chain_and_fan", "caught_up_index", "dynamic_chain", "cached_steps", "each_again", "each_elements"),
    *("long_runs", "long_run_memory", "import_and_help", "hello", "warm_process", "resumed_body", "four_processes"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    size = CHECK if options.check else FULL if options.full else SMALL
    answers = [answer for file in chosen(options.names) for answer in ask(file, size)]
    print(table(answers))
    if options.json:
        Path(options.json).write_text("".join(f"{line}\n" for line in json_lines(answers, size)), encoding="utf-8")
    missed = [
        f"question {question.number}, {row.what}: the must is missed" for question, row in answers if row.gate and row.met == "no"
    ]
    print(*missed, sep="\n", end="\n" if missed else "", file=sys.stderr)
    return 1 if missed and not options.check else 0  # a check says that everything runs: it is no timed test


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast, against what.")
    result.add_argument("names", nargs="*", help=f"which, by number or name: {', '.join(FILES)}")
    sizes = result.add_mutually_exclusive_group()
    sizes.add_argument("--full", action="store_true", help="in full size, as the goals are stated")
    sizes.add_argument("--check", action="store_true", help="as small as can be: only that everything runs")
    result.add_argument("--json", metavar="FILE", help="write the raw rounds as JSON lines")
    return result


def chosen(names: Sequence[str]) -> list[ModuleType]:
    modules = {
        file: import_module(f"benchmarks.{file}") for file in FILES if not names or not set(names) <= {*FILES} or file in names
    }
    known = {name: module for file, module in modules.items() for name in (file, str(module.QUESTION.number))}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(modules.values())


def ask(module: ModuleType, size: Size) -> list[tuple[Question, Row]]:
    question: Question = module.QUESTION
    print(f"{question.number}. {question.text} ...", file=sys.stderr, flush=True)
    return [(question, row) for row in module.measure(size)]


if __name__ == "__main__":
    sys.exit(main())
