"""Whole programs as children: what they cost in CPU, wall time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Says at its very end how much memory the program had at most. What the system reports for a child counts the parent's memory too.
PRELUDE = """
import atexit, sys
def _peak():
    try:
        peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stderr.write(f"peak {peak}\\n")
atexit.register(_peak)
"""


@dataclass(frozen=True)
class Cost:
    cpu: float  # seconds, user and system, of it and its children
    wall: float  # seconds
    memory: float  # MB, at most


def cost_of(program: str, folder: Path) -> Cost:
    """Run `program`, Python source, in an interpreter of its own and in `folder`; it must end well."""
    (folder / "program.py").write_text(PRELUDE + program, encoding="utf-8")
    return _cost([sys.executable, "program.py"], folder)


def cost_of_command(command: str, arguments: Sequence[str], folder: Path) -> Cost:
    """Run an installed command; its memory is not measured."""
    return _cost([str(Path(sys.executable).parent / command), *arguments], folder)


def _cost(command: Sequence[str], folder: Path) -> Cost:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASHORE_", "PYTHON"))}
    with (folder / "stderr").open("w+b") as errors:
        start = time.monotonic()
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}\n{said}")
    peaks = [int(line.split()[1]) for line in said.splitlines() if line.startswith("peak ")]
    return Cost(usage.ru_utime + usage.ru_stime, wall, peaks[-1] / 1024 if peaks else 0.0)
