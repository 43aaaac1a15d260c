"""Fingerprints taken in fresh processes: each of its own fork, as a module or as a notebook's cell.

`taken(jobs, seed=..., folder=...)` starts one Python with that hash seed and working directory; it forks for each job, so that no
module of one is seen by another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Job(NamedTuple):
    """One fingerprint that is asked for."""

    folder: str
    """Where the files are: it is put on `sys.path`."""
    file: str = "flow.py"
    """The file of the step."""
    name: str = "fit"
    """The function, or the step."""
    as_cell: bool = False
    """Whether the file's source is run as a cell of `__main__`, not imported."""


class Taken(NamedTuple):
    """What came of it."""

    code: str
    parts: dict[str, str]
    places: dict[str, str]
    unfollowed: list[list[str]]


def taken_if_they_run(jobs: Sequence[Job], *, seed: str = "1", folder: str | Path = ROOT) -> list[Taken | None]:
    """The fingerprints of the jobs, in their order; None for a project whose own code raises."""
    env = {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT / 'stores'}"}
    asked = json.dumps([list(job) for job in jobs])
    done = subprocess.run([sys.executable, __file__], input=asked, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Taken(*answer) if answer is not None else None for answer in json.loads(done.stdout)]


def taken(jobs: Sequence[Job], *, seed: str = "1", folder: str | Path = ROOT) -> list[Taken]:
    """The fingerprints of the jobs, in their order; all must run."""
    found = taken_if_they_run(jobs, seed=seed, folder=folder)
    missing = [job for job, one in zip(jobs, found, strict=True) if one is None]
    assert not missing, missing
    return [one for one in found if one is not None]


def differing(one: Taken, other: Taken) -> set[str]:
    """The names of the parts that are not the same, after a check that the ids say the same."""
    names = {name for name in one.parts.keys() | other.parts.keys() if one.parts.get(name) != other.parts.get(name)}
    assert (one.code == other.code) == (not names), f"the code ids are {'' if one.code == other.code else 'not '}equal: {names}"
    return names


def _answer(job: Job) -> list[Any] | None:
    from ashore.fingerprint import Cache, fingerprint_of  # noqa: PLC0415  # only in the process that is started for it

    sys.path.insert(0, job.folder)
    try:
        fit = _run(job)[job.name]
    except Exception:  # noqa: BLE001  # the project's own code does not run
        return None
    step = getattr(fit, "definition", None)
    cache = step.options.declared if step is not None else Cache()
    function = step.fn if step is not None else fit
    if not isinstance(function, FunctionType):
        return None
    found = fingerprint_of(function, name=job.name, cache=cache)
    again = fingerprint_of(function, name=job.name, cache=cache)
    assert again is found
    places = {name: str(place) for (name, _), place in zip(found.parts, found.places, strict=False)}
    return [found.code.hex(), dict(found.parts), places, [list(one) for one in found.unfollowed]]


def _run(job: Job) -> dict[str, Any]:
    """The names of the project's file, after it has run."""
    if job.as_cell:
        names: dict[str, Any] = sys.modules["__main__"].__dict__
        names.pop("__file__", None)
        source = Path(job.folder, job.file).read_text(encoding="utf-8")
        exec(compile(source, "<cell 3>", "exec", dont_inherit=True), names)
        return names
    return vars(__import__(job.file.removesuffix(".py")))


def _in_a_fork(job: Job) -> Any:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(_answer(job), pipe)
            code = 0
        finally:
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    if status:
        raise SystemExit(f"{job} ended with status {status}")
    return json.loads(text)


if __name__ == "__main__":
    for part in ("ashore.fingerprint", "ashore.steps"):  # once, not in every fork
        __import__(part)
    print(json.dumps([_in_a_fork(Job(*job)) for job in json.loads(sys.stdin.read())]))
