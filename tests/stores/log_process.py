"""A process of its own that writes a log: `python log_process.py FOLDER NAME ROUNDS`. Says on stdout what it was told."""

from __future__ import annotations

import sys

import anyio

from ashore_stores.logs.segment import open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.system import system_ports
from ashore_stores.testing.logs import KEYS, claim, facts


async def main(folder: str, name: str, rounds: int) -> None:
    log = await open_segment_log(folder, system_ports(), LogSettings(segment_bytes=20_000))
    for number in range(rounds):
        body = f"{name}-{number}".encode()
        first, second = log.queue(facts(body)), log.queue(facts(body + b"'"))
        judged = await log.append([claim(b"%d" % number, name.encode(), space=KEYS)])
        await log.durable(second)
        print("told", first.position, body.decode(), flush=True)
        position = judged[0].position
        if position is not None:
            await log.durable(position)
            print("won", number, flush=True)
    print("owner", (await log.own()).hex(), flush=True)
    if rounds:
        await log.aclose()
    else:
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
