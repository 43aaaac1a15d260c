"""Rows as a table for people and as JSON lines for comparisons over time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from benchmarks.harness import Question, Row, Size

Answers: TypeAlias = Sequence[tuple[Question, Row]]

PACKAGES = ("ashore", "anyio", "msgspec", "aiosqlite", "uvloop", "numpy")
HEAD = ("#", "question", "limit", "ours", "ratio (quartiles)", "must", "goal", "moonshot", "met")


def table(answers: Answers) -> str:
    """Aligned columns; the question's text stands above its rows."""
    lines = [HEAD, *(_cells(question, row) for question, row in answers)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "-" * (sum(widths) + 2 * len(widths) - 2), *shown[1:]])


def _cells(question: Question, row: Row) -> tuple[str, ...]:
    lower, upper = row.spread
    goals = [_number(value) for value in (row.goals.must, row.goals.goal, row.goals.moonshot)]
    shown = [goal if row.judged == "ratio" else f"{goal} {row.unit}" for goal in goals]
    return (
        str(question.number),
        f"{question.text}: {row.what}",
        f"{_number(row.limit)} {row.unit} ({row.limit_name})",
        f"{_number(row.ours)} {row.unit}",
        f"{_number(row.ratio)} ({_number(lower)} to {_number(upper)})",
        *shown,
        row.met,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def json_lines(answers: Answers, size: Size) -> Iterable[str]:
    """One object per row, complete in itself: the rounds, what was durable, and where they were measured."""
    where = {"machine": machine(), "versions": versions(), "commit": commit(), "size": asdict(size)}
    for question, row in answers:
        summary = {"limit": row.limit, "ours": row.ours, "ratio": row.ratio, "spread": row.spread, "met": row.met}
        yield json.dumps({"question": asdict(question), **asdict(row), **summary, **where})


def machine() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "load": os.getloadavg()[0],
        "file_system": _file_system(Path(tempfile.gettempdir()).resolve()),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _file_system(folder: Path) -> str:
    """The type of the file system that holds the homes which are measured: on a memory file system nothing is durable."""
    mounts = Path("/proc/mounts")
    entries = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()] if mounts.exists() else []
    holding = [(entry[1], entry[2]) for entry in entries if folder.is_relative_to(entry[1])]
    return max(holding, key=lambda entry: len(entry[0]))[1] if holding else "unknown"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that was measured, marked if the files differ from it; "" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
