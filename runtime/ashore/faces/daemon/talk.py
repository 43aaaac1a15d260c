"""What the daemon says, one plain line per thing that happens, on stderr; coloured lightly on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from ashore.events import ArrivalRefused, Arrivals, Arrived, Failure, text_path
from ashore.faces.daemon.progress import Progress
from ashore.home import Home
from ashore.triggers.ranges import Share
from ashore.triggers.watch import FolderMade, Hindered

SHORT_ID: Final = 8
"""Digits of a run id that are shown."""

GREEN, RED, YELLOW, DIM, PLAIN = "\033[32m", "\033[31m", "\033[33m", "\033[2m", "\033[0m"

SHOWN_FILES: Final = 3
"""Files that are named in one line."""


class Talk:
    """Writes lines. What comes from outside (names of files, messages) cannot write anything but itself on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._root = ""
        """Paths below it are shown from there."""
        self._is_coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str, colour: str = "") -> None:
        shown = printable(text)
        self._stream.write(f"{colour}{shown}{PLAIN}\n" if colour and self._is_coloured else f"{shown}\n")
        self._stream.flush()

    def serving(self, pipelines: Iterable[str], triggers: Iterable[str], home: Home) -> None:
        self._root = f"{home.root.rstrip('/')}/"
        self.line(f"serving {', '.join(pipelines)} on {', '.join(triggers)} (home {home.path}); Ctrl-C stops")

    def standing_by(self, served: str) -> None:
        self.line(f"standing by: {served}; Ctrl-C stops")

    def arrived(self, event: Arrived) -> None:
        version = f", version {event.version}" if event.version > 1 else ""
        self.line(f"arrived {self._short(event.path)} ({event.size:,} bytes{version})")

    def refused(self, event: ArrivalRefused) -> None:
        self.line(f"refused {self._short(event.path)}: {event.reason}", YELLOW)

    def folder_made(self, notice: FolderMade) -> None:
        self.line(f"made the folder {notice.folder}")

    def hindered(self, notice: Hindered) -> None:
        self.line(f"{notice.trigger} is hindered: {notice.reason}", YELLOW)

    def started(self, run: str, pipeline: str, files: int, arrivals: Arrivals) -> None:
        what = f"{files} file{'' if files == 1 else 's'}"
        self.line(f"run {run[:SHORT_ID]} {pipeline} started with {what} (arrivals {arrivals.after} to {arrivals.upto})")

    def adopted(self, run: str, pipeline: str) -> None:
        self.line(f"run {run[:SHORT_ID]} {pipeline} goes on: its owner is gone")

    def progress(self, run: str, pipeline: str, progress: Progress) -> None:
        self.line(f"run {run[:SHORT_ID]} {pipeline} {progress.settled} of {progress.steps} steps, {_counts(progress)}", DIM)

    def ended(self, run: str, pipeline: str, progress: Progress, seconds: float) -> None:
        state = progress.ended.state if progress.ended else "held" if progress.held else "lost"
        colour = GREEN if state == "done" else RED
        for name, failure in progress.left_out:
            self.line(f"run {run[:SHORT_ID]} {pipeline} left out {self._short(name)}: {summary(failure)}", YELLOW)
        for held in progress.held:
            self.line(f"run {run[:SHORT_ID]} {pipeline} rests: {held.reason}. {held.mend}", YELLOW)
        for name, failure in progress.failures:
            self.line(f"run {run[:SHORT_ID]} {pipeline} failed in {name}: {summary(failure)}", RED)
        self.line(f"run {run[:SHORT_ID]} {pipeline} {state} in {seconds:.1f} s: {_counts(progress)}", colour)

    def given_up(self, pipeline: str, share: Share, error: Exception) -> None:
        files = ", ".join(self._short(event.path) for event in share.files[:SHOWN_FILES])
        more = f" and {len(share.files) - SHOWN_FILES} more" if len(share.files) > SHOWN_FILES else ""
        self.line(f"{pipeline} is given up: no run of it can start for {files}{more}: {type(error).__name__}: {error}", RED)
        self.line(f"{pipeline} goes on where it stopped once its code is mended and the daemon started again", RED)

    def stopping(self, running: int, grace: float) -> None:
        wait = f"waiting up to {grace:g} s for {running} run{'' if running == 1 else 's'}" if running else "nothing is under way"
        self.line(f"stopping: {wait}")

    def left(self, run: str, pipeline: str) -> None:
        self.line(f"run {run[:SHORT_ID]} {pipeline} is left as it is: the next `ashore serve` goes on with it", YELLOW)

    def _short(self, path: str) -> str:
        return text_path(path).removeprefix(self._root)


def printable(text: str) -> str:
    """The text on one line, without anything that a terminal would obey; bytes that are not UTF-8 as escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def summary(failure: Failure) -> str:
    """Class, first line of the message, and where."""
    name = failure.classes[0].rpartition(":")[2] if failure.classes else "error"
    first = failure.message.strip().split("\n", 1)[0]
    return f"{name}: {first}{f' ({failure.where})' if failure.where else ''}"


def _counts(progress: Progress) -> str:
    further = [(len(progress.left_out), "left out"), (len(progress.failures), "failed")]
    told = [f"{progress.fresh} fresh", f"{progress.cached} cached", *(f"{count} {what}" for count, what in further if count)]
    return ", ".join(told)
