"""Processes that write one home by themselves, and what they acknowledged."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds without any news after which a writer is taken to hang."""


class Writers:
    """The processes that write, and what they acknowledged."""

    def __init__(self, home: str, segment_bytes: int, said: Path) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._home = home
        self._segment_bytes = segment_bytes
        self._said = said
        self._rests: dict[int, bytes] = {}

    def hire(self, name: str, first: int, last: int, **environment: str) -> subprocess.Popen[bytes]:
        """One more, who runs from FIRST to LAST."""
        command = [sys.executable, "-m", "tests.scenarios.real_worker", "busy", self._home, str(self._segment_bytes)]
        usual = {name: value for name, value in os.environ.items() if name != "ASHORE_HOME"}
        with self._said.open("ab") as aside:
            asked = [*command, name, str(first), str(last)]
            process = subprocess.Popen(asked, cwd=ROOT, env=usual | environment, stdout=subprocess.PIPE, stderr=aside)
        assert process.stdout is not None
        self.processes.append(process)
        self._rests[process.stdout.fileno()] = b""
        return process

    def news(self) -> list[dict[str, Any]] | None:
        """What was acknowledged since; None once all of them have ended."""
        if not self._rests:
            return None
        ready, _, _ = select.select(list(self._rests), [], [], PATIENCE)
        if not ready:
            raise TimeoutError("the writers hang")
        found = []
        for pipe in ready:
            data = os.read(pipe, 1 << 16)
            *lines, rest = (self._rests[pipe] + data).split(b"\n")
            self._rests[pipe] = rest
            if not data:
                del self._rests[pipe]
            found += [json.loads(line) for line in lines]
        return found

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(PATIENCE)  # whatever the kernel was doing for it is done then

    def close(self) -> None:
        self.kill()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()


@dataclass
class Acknowledged:
    """What was read on the pipes of all writers of a home, whatever became of them."""

    frames: dict[int, str] = field(default_factory=dict)
    """First position -> digest of the body."""
    ended: set[str] = field(default_factory=set)
    """Runs whose end was awaited."""
    problems: list[str] = field(default_factory=list)

    def hear(self, writers: Writers) -> bool:
        """Take in what they say next; False once all of them have ended."""
        news = writers.news()
        for told in news or ():
            if "first" not in told:
                self.ended.add(told["run"])
            elif self.frames.setdefault(told["first"], told["digest"]) != told["digest"]:
                self.problems.append(f"the frame at {told['first']} was acknowledged with two contents")
        return news is not None
