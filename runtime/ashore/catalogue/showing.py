"""What notebooks show of what is on record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ashore import html
from ashore.catalogue.naming import SHORT

if TYPE_CHECKING:
    from ashore.catalogue.artifacts import Artifact, FileVersion
    from ashore.catalogue.invocations import Invocation
    from ashore.catalogue.past import PastRun

_STEPS: Final = ("step", "state", "waited", "took", "from")
_RUNS: Final = ("run", "pipeline", "state", "started", "took", "steps")


def run_html(run: PastRun[Any], steps: Sequence[Invocation[Any]] | None) -> str:
    """A run: what it is, what failed it, its steps."""
    head = html.title("run of", run.pipeline, run.id[:SHORT], run.state)
    about = html.facts([("parameters", params_text(run.params)), ("started", html.moment(run.started)), ("took", _took(run.took))])
    trouble = html.block(run.trouble) if run.trouble else ""
    return head + about + trouble + ("" if steps is None else steps_html(steps))


def runs_html(runs: Sequence[PastRun[Any]]) -> str:
    """Runs, one on each line."""
    return html.table(_RUNS, [_run_cells(run) for run in runs[: html.ROWS_SHOWN]], len(runs), "runs")


def _run_cells(run: PastRun[Any]) -> tuple[Any, ...]:
    steps = ", ".join(f"{count} {state}" for state, count in run.counts().items() if count)
    state = f"{run.state}: {run.trouble}" if run.trouble else run.state
    return run.id[:SHORT], run.pipeline, state, html.moment(run.started), _took(run.took), steps


def steps_html(steps: Sequence[Invocation[Any]]) -> str:
    """Invocations, one on each line."""
    return html.table(_STEPS, [_step_cells(one) for one in steps[: html.ROWS_SHOWN]], len(steps), "steps")


def _step_cells(one: Invocation[Any]) -> tuple[str, ...]:
    name = f"{one.scope}/{one.step}" if one.scope else one.step
    if one.elements is not None:
        name = f"{name} ×{one.elements.count if one.elements.count is not None else '?'}"
    state = f"{one.state}: {one.error}" if one.error else one.state
    return name, state, _took(one.waited), _took(one.took), (one.cached_from or "")[:SHORT]


def step_html(one: Invocation[Any]) -> str:
    """One invocation: its arguments, its state, what it took and gave."""
    facts = [
        *[("parameters", params_text(one.params)), ("run", one.run[:SHORT]), ("took", _took(one.took))],
        *[("reused from run", (one.cached_from or "")[:SHORT]), ("because of", one.because), ("at", one.location)],
        *[(f"took {argument}", taken.short) for argument, taken in list(one.inputs.items())[: html.ROWS_SHOWN]],
        *[(f"gave {place}" if place else "gave", artifact_text(made)) for place, made in enumerate(one.outputs)],
    ]
    trouble = html.block(one.error) if one.error else ""
    return html.title("step", one.step, one.id[:SHORT], one.state) + html.facts(facts) + trouble


def artifact_html(artifact: Artifact[Any]) -> str:
    """One artifact: what it is and where it is from."""
    facts = [
        *[("type", artifact.type or "several outputs"), ("size", size_text(artifact.size)), ("digest", artifact.digest)],
        *[("format", artifact.format), ("made in run", artifact.run[:SHORT]), ("made at", html.moment(artifact.made))],
    ]
    name = f"{artifact.step}[{artifact.output}]" if artifact.output > 0 else artifact.step
    return html.title("artifact of", name, artifact.short) + html.facts(facts)


def file_html(version: FileVersion) -> str:
    """One version of a file."""
    facts = [("size", size_text(version.size)), ("digest", version.digest), ("version", version.version)]
    return html.title("file", version.path, version.short) + html.facts(facts)


def artifact_text(artifact: Artifact[Any]) -> str:
    return ", ".join(part for part in (artifact.short, artifact.type or "", size_text(artifact.size)) if part)


def params_text(params: dict[str, Any]) -> str:
    return ", ".join(_params(params))


def _params(params: dict[str, Any]) -> Iterator[str]:
    for name, value in params.items():
        yield f"{name}={value!r}"


def size_text(size: int | None) -> str:
    return "" if size is None else f"{size:,} bytes"


def _took(seconds: float | None) -> str:
    return html.seconds(seconds)
