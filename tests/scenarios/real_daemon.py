"""Daemons as `python -m ashore serve` starts them, that tell through a pipe what they know to be durable.

    python real_daemon.py PIPE MODULES serve FILE --home HOME

For each line of its input, a position, one daemon is forked, after MODULES (parted by commas) were imported. A follower in the
daemon's own process, on a thread with a loop of its own, writes one line of JSON for each frame after that position as soon as the
log yields it. What was read from that pipe is acknowledged, however the process ends; the last line about it is its exit code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import runpy
import sys
import threading
from typing import Any

import anyio

from ashore.events import Adopted, Arrived, Event, OwnerSeen, RunEnded, RunStarted, decode
from ashore_stores import Frame, open_segment_log, system_ports
from ashore_stores.keys import Position


def line_of(frame: Frame) -> str:
    """A frame as it is acknowledged: its place, its content, and what those who listen want to know at once."""
    told: dict[str, Any] = {"first": frame.first, "count": frame.count, "digest": digest_of(frame)}
    for place, event in enumerate(decode(frame.batch.body, frame.count), start=frame.first):
        for kind, value in news_of(place, event):
            told.setdefault(kind, []).append(value)
    return json.dumps(told)


def digest_of(frame: Frame) -> str:
    return hashlib.sha256(frame.batch.body).hexdigest()


def news_of(position: int, event: Event) -> list[tuple[str, Any]]:
    match event:
        case OwnerSeen():
            return [("owners", event.pid)]
        case Arrived():
            return [("arrived", [position, os.path.basename(event.path)])]
        case RunStarted():
            return [("started", [event.run, event.arrivals.upto if event.arrivals else 0])]
        case Adopted():
            return [("adopted", event.run)]
        case RunEnded():
            return [("ended", [event.run, event.state])]
        case _:
            return []


async def follow(folder: str, after: int, pipe: int) -> None:
    """Tell every frame after a position as it becomes durable."""
    log = await open_segment_log(folder, system_ports())
    async for frame in log.follow(Position(after)):
        os.write(pipe, f"{line_of(frame)}\n".encode())  # shorter than what a pipe takes whole


def serve(pipe: int, after: int, arguments: list[str]) -> None:
    """Be the daemon, from the command line's entry on."""
    home = arguments[arguments.index("--home") + 1]
    threading.Thread(target=anyio.run, args=(follow, f"{home}/log", after, pipe), daemon=True).start()
    sys.argv = ["ashore", *arguments]
    runpy.run_module("ashore", run_name="__main__", alter_sys=True)


def forked(pipe: int, after: int, arguments: list[str]) -> int:
    """Fork a daemon, and wait for its end; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            serve(pipe, after, arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 70
        finally:
            sys.stderr.flush()
            os._exit(code)
    tell(pipe, pid=pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tell(pipe: int, **told: int) -> None:
    os.write(pipe, f"{json.dumps(told)}\n".encode())


def main() -> None:
    pipe, modules, *arguments = sys.argv[1:]
    for module in filter(None, modules.split(",")):
        importlib.import_module(module)
    for line in sys.stdin:
        tell(int(pipe), exit=forked(int(pipe), int(line), arguments))


if __name__ == "__main__":
    main()
