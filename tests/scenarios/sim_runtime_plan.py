"""What a seed of the simulated runtime stands for: what is asked for, what arrives, what the disk does, and how each life ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.scenarios.graphs_random import changed_spec, random_spec
from tests.scenarios.sim_runtime_life import FOLDER, Deed
from tests.scenarios.sim_runtime_program import made_risky, spec_text, told_apart

from ashore_stores.logs.segments import LogSettings
from ashore_stores.testing.disk import Faults


@dataclass(frozen=True, slots=True)
class End:
    """How a life is cut off: at the `at`-th operation, or just after that many times somebody was told something."""

    manner: str
    """"cut" the power at an operation, "kill" the process at one; cut when anything was "told", or that a file has "arrived"."""
    at: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed stands for."""

    seed: int
    settings: LogSettings
    preempt: float
    faults: Faults
    ends: tuple[End, ...]
    requests: tuple[tuple[str, str, float, str, str], ...]
    deeds: tuple[Deed, ...]
    has_faults: bool
    """Whether the disk, in the first life, fails once or has no room; later ones find it mended."""
    has_damage: bool


def plan_for(seed: int) -> Plan:
    chance = random.Random(f"runtime-{seed}")
    trouble = chance.choice(("flush", "write", "room", *[""] * 12))
    return Plan(
        seed=seed,
        settings=LogSettings(segment_bytes=chance.choice((1, 1500, 4000, 4000, 1 << 20))),
        preempt=chance.choice((0.0, 0.0, 0.1)),
        faults=Faults(
            flush_error_at=chance.randint(5, 60) if trouble == "flush" else None,
            is_forgetful=chance.random() < 0.4,
            write_error_at=chance.randint(20, 120) if trouble == "write" else None,
            room=chance.randint(3_000, 60_000) if trouble == "room" else None,
            short_writes=chance.choice((0.0, 0.2)),
        ),
        ends=tuple(_end(chance, is_first=number == 0) for number in range(chance.choice((1, 1, 2, 2, 3)))),
        requests=tuple(_requests(chance)),
        deeds=tuple(_deeds(chance)),
        has_faults=bool(trouble),
        has_damage=chance.random() < 0.5,
    )


def _end(chance: random.Random, *, is_first: bool) -> End:
    manner = chance.choice(("cut", "cut", "cut", "kill", "kill", "told", "told", "arrived"))
    if manner in ("told", "arrived"):
        return End(manner, chance.randint(1, 10 if manner == "told" else 3))
    return End(manner, chance.randint(30, 400) if is_first or chance.random() < 0.5 else chance.randint(1, 60))


def _requests(chance: random.Random) -> Iterator[tuple[str, str, float, str, str]]:
    specs: list[Any] = []
    for number in range(chance.choice((1, 2, 2, 3, 4))):
        twin = bool(specs) and chance.random() < 0.3
        spec = chance.choice(specs) if twin else told_apart(random_spec(chance, chance.randint(1, 9)), number)
        if chance.random() < 0.3:
            spec = made_risky(spec)
        if twin and chance.random() < 0.5:
            spec = changed_spec(chance, spec)
        specs.append(spec)
        key = "" if chance.random() < 0.3 else f"key-{number}" if not twin or chance.random() < 0.7 else "key-0"
        twist = chance.choice(("", "", "", "watch", "watch", "cancel", "conflict" if key else ""))
        if key == "key-0" and number:
            spec = specs[0]
            twist = ""
        other = spec_text(told_apart(spec, 50))
        yield (
            spec_text(spec),
            key,
            chance.choice((0.0, 0.0, 0.01, 0.3)),
            twist if twist != "conflict" or other != spec_text(spec) else "",
            other,
        )


def _deeds(chance: random.Random) -> Iterator[Deed]:
    contents = [b"a" * 20, b"b" * 20, b"c" * 600, b"large" * 9_000]
    for _ in range(chance.choice((0, 1, 2, 3, 5))):
        manner = chance.choice(("rename", "rename", "rename", "in_place", "in_place", "grow", "remove"))
        name = chance.choice("abcd")
        content = chance.choice(contents) + chance.choice((b"", name.encode()))
        yield Deed(chance.choice((0.0, 0.01, 0.3, 3.0)), manner, f"{FOLDER}/{name}.csv", content, chance.random() < 0.6)
