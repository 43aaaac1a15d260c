"""A daemon as `python -m ashore serve` starts it, that tells through a pipe what it knows to be durable.

    python real_daemon.py PIPE AFTER serve FILE --home HOME

A follower in the daemon's own process, on a thread with a loop of its own, writes one line of JSON for each frame after position
AFTER as soon as the log yields it. What was read from that pipe is acknowledged, however the process ends.
"""

from __future__ import annotations

import hashlib
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


def main() -> None:
    pipe, after, *arguments = sys.argv[1:]
    home = arguments[arguments.index("--home") + 1]
    threading.Thread(target=anyio.run, args=(follow, f"{home}/log", int(after), int(pipe)), daemon=True).start()
    sys.argv = ["ashore", *arguments]
    runpy.run_module("ashore", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
