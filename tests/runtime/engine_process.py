"""A process of its own that runs `gated`: `python -m tests.runtime.engine_process HOME OUTSIDE KEY`.

It prints the run's id, then its end. Its steps say outside what they do, one line each, and one of them waits until a file
named `go` lies beside.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from ashore import Handle, Runtime, pipeline, step
from ashore.events import StepRan


def say(folder: str, line: str) -> None:
    descriptor = os.open(f"{folder}/said", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def said(folder: str) -> list[str]:
    path = Path(folder, "said")
    return path.read_text().splitlines() if path.exists() else []


def is_there(path: str) -> bool:
    return Path(path).exists()


@step
async def first(folder: str) -> str:
    say(folder, "first")
    return folder


@step
async def waiting(folder: str) -> str:
    say(folder, "waiting")
    while not is_there(f"{folder}/go"):
        await anyio.sleep(0.01)
    return folder


@step
async def last(folder: str, number: int) -> int:
    say(folder, f"last {number}")
    return number


@pipeline
def gated(folder: str) -> Handle[list[int]]:
    gate = waiting(first(folder))
    return [last(gate, number) for number in range(20)]  # type: ignore[return-value]  # a list of handles is awaited as a list


async def main(home: str, folder: str, key: str) -> None:
    async with Runtime(home=home, grace=1.0) as rt:
        run = await rt.start(gated(folder), key=key)
        async for happened in run.events():  # durable ones: the first step is on record
            if isinstance(happened.event, StepRan):
                break
        while "waiting" not in said(folder):
            await anyio.sleep(0.01)
        print(run.id, flush=True)
        print(await run.wait(), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
