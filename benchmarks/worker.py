"""A process with a runtime of its own that runs a chain for each line it is sent: `python -m benchmarks.worker HOME`."""

from __future__ import annotations

import asyncio
import sys

from ashore import Runtime
from benchmarks.pipelines import chain


async def serve(home: str) -> None:
    async with Runtime(home=home) as runtime:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            start, steps = map(int, line.split())
            run = await runtime.start(chain(start, steps))
            await run
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
