"""A web service that retrains: ashore inside an ASGI application, two worker processes, no further server.

    python examples/embed.py --port 8000     # POST /retrain with an Idempotency-Key, GET /runs/{id}
    python examples/embed.py --demo          # starts it, posts the same key to both workers many times: one run comes of it

Both workers write the same home. A key stands for one run, whichever worker is asked, and either worker answers for any run. A run
that a killed worker left unfinished is taken over by the next one that starts.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ashore import Handle, KeyConflict, NotFound, RunFailed, Runtime, WrongArgument, evaluator, pipeline, step, trainer

Points = list[tuple[float, float]]


# ---------------------------------------------------------------- the pipeline


@step
def clean(points: Points) -> Points:
    """The points that can be learned from."""
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(kept) < 2:
        raise ValueError(f"a line needs two points, here are {len(kept)}")
    return kept


@trainer
def fit(points: Points) -> dict[str, float]:
    """A straight line through them, by least squares."""
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    return {"slope": slope, "intercept": intercept}


@evaluator
def score(line: dict[str, float], points: Points) -> dict[str, float]:
    """The line, and how far off it is on average."""
    off = statistics.fmean(abs(line["slope"] * x + line["intercept"] - y) for x, y in points)
    return {**line, "error": off}


@pipeline
def retrain(points: Points) -> Handle[dict[str, float]]:
    kept = clean(points)
    return score(fit(kept), kept)


# ---------------------------------------------------------------- the application


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Runtime]]:
    """The application's own: the runtime lives as long as the application does."""
    async with Runtime(resume=[retrain]) as rt:
        yield {"rt": rt}


async def post_retrain(request: Request) -> JSONResponse:
    """Start a run, or find the one that this key stands for. It is on the disk before the answer is sent."""
    body = await request.json()
    try:
        run = await request.state.rt.start(retrain(body["points"]), key=request.headers.get("Idempotency-Key"))
    except KeyConflict as conflict:
        return answer(409, error=str(conflict))
    except WrongArgument as wrong:
        return answer(422, error=wrong.what)
    return answer(202, run=run.id)


async def get_run(request: Request) -> JSONResponse:
    """How far a run is, whichever worker drives it, and what came of it."""
    try:
        run = await request.state.rt.run(request.path_params["id"])
    except NotFound as unknown:
        return answer(404, error=str(unknown))
    about: dict[str, Any] = {"run": run.id, "state": run.state}
    if run.state == "done":
        about["result"] = await run
    elif run.state != "running":
        await run.wait()
        about["error"] = [str(failure) for failure in run.error.failures] if isinstance(run.error, RunFailed) else [str(run.error)]
    return answer(200, **about)


def answer(status: int, **content: Any) -> JSONResponse:
    return JSONResponse({**content, "worker": os.getpid()}, status)


app = Starlette(
    routes=[Route("/retrain", post_retrain, methods=["POST"]), Route("/runs/{id}", get_run)],
    lifespan=lifespan,
)


def serve(port: int) -> None:
    """Serve it by uvicorn with two workers."""
    folder = str(Path(__file__).resolve().parent)
    uvicorn.run("embed:app", app_dir=folder, host="127.0.0.1", port=port, workers=2, log_level="warning")


# ---------------------------------------------------------------- the demonstration


async def demonstrate() -> None:
    """Start the service, ask it as many clients would, and stop it."""
    port = free_port()
    with service(port), anyio.fail_after(60):
        # without kept connections each request may reach either worker
        limits = httpx.Limits(max_connections=10, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
            await listening(client)
            await transcript(client, key=f"january-{uuid.uuid4().hex[:8]}")


async def transcript(client: httpx.AsyncClient, key: str) -> None:
    points = [[float(x), 2.0 * x + 1 + (-1) ** x / 10] for x in range(20)]
    posted = await posts(client, key, points)
    runs, workers = {reply["run"] for reply in posted}, {reply["worker"] for reply in posted}
    say(f"{len(posted)} times POST /retrain with the key {key}, answered by {len(workers)} workers: {len(runs)} run")
    assert len(runs) == 1, runs
    (run,) = runs
    for worker, reply in (await answers(client, run)).items():
        assert reply["state"] == "done", reply
        say(f"GET /runs/{run[:8]} from worker {worker}: {reply['state']}, {rounded(reply['result'])}")
    other = await client.post("/retrain", json={"points": points[:5]}, headers={"Idempotency-Key": key})
    say(f"the same key with other points: {other.status_code}, {other.json()['error'][:80]}...")
    unknown = await client.get("/runs/0123456789")
    say(f"a run that nobody knows: {unknown.status_code}")
    failing = await client.post("/retrain", json={"points": points[:1]}, headers={"Idempotency-Key": f"{key}-short"})
    for reply in (await answers(client, failing.json()["run"])).values():
        say(f"one point only, from worker {reply['worker']}: {reply['state']}, {reply['error']}")


async def posts(client: httpx.AsyncClient, key: str, points: list[list[float]]) -> list[dict[str, Any]]:
    """Post the same key, ten at a time, at least fifty times and until both workers have answered."""
    replies: list[dict[str, Any]] = []

    async def post() -> None:
        reply = await client.post("/retrain", json={"points": points}, headers={"Idempotency-Key": key})
        assert reply.status_code == 202, reply.text
        replies.append(reply.json())

    while len(replies) < 50 or len({reply["worker"] for reply in replies}) < 2:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(post)
    return replies


async def answers(client: httpx.AsyncClient, run: str) -> dict[int, dict[str, Any]]:
    """What each of the two workers says of a run once it has ended."""
    found: dict[int, dict[str, Any]] = {}
    while len(found) < 2:
        reply = (await client.get(f"/runs/{run}")).json()
        if reply["state"] != "running":
            found[reply["worker"]] = reply
        await anyio.sleep(0.01)
    return found


async def listening(client: httpx.AsyncClient) -> None:
    """Wait until the service answers."""
    while True:
        try:
            await client.get("/runs/0")
        except httpx.TransportError:
            await anyio.sleep(0.05)
        else:
            return


@contextmanager
def service(port: int) -> Iterator[None]:
    """The service as a process of its own, stopped by SIGTERM."""
    process = subprocess.Popen([sys.executable, __file__, "--port", str(port)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rounded(result: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in result.items()}


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--demo", action="store_true", help="start it, use it, stop it")
    asked = parser.parse_args()
    if asked.demo:
        anyio.run(demonstrate)
    else:
        serve(asked.port)
