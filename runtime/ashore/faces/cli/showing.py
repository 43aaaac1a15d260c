"""A run, shown: for people as a tree, for programs as one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ashore.catalogue import Artifact, FileVersion, Invocation, PastRun
from ashore.faces.cli.history import Graph
from ashore.faces.cli.naming import Short
from ashore.faces.cli.progress import STATE_COLOURS
from ashore.faces.cli.results import failure_json
from ashore.faces.cli.terminal import BOLD, DIM, RED, YELLOW, Terminal, printable
from ashore.faces.cli.texts import SHORT, duration, failure_line, moment, parameters, plural, size
from ashore.faces.cli.tree import Twig, tree

_FILES_SHOWN: Final = 5
_TRACEBACKS_SHOWN: Final = 3
_LABEL_WIDTH: Final = 12


def state_text(run: PastRun[Any], *, is_driven: bool) -> str:
    """A run's state; one whose process is gone says so."""
    return "running (no owner)" if run.state == "running" and not is_driven else run.state


def show_run(terminal: Terminal, run: PastRun[Any], graph: Graph, short: Short, *, is_driven: bool) -> None:
    """Everything about one run."""
    took = f" in {duration(run.took)}" if run.took is not None else ""
    state = terminal.painted(state_text(run, is_driven=is_driven), STATE_COLOURS.get(run.state, ""))
    terminal.painted_result(f"{terminal.painted(f'run {short[run.id]}', BOLD)} of {printable(run.pipeline)}: {state}{took}")
    if run.state == "running" and not is_driven:
        terminal.painted_result(f"  {terminal.painted('to go on'.ljust(_LABEL_WIDTH), DIM)} {_way_on(run)}")
    for label, text in _facts(run):
        terminal.painted_result(f"  {terminal.painted(label.ljust(_LABEL_WIDTH), DIM)} {printable(text)}")
    if run.invocations:
        terminal.painted_result("")
    shown = Shown(terminal, run, graph, short)
    shown.show()
    _show_tracebacks(terminal, run)


def _way_on(run: PastRun[Any]) -> str:
    """How a run that nobody drives can be gone on with."""
    other = "start it again under its key" if run.key is not None else "open a Runtime(resume=[...]) that names it"
    return f"serve its pipeline, or {other}"


def _facts(run: PastRun[Any]) -> Iterator[tuple[str, str]]:
    yield "target", run.target
    yield "started", moment(run.started)
    if run.params:
        yield "parameters", parameters(run.params)
    yield from _file_facts(run)
    if run.key is not None:
        yield "key", run.key
    if run.arrivals is not None:
        yield "arrivals", f"{run.arrivals.trigger}, after {run.arrivals.after} up to {run.arrivals.upto}"
    if run.parent is not None:
        yield "parent", run.parent[:SHORT]
    yield "owner", f"process {run.pid} of {run.user} on {run.host}"
    yield "environment", f"Python {run.python}, {plural(len(run.versions), 'distribution')}"
    if run.git_commit:
        yield "commit", run.git_commit
    if run.trouble is not None:
        yield "held" if run.state == "held" else "error", f"{run.trouble}{f' ({run.location})' if run.location else ''}"


def _file_facts(run: PastRun[Any]) -> Iterator[tuple[str, str]]:
    files = list(files_in(run.params))
    for file in files[:_FILES_SHOWN]:
        yield "file", _file(file)
    if len(files) > _FILES_SHOWN:
        yield "", f"and {plural(len(files) - _FILES_SHOWN, 'more file')}"


def _file(file: Mapping[str, Any]) -> str:
    digest = f", {file['digest'][: len('sha256-') + SHORT]}" if file.get("digest") else ""
    return f"{file['file']} ({size(file.get('size'))}{digest})"


