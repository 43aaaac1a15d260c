"""The projection: events, in the order of the log, become rows of the index. Pure: the same log always gives the same rows.

Events name invocations by content; rows name them by number (`step.no`, given in the order of the log), because keys that only
grow keep an index small and its writes local. The numbers of open runs are kept here; those of others are learned beforehand
(`unknown`, `learn`). Within a slice all that concerns one row is gathered and told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ashore.events import (
    Adopted,
    ArrivalRefused,
    Arrived,
    AttemptFailed,
    Call,
    CancelAsked,
    ElementsRan,
    EnvironmentSeen,
    Event,
    FileUse,
    Held,
    Input,
    Invoked,
    OwnerSeen,
    Redone,
    Reported,
    RunEnded,
    RunStarted,
    StepDefined,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
    Tagged,
)
from ashore.ids import InvocationId, RunId, hash_id
from ashore.projection.apart import APART, metric_rows
from ashore.projection.passed import awaited_rows, made_of_row, made_of_rows
from ashore.projection.references import REFERRING, Unknown, referred
from ashore.projection.rows import OpenRun, add, grouped, number
from ashore.projection.tables import APPENDED
from ashore.projection.texts import SHOWN_LENGTH, shown, told
from ashore_stores.index.changes import (
    FAN,
    FILE,
    OUTCOME,
    REUSE,
    RUN,
    STEP,
    Add,
    Change,
    Keep,
    Put,
    Remove,
    Row,
    Set,
)

_CACHED_TEXTS: Final = 10_000
_CACHED_REUSE: Final = 200_000


class Projection:
    """Folds events into changes, slice by slice: `unknown`, `learn`, `fold`, `take`."""

    def __init__(self, last_step: int = 0) -> None:
        self._last_step = last_step
        self._runs: dict[RunId, OpenRun] = {}
        self._made: dict[tuple[RunId, InvocationId], int] = {}
        self._params: dict[tuple[tuple[str, bytes], ...], str] = {}
        self._calls: dict[Row, int] = {}
        self._forms: dict[Row, int] = {}
        self.strays = 0
        """Events about runs or invocations that nothing announced: passed over."""
        self._clear()

    def __repr__(self) -> str:
        return f"<Projection {len(self._runs)} open runs, {self._last_step} steps>"

    def _clear(self) -> None:
        self._steps: list[Row] = []
        self._outcomes: dict[int, Row] = {}
        self._reuse: dict[int, int | None] = {}
        self._fans: dict[int, tuple[int, int]] = {}
        self._counts: dict[int, list[int]] = {}
        self._new_runs: dict[int, dict[str, Any]] = {}
        self._old_runs: dict[int, dict[str, Any]] = {}
        self._files: dict[bytes, Row] = {}
        self._rows: dict[str, list[Row]] = {table.name: [] for table in APPENDED}

    # --- what has to be known ---

    def unknown(self, events: Sequence[Event]) -> Unknown:
        """What these events refer to that is neither known here nor announced by one of them."""
        missing = Unknown()
        begun: set[RunId] = set()
        for event in events:
            kind = type(event)
            if kind is RunStarted:
                begun.add(event.run)  # type: ignore[union-attr]  # the type was just looked at
            elif kind in REFERRING:
                self._miss(event, begun, missing)
        return missing

    def _miss(self, event: Any, begun: set[RunId], missing: Unknown) -> None:
        run = self._runs.get(event.run)
        if not (run.is_whole if run else event.run in begun):
            steps = run.steps if run else {}
            wanted = [invocation for invocation in referred(event) if invocation not in steps]
            if wanted:
                missing.add(event.run, wanted)
            if run is None:
                missing.runs.add(event.run)
        if type(event) is StepRan and event.reused_run and event.reused_run not in begun:
            made = self._runs.get(event.reused_run)
            key = (event.reused_run, event.reused_invocation)
            if key not in self._made and not (made and (made.is_whole or event.reused_invocation in made.steps)):
                missing.add(event.reused_run, [event.reused_invocation])

    def learn_run(self, run: RunId, no: int) -> None:
        """A run of the index that events of this slice are about."""
        self._runs.setdefault(run, OpenRun(no, is_whole=False, is_new=False))

    def learn_step(self, run: RunId, invocation: InvocationId, no: int, origin: int | None) -> None:
        """An invocation of the index, and the number of the one whose outputs it reuses."""
        known = self._runs.get(run)
        if known is None:
            self._made[run, invocation] = origin or no
            return
        known.steps[invocation] = no
        if origin is not None:
            known.origins[no] = origin

    # --- the fold ---

    def fold(self, first: int, events: Sequence[Event]) -> None:
        """Fold the events at positions `first`, `first + 1`, ... in."""
        for position, event in enumerate(events, first):
            act = _FOLDS.get(type(event))
            if act is not None:
                act(self, event, position)

    def take(self) -> list[Change]:
        """The changes of the slice; the next one begins."""
        changes: list[Change] = []
        add(changes, Put(RUN, [tuple([row[name] for name in RUN.columns]) for row in self._new_runs.values()]))
        changes += grouped(self._old_runs)
        add(changes, Put(STEP, self._steps))
        add(changes, Put(OUTCOME, list(self._outcomes.values())))
        add(changes, Put(REUSE, [(no, origin) for no, origin in self._reuse.items() if origin is not None]))
        add(changes, Remove(REUSE, [(no,) for no, origin in self._reuse.items() if origin is None]))
        add(changes, Keep(FAN, [(no, None, None, 0, 0, 0) for no in self._fans | self._counts]))
        add(changes, Set(FAN, ("elements", "skipped"), [(*sizes, no) for no, sizes in self._fans.items()]))
        add(changes, Add(FAN, ("done", "cached", "failed"), [(*counts, no) for no, counts in self._counts.items()]))
        add(changes, Keep(FILE, list(self._files.values())))
        for table, change in APPENDED.items():
            add(changes, change(table, self._rows[table.name]))
        self._forget()
        self._clear()
        return changes

    def _forget(self) -> None:
        for name in [name for name, run in self._runs.items() if run.is_over]:
            del self._runs[name]
        for run in self._runs.values():
            run.is_new = False
        if len(self._made) > _CACHED_REUSE:
            self._made.clear()
        for texts in (self._params, self._calls, self._forms):
            if len(texts) > _CACHED_TEXTS:
                texts.clear()

    def _step(self, run: RunId, invocation: InvocationId) -> int | None:
        known = self._runs.get(run)
        no = known.steps.get(invocation) if known else None
        if no is None:
            self.strays += 1
        return no

    # --- runs ---

    def _run_started(self, event: RunStarted, position: int) -> None:
        if event.run in self._runs:
            self.strays += 1
            return
        self._runs[event.run] = OpenRun(position, is_whole=True, is_new=True)
        arrivals = event.arrivals
        self._new_runs[position] = dict.fromkeys(RUN.columns) | {
            "no": position,
            "id": event.run,
            "pipeline": event.pipeline,
            "target": event.target,
            "params": self._shown(event.params),
            "owner": event.owner,
            "environment": event.environment,
            "key": event.key,
            "parent": event.parent,
            "trigger": arrivals and arrivals.trigger,
            "arrivals_after": arrivals and arrivals.after,
            "arrivals_upto": arrivals and arrivals.upto,
            "started": event.at,
            "state": "running",
            "position": position,
        }
        self._rows["given"] += [(position, use.argument, self._file(use)) for use in event.files]

    def _run_changed(self, run: RunId, values: dict[str, Any]) -> OpenRun | None:
        known = self._runs.get(run)
        if known is None:
            self.strays += 1
            return None
        rows = self._new_runs if known.is_new else self._old_runs
        rows.setdefault(known.no, {}).update(values)
        return known

    def _run_ended(self, event: RunEnded, position: int) -> None:
        failed = self._step(event.run, event.failed[0]) if event.failed else None
        error, location, traceback = told(event.failure)
        known = self._run_changed(
            event.run,
            {
                "state": event.state,
                "ended": event.at,
                "position": position,
                "failed_step": failed,
                "error": error,
                "location": location,
                "traceback": traceback,
            },
        )
        if known:
            known.is_over = True

    def _adopted(self, event: Adopted, position: int) -> None:
        running = dict.fromkeys(("ended", "failed_step", "error", "location", "traceback"))
        known = self._run_changed(event.run, running | {"state": "running", "owner": event.owner, "position": position})
        if known:
            known.is_over = False

    def _redone(self, event: Redone, position: int) -> None:
        running = dict.fromkeys(("ended", "failed_step", "error", "location", "traceback"))
        known = self._run_changed(event.run, running | {"state": "running", "owner": event.owner, "position": position})
        if known is None:
            return
        known.is_over = False
        for invocation in event.invocations:
            self._settle(event.run, invocation, position, ("waiting", None, None, None, None))
        for invocation, *gone in event.elements:
            no = self._step(event.run, invocation)
            if no is not None:
                counts = self._counts.setdefault(no, [0, 0, 0])
                self._counts[no] = [count - less for count, less in zip(counts, gone, strict=True)]

    def _held(self, event: Held, position: int) -> None:
        self._run_changed(event.run, {"state": "held", "error": f"{event.reason}. {event.mend}", "position": position})

    def _cancel_asked(self, event: CancelAsked, position: int) -> None:
        self._run_changed(event.run, {"cancel_asked": event.at})

    # --- invocations ---

    def _invoked(self, event: Invoked, position: int) -> None:
        run = self._runs.get(event.run)
        if run is None:
            self.strays += 1
            return
        steps, rows, run_no = run.steps, self._steps, run.no
        new: list[Call] = []
        for call in event.calls:
            invocation = call.invocation
            if invocation not in steps:
                no = steps[invocation] = self._last_step = self._last_step + 1
                params = self._shown(call.params) if call.params else None
                rows.append((no, run_no, invocation, self._call(call), params))
                if call.inputs or call.files:
                    new.append(call)
        for call in new:
            self._took(run, steps[call.invocation], call.inputs, call.files)
        if event.awaited or any([call.given for call in event.calls]):
            self._rows["awaited"] += awaited_rows(event, steps)
            self._rows["made_of"] += made_of_rows(event, steps)

    def _call(self, call: Call) -> int:
        shared = (call.step, call.scope, call.code, call.fan)
        known = self._calls.get(shared)
        if known is None:
            known = self._calls[shared] = number(call.step.encode(), call.scope.encode(), call.code, b"1" if call.fan else b"")
            self._rows["call"].append((known, *shared))
        return known

    def _form(self, outputs: int, format: str | None, type: str | None, inline: bool | None) -> int:
        shared = (outputs, format, type, inline)
        known = self._forms.get(shared)
        if known is None:
            known = self._forms[shared] = number(str(shared).encode())
            self._rows["form"].append((known, *shared))
        return known

    def _took(self, run: OpenRun, no: int, inputs: Iterable[Input], files: Iterable[FileUse]) -> None:
        uses = self._rows["use"]
        for taken in inputs:
            source = run.steps.get(taken.producer)
            if source is None:
                self.strays += 1
            else:
                uses.append((no, taken.argument, source, taken.output, taken.element))
        for use in files:
            self._rows["reading"].append((no, use.argument, self._file(use)))

    def _settle(self, run: RunId, invocation: InvocationId, position: int, outcome: Row) -> int | None:
        """An outcome without outputs: state, attempt, ready, started, ended."""
        no = self._step(run, invocation)
        if no is not None:
            self._outcomes[no] = (no, *outcome, position, None, None, None, None)
            self._not_reused(self._runs[run], no)
        return no

    def _not_reused(self, run: OpenRun, no: int) -> None:
        if run.origins.pop(no, None) is not None:
            self._reuse[no] = None

    def _step_started(self, event: StepStarted, position: int) -> None:
        if event.element < 0:
            self._settle(event.run, event.invocation, position, ("running", event.attempt, None, event.at, None))

    def _attempt_failed(self, event: AttemptFailed, position: int) -> None:
        if event.element < 0:
            self._settle(event.run, event.invocation, position, ("running", event.attempt, None, event.started, None))

    def _step_ran(self, event: StepRan, position: int) -> None:
        no = self._step(event.run, event.invocation)
        if no is None:
            return
        run = self._runs[event.run]
        state = self._reuse_of(run, no, event) if event.reused_run or run.origins else "done"
        outputs = event.outputs
        if event.body:
            self._of_sub_run(run, no, event)
        if event.elements >= 0:
            self._fans[no] = (event.elements, event.skipped)
        form: int | None = None
        digest: bytes | None = None
        size: int | None = None
        if outputs:
            first = outputs[0]
            form = self._form(len(outputs), first.format, first.type, first.data is not None)
            digest, size = first.digest, first.size
            if len(outputs) > 1:
                self._further(no, event)
        elif event.elements >= 0:
            form = self._form(1, None, "list", None)
        times = (event.ready, event.started, event.ended)
        self._outcomes[no] = (no, state, event.attempt, *times, position, event.key, form, digest, size)

    def _reuse_of(self, run: OpenRun, no: int, event: StepRan) -> str:
        """Whether its outputs are reused ("cached") or made ("done")."""
        if event.reused_run:
            self._reused(run, no, event)
            return "cached"
        self._not_reused(run, no)
        return "done"

    def _of_sub_run(self, run: OpenRun, no: int, event: StepRan) -> None:
        """Where the result of a sub-run comes from."""
        self._took(run, no, event.handed, ())
        if event.given:
            self._rows["made_of"].append(made_of_row(event, no))

    def _further(self, no: int, event: StepRan) -> None:
        for place, output in enumerate(event.outputs[1:], 1):
            row = (no, place, output.digest, output.size, output.format, output.type, output.data is not None)
            self._rows["output"].append(row)

    def _reused(self, run: OpenRun, no: int, event: StepRan) -> None:
        made = self._runs.get(event.reused_run)
        origin = made.steps.get(event.reused_invocation) if made else None
        if made is None or origin is None:
            origin = self._made.get((event.reused_run, event.reused_invocation))
        else:
            origin = made.origins.get(origin, origin)
        if origin is not None:
            self._reuse[no] = run.origins[no] = origin

    def _step_failed(self, event: StepFailed, position: int) -> None:
        state = "cancelled" if event.failure.classes and event.failure.classes[0].endswith(":CancelledError") else "failed"
        outcome = (state, event.attempt, event.ready, event.started, event.ended)
        no = self._settle(event.run, event.invocation, position, outcome)
        if no is not None:
            self._rows["trouble"].append((no, None, *told(event.failure)))

    def _step_skipped(self, event: StepSkipped, position: int) -> None:
        state = "cancelled" if event.was_running else "skipped"
        no = self._settle(event.run, event.invocation, position, (state, None, None, None, None))
        if no is not None:
            because = self._step(event.run, event.because[0]) if event.because else None
            self._rows["trouble"].append((no, because, None, None, None))

    def _elements_ran(self, event: ElementsRan, position: int) -> None:
        run = self._runs.get(event.run)
        no = run.steps.get(event.invocation) if run else None
        if run is None or no is None:
            self.strays += 1
            return
        counts = self._counts.setdefault(no, [0, 0, 0])
        counts[0] += len(event.indices) - len(event.reused)
        counts[1] += len(event.reused)
        counts[2] += len(event.failed)
        for place, column in enumerate(event.columns[1:], 1):
            self._rows["output"].append((no, place, None, None, column.format, column.type, None))
        self._took(run, no, event.inputs, event.files)

    # --- what stands by itself ---

    def _file(self, use: FileUse | Arrived) -> bytes:
        name = hash_id(use.path.encode(), use.digest)
        self._files.setdefault(name, (name, use.path, use.digest, use.size, use.mtime_ns))
        return name

    def _arrived(self, event: Arrived, position: int) -> None:
        self._rows["arrival"].append((position, event.trigger, event.path, event.version, self._file(event), None, event.at))

    def _refused(self, event: ArrivalRefused, position: int) -> None:
        self._rows["arrival"].append((position, event.trigger, event.path, None, None, event.reason, event.at))

    def _tagged(self, event: Tagged, position: int) -> None:
        what = (event.name, event.pipeline, event.step, event.made_in, event.invocation, event.output)
        self._rows["tag"].append((position, *what, event.at))

    def _apart(self, event: OwnerSeen | EnvironmentSeen | StepDefined, position: int) -> None:
        table, row = APART[type(event)]
        self._rows[table].append(row(event))

    def _reported(self, event: Reported, position: int) -> None:
        no = self._step(event.run, event.invocation)
        if no is not None:
            self._rows["metric"] += metric_rows(no, event, position)

    def _shown(self, params: tuple[tuple[str, bytes], ...]) -> str:
        text = self._params.get(params)
        if text is None:
            text = shown(params)
            if len(text) <= SHOWN_LENGTH:
                self._params[params] = text
        return text


_FOLDS: Final[dict[type, Callable[[Projection, Any, int], None]]] = {
    OwnerSeen: Projection._apart,
    EnvironmentSeen: Projection._apart,
    StepDefined: Projection._apart,
    Reported: Projection._reported,
    RunStarted: Projection._run_started,
    Invoked: Projection._invoked,
    StepStarted: Projection._step_started,
    AttemptFailed: Projection._attempt_failed,
    StepRan: Projection._step_ran,
    StepFailed: Projection._step_failed,
    StepSkipped: Projection._step_skipped,
    ElementsRan: Projection._elements_ran,
    RunEnded: Projection._run_ended,
    Adopted: Projection._adopted,
    Redone: Projection._redone,
    Held: Projection._held,
    CancelAsked: Projection._cancel_asked,
    Arrived: Projection._arrived,
    ArrivalRefused: Projection._refused,
    Tagged: Projection._tagged,
}
