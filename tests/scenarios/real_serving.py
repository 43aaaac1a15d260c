"""The daemon that is to be killed, in a process of its own, and what it acknowledges."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.scenarios.real_project import Project

DAEMON: Final = Path(__file__).with_name("real_daemon.py")
PATIENCE: Final = 60.0
"""Seconds without any news after which the daemon is taken to hang."""


class Server:
    """Starts daemons of one project, one after the other.

    Each in an interpreter of its own; or, where importing what the pipeline needs takes seconds, forked from one that has done so.
    """

    def __init__(self, project: Project, environment: dict[str, str]) -> None:
        self._pipe, writing = os.pipe()
        self._said = (project.root / "said").open("ab")
        usual = {name: value for name, value in os.environ.items() if name != "ASHORE_HOME"}
        command = [sys.executable, str(DAEMON), str(writing), ",".join(project.preload)]
        self._process = subprocess.Popen(
            [*command, "serve", project.file, "--home", project.home],
            cwd=project.root,
            env=usual | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | environment,
            stdin=subprocess.PIPE,
            stderr=self._said,
            pass_fds=[writing],
        )
        os.close(writing)
        self._rest = b""
        self._early: list[dict[str, Any]] = []
        self.pid = 0
        """Of the daemon; 0 until it is known."""
        self.code: int | None = None
        """Its exit code, once it has ended."""

    def start(self, after: int) -> None:
        """A daemon that tells every frame after this position."""
        assert self._process.stdin is not None
        self.pid, self.code, self._early = 0, None, []
        self._process.stdin.write(f"{after}\n".encode())
        self._process.stdin.flush()
        while not self.pid:
            self._early += self.news(PATIENCE) or ()

    def news(self, seconds: float) -> list[dict[str, Any]] | None:
        """What was acknowledged since; [] if nothing was for so long, None once the daemon has ended."""
        if self._early and self.pid:
            early, self._early = self._early, []
            return early
        if self.code is not None:
            return None
        if not select.select([self._pipe], [], [], seconds)[0]:
            return []
        data = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            raise ChildProcessError(f"{self._process.args!r} ended with {self._process.wait(PATIENCE)}")
        return [told for told in map(json.loads, lines) if not self._is_about_process(told)]

    def _is_about_process(self, told: dict[str, Any]) -> bool:
        if "pid" in told:
            self.pid = told["pid"]
        elif "exit" in told:
            self.code = told["exit"]
        else:
            return False
        return True

    def signal(self, number: int) -> None:
        if self.pid and self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the daemon, if there is one, and hear it out."""
        self.signal(signal.SIGKILL)
        while self.pid and self.news(PATIENCE) is not None:
            pass

    def close(self) -> None:
        self.kill()
        self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdin is not None
        self._process.stdin.close()
        os.close(self._pipe)
        self._said.close()