def files_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """The files among parameters, as `ashore.codec.show` gives them."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str) and set(value) <= {"file", "size", "digest"}:
            yield value
        else:
            for item in value.values():
                yield from files_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from files_in(item)


class Shown:
    """The graph as a tree: what nothing takes from at the top, what it was made from below it."""

    def __init__(self, terminal: Terminal, run: PastRun[Any], graph: Graph, short: Short) -> None:
        self._terminal = terminal
        self._graph = graph
        self._short = short
        self._calls = {one.id: one for one in run.invocations}

    def show(self) -> None:
        def below(name: str) -> list[str]:
            return [source for source in self._graph.made_from.get(name, ()) if source in self._calls]

        for twig, name in tree([name for name in self._graph.ends() if name in self._calls], below):
            self._line(twig, self._calls[name])

    def _line(self, twig: Twig, one: Invocation[Any]) -> None:
        terminal = self._terminal
        name = printable(f"{one.scope}/{one.step}" if one.scope else one.step)
        if twig.is_again:
            terminal.painted_result(f"{twig.before}{name} {terminal.painted('(above)', DIM)}")
            return
        given = printable(parameters(one.params))
        params = f"({given})" if given else ""
        state = terminal.painted(one.state, STATE_COLOURS.get(one.state, ""))
        terminal.painted_result(f"{twig.before}{name}{params}  {state}{printable(self._how(one))}")
        margin = " " * len(twig.before)
        for element, failure in self._graph.left_out.get(one.id, ()):
            terminal.painted_result(f"{margin}     {terminal.painted(printable(f'{element}: {failure_line(failure)}'), YELLOW)}")
        if one.error is not None:
            where = f" ({one.location})" if one.location else ""
            terminal.painted_result(f"{margin}     {terminal.painted(printable(f'{_first_line(one.error)}{where}'), RED)}")

    def _how(self, one: Invocation[Any]) -> str:
        """After the state: from where, how long, of how many."""
        parts = []
        if one.id in self._graph.orphans:
            parts.append(" (orphan: the code asks for it no more)")
        if one.cached_from is not None:
            parts.append(f" from run {self._short[one.cached_from]}")
        elif one.took is not None:
            waited = f", waited {duration(one.waited)}" if one.waited is not None else ""
            parts.append(f" in {duration(one.took)}{waited}")
        if one.because is not None:
            parts.append(f" because of {one.because}")
        if one.elements is not None:
            parts.append(f": {elements_text(one)}")
        if one.attempt is not None and one.attempt > 1:
            parts.append(f", attempt {one.attempt}")
        if one.metrics:
            parts.append(f", {metrics_text(one.metrics)}")
        return "".join(parts)


def metrics_text(metrics: Mapping[str, float | None]) -> str:
    """ "auc=0.91, loss=0.033"."""
    return ", ".join(f"{name}={'nan' if value is None else f'{value:.4g}'}" for name, value in metrics.items())


def elements_text(one: Invocation[Any]) -> str:
    """ "30 elements, 1 ran, 28 cached, 1 failed"."""
    elements = one.elements
    assert elements is not None
    ran = elements.done
    counted = [(ran, "ran"), (elements.cached, "cached"), (elements.failed, "failed")]
    total = "elements" if elements.count is None else plural(elements.count, "element")
    return ", ".join([total, *(f"{count} {kind}" for count, kind in counted if count)])


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _show_tracebacks(terminal: Terminal, run: PastRun[Any]) -> None:
    failed = [one for one in run.invocations if one.traceback]
    for one in failed[:_TRACEBACKS_SHOWN]:
        terminal.painted_result("")
        terminal.result_block(f"{one.step}:\n{one.traceback}")
    if not failed and run.traceback:
        terminal.painted_result("")
        terminal.result_block(run.traceback)


def run_json(run: PastRun[Any], graph: Graph | None = None) -> dict[str, Any]:
    """A run as one object; with its graph, every invocation too."""
    record: dict[str, Any] = {"run": run.id}
    for name in ("pipeline", "target", "state", "started", "ended", "took", "key", "parent", "params"):
        record[name] = getattr(run, name)
    record |= {"counts": run.counts(), "error": run.trouble, "location": run.location}
    if graph is None:
        return record
    for name in ("host", "user", "pid", "python", "versions", "git_commit", "traceback"):
        record[name] = getattr(run, name)
    record["arrivals"] = run.arrivals._asdict() if run.arrivals is not None else None
    return record | {"files": list(files_in(run.params)), "steps": [_invocation_json(one, graph) for one in run.invocations]}


def _invocation_json(one: Invocation[Any], graph: Graph) -> dict[str, Any]:
    names = ("id", "step", "scope", "state", "params", "attempt", "ready", "started", "ended", "waited", "took", "cached_from")
    record = {name: getattr(one, name) for name in (*names, "because", "error", "location", "traceback", "code", "cache_key")}
    record["is_orphan"] = one.id in graph.orphans
    record["made_from"] = graph.made_from.get(one.id, [])
    record["inputs"] = {argument: artifact_json(taken) for argument, taken in one.inputs.items()}
    record["outputs"] = [artifact_json(output) for output in one.outputs]
    if one.elements is not None:
        left_out = [{"name": name, **failure_json(failure)} for name, failure in graph.left_out.get(one.id, ())]
        counts = {name: getattr(one.elements, name) for name in ("count", "done", "cached", "failed", "skipped")}
        record["elements"] = counts | {"left_out": left_out}
    return record


def artifact_json(artifact: Artifact[Any] | FileVersion) -> dict[str, Any]:
    """An artifact as one object."""
    names = ("id", "digest", "size", "kind")
    further = ("path", "version") if isinstance(artifact, FileVersion) else ("run", "step", "output", "format", "type", "made")
    return {name: getattr(artifact, name) for name in names + further}
