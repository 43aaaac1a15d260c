"""`ashore tag`: gives an artifact a name."""

from __future__ import annotations

from functools import partial
from typing import Any

from ashore.catalogue import Artifact, NotFound
from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run, one_call
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.showing import artifact_json
from ashore.faces.cli.texts import SHORT


def tag(settings: Settings, run: str, step: str, tag: str, output: int | None) -> int:
    """Tag what a step of a run gave; the exit code."""
    return commanded(settings, partial(_tag, run, step, tag, output))


async def _tag(run_name: str, step: str, name: str, output: int | None, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        run = await found_run(catalogue, run_name)
        found = one_call(run, step)
        artifact: Artifact[Any] = found.out
        if output is not None:
            if output >= len(found.outputs):
                raise NotFound(f"{step} of run {run.id[:SHORT]} has no output {output}: it has {len(found.outputs)}")
            artifact = found.outputs[output]
        await artifact.tag(name)
    if session.settings.json:
        session.terminal.record({"tag": name, "pipeline": run.pipeline, **artifact_json(artifact)})
    else:
        session.terminal.say(f"{found.step} of run {run.id[:SHORT]} of {run.pipeline} is {name!r} from now on")
    return DONE
