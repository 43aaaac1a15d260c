"""Hunt all bugs and print which seed caught each: `python -m tests.museum [NAME...]`."""

from __future__ import annotations

import logging
import sys

import structlog

from tests.museum.exhibits import BUGS
from tests.museum.hunt import hunt


def main(names: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    escaped = 0
    print(f"{'bug':28} {'harness':12} {'seed':>5} {'seconds':>8}  found by")
    for bug in BUGS:
        if names and bug.name not in names:
            continue
        caught = hunt(bug)
        if caught is None:
            escaped += 1
            print(f"{bug.name:28} {bug.harness:12} {'-':>5} {'-':>8}  NOT CAUGHT in {bug.seeds} seeds")
        else:
            print(f"{bug.name:28} {bug.harness:12} {caught.seed:5} {caught.seconds:8.2f}  {caught.message[:90]}")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
