"""Random histories as engines write them, and what people would say of them: a plain fold, kept apart from the projection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hypothesis import strategies as st

from ashore.codec import encode as packed
from ashore.events import (
    Adopted,
    ArrivalRefused,
    Arrivals,
    Arrived,
    Call,
    CancelAsked,
    Column,
    ElementsRan,
    EnvironmentSeen,
    Event,
    Failure,
    FileUse,
    Input,
    Invoked,
    Metric,
    Output,
    OwnerSeen,
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
from ashore.ids import CacheKey, CodeId, InvocationId, RunId, hash_id

OWNERS = (b"owner-a" + bytes(9), b"owner-b" + bytes(9))
ENVIRONMENT = b"environment" + bytes(5)
STEPS = {"load": 1, "split": 2, "fit": 1, "score": 3}
"""Steps, and how many outputs each has."""
PATHS = ("in/a.csv", "in/b.csv", "in/ü <x>.csv")
TRIGGER = "in/*.csv"
TAGS = ("champion", "the <old> one")
FAILURE = Failure(("builtins:ValueError", "builtins:Exception"), "no <rows>", "Traceback ...\n", ("in step fit",), "f.py:3")
CANCELLED = Failure(("asyncio.exceptions:CancelledError",), "", "")

Frames: TypeAlias = list[list[Event]]
Name: TypeAlias = tuple[str, bytes]
"""A run and an invocation of it."""


def code_of(step: str) -> CodeId:
    return CodeId(hash_id(b"code", step.encode()))


def outputs_of(step: str, salt: int, fan: bool = False) -> tuple[Output, ...]:
    """What a call of the step gives: small ones inline."""
    if fan:
        return ()
    return tuple(
        Output(hash_id(step.encode(), bytes([salt, n])) * 2, 10 + salt, "value/1", "int", packed(salt) if n == 0 else None)
        for n in range(STEPS[step])
    )


@dataclass
class Made:
    """A call of a run, and how far it is."""

    call: Call
    state: str = "waiting"
    inputs: list[Input] = field(default_factory=list)
    files: list[FileUse] = field(default_factory=list)
    columns: int = 1
    has_elements: bool = False
    origin: Name | None = None
    elements: list[int] = field(default_factory=lambda: [0, 0, 0])
    size: int | None = None
    skipped: int | None = None
    because: str | None = None
    error: str | None = None
    times: tuple[float | None, float | None, float | None] = (None, None, None)

    @property
    def is_settled(self) -> bool:
        return self.state in ("done", "cached", "failed", "skipped", "cancelled")

    @property
    def has_outputs(self) -> bool:
        return self.state in ("done", "cached")

    @property
    def outputs(self) -> int:
        return self.columns if self.call.fan else STEPS[self.call.step]


@dataclass
class Told:
    """A run as people would tell it."""

    started: RunStarted
    position: int
    state: str = "running"
    owner: bytes = b""
    ended: float | None = None
    failed: InvocationId | None = None
    made: dict[InvocationId, Made] = field(default_factory=dict)


class Story:
    """The plain fold: receives events one by one."""

    def __init__(self) -> None:
        self.position = 0
        self.runs: dict[RunId, Told] = {}
        self.files: set[tuple[str, bytes]] = set()
        self.arrivals: list[tuple[int, Arrived | ArrivalRefused]] = []
        self.tags: list[tuple[int, Tagged]] = []

    def receive(self, event: Event) -> None:
        self.position += 1
        for use in [*getattr(event, "files", ()), *(use for call in getattr(event, "calls", ()) for use in call.files)]:
            self.files.add((use.path, use.digest))
        if isinstance(event, RunStarted):
            self.runs[event.run] = Told(event, self.position, owner=event.owner)
        elif isinstance(event, RunEnded | Adopted | Invoked):
            self._run_goes_on(self.runs[event.run], event)
        elif isinstance(event, Tagged):
            self.tags.append((self.position, event))
        elif isinstance(event, Arrived | ArrivalRefused):
            self.arrivals.append((self.position, event))
            if isinstance(event, Arrived):
                self.files.add((event.path, event.digest))
        elif isinstance(event, StepStarted | StepRan | StepFailed | StepSkipped | ElementsRan):
            self._settle(self.runs[event.run].made[event.invocation], event)

    def _run_goes_on(self, run: Told, event: RunEnded | Adopted | Invoked) -> None:
        if isinstance(event, RunEnded):
            run.state, run.ended, run.failed = event.state, event.at, event.failed[0] if event.failed else None
        elif isinstance(event, Adopted):
            run.state, run.owner, run.ended, run.failed = "running", event.owner, None, None
        else:
            for call in event.calls:
                run.made.setdefault(call.invocation, Made(call, inputs=list(call.inputs), files=list(call.files)))

    def _settle(self, made: Made, event: StepStarted | StepRan | StepFailed | StepSkipped | ElementsRan) -> None:
        if isinstance(event, ElementsRan):
            made.elements[0] += len(event.indices) - len(event.reused)
            made.elements[1] += len(event.reused)
            made.elements[2] += len(event.failed)
            made.has_elements = True
            made.inputs += event.inputs
            made.files += event.files
            made.columns = max(made.columns, len(event.columns))
            return
        made.origin, made.because, made.error = None, None, None
        if isinstance(event, StepStarted):
            made.state, made.times = "running", (None, event.at, None)
        elif isinstance(event, StepRan):
            made.state, made.times = "cached" if event.reused_run else "done", (event.ready, event.started, event.ended)
            made.origin = (event.reused_run, event.reused_invocation) if event.reused_run else None
            if event.elements >= 0:
                made.size, made.skipped = event.elements, event.skipped
        elif isinstance(event, StepFailed):
            is_cancelled = event.failure is CANCELLED or not event.failure.message
            made.state, made.times = "cancelled" if is_cancelled else "failed", (event.ready, event.started, event.ended)
            made.error = "CancelledError" if is_cancelled else f"ValueError: {event.failure.message}"
        else:
            made.state, made.times = "cancelled" if event.was_running else "skipped", (None, None, None)
            if event.because:
                made.because = self.runs[event.run].made[event.because[0]].call.step

    # --- what the views should say ---

    def shown_state(self, run: Told, made: Made) -> str:
        if run.state == "running" or made.is_settled:
            return made.state
        return {"running": "cancelled", "waiting": "skipped"}[made.state]

    def origin(self, name: Name) -> Name:
        """The invocation that made the outputs of this one."""
        made = self.runs[RunId(name[0])].made[InvocationId(name[1])]
        return made.origin or name

    def made(self, name: Name) -> Made:
        return self.runs[RunId(name[0])].made[InvocationId(name[1])]

    def artifacts(self, name: Name, place: int) -> Iterator[str]:
        """Ids of the outputs of an invocation: one, or all for -1."""
        run, invocation = self.origin(name)
        for output in range(self.made((run, invocation)).outputs) if place < 0 else (place,):
            yield f"{invocation.hex()}:{output}@{run}"

    def edges(self) -> set[tuple[str, str, str, str, str]]:
        """source, target, kind, run, argument"""
        found: set[tuple[str, str, str, str, str]] = set()
        for run, told in self.runs.items():
            for invocation, made in told.made.items():
                if made.has_outputs:
                    kind = "reused" if made.origin else "made"
                    for argument, source in self.sources(run, made):
                        for target in self.artifacts((run, invocation), -1):
                            found.add((source, target, kind, run, argument))
        return found

    def sources(self, run: str, made: Made) -> Iterator[tuple[str, str]]:
        """argument, artifact"""
        for taken in made.inputs:
            if self.made((run, taken.producer)).has_outputs:
                for source in self.artifacts((run, taken.producer), taken.output):
                    yield taken.argument, source
        for use in made.files:
            yield use.argument, f"file-{hash_id(use.path.encode(), use.digest).hex()}"

    # --- lineage, by plain recursion over occurrences ---

    def upstream(
        self, name: Name, run: str | None, seen: dict[str, str] | None = None, met: set[Name] | None = None
    ) -> dict[str, str]:
        """Ancestors of an occurrence: artifact -> kind."""
        seen, met = {} if seen is None else seen, set() if met is None else met
        if name in met:
            return seen
        met.add(name)
        made = self.made(name)
        for _, source in self.sources(name[0], made):
            if made.origin is None or source not in seen:
                seen[source] = "reused" if made.origin else "made"
        for taken in made.inputs:
            self.upstream((name[0], taken.producer), run, seen, met)
        if made.origin is not None and run is None:
            self.upstream(made.origin, run, seen, met)
        return seen

    def downstream(self, starts: Iterable[Name], run: str | None) -> dict[str, str]:
        """Descendants through these consumers: artifact -> kind."""
        seen: dict[str, str] = {}
        met: set[Name] = set()
        todo = list(starts)
        while todo:
            name = todo.pop()
            if name in met:
                continue
            met.add(name)
            made = self.made(name)
            if made.has_outputs:
                for artifact in self.artifacts(name, -1):
                    if made.origin is None or artifact not in seen:
                        seen[artifact] = "reused" if made.origin else "made"
            todo += self.consumers(name, None)
            if run is None:
                todo += [other for other in self.occurrences(name) if other != name]
        return seen

    def occurrences(self, name: Name) -> list[Name]:
        """Where the outputs that this invocation made occur: itself, and those that reuse it."""
        return [
            (run, invocation)
            for run, told in self.runs.items()
            for invocation, made in told.made.items()
            if (run, invocation) == name or made.origin == name
        ]

    def consumers(self, name: Name, place: int | None) -> list[Name]:
        return [
            (name[0], invocation)
            for invocation, made in self.runs[RunId(name[0])].made.items()
            if any(taken.producer == name[1] and (place is None or taken.output in (place, -1)) for taken in made.inputs)
        ]


def story_of(frames: Iterable[Sequence[Event]]) -> Story:
    story = Story()
    for frame in frames:
        for event in frame:
            story.receive(event)
    return story


class _Writer:
    """Draws a valid history, event by event."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.story = Story()
        self.frame: list[Event] = []
        self.frames: Frames = []
        self.time = 1_000.0

    def tell(self, event: Event) -> None:
        self.story.receive(event)
        self.frame.append(event)
        if self.draw(st.integers(0, 2)) == 0:
            self.cut()

    def cut(self) -> None:
        if self.frame:
            self.frames.append(self.frame)
            self.frame = []

    def now(self) -> float:
        self.time += 0.5
        return self.time

    def one(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(st.integers(1, one_in)) == 1)

    def file(self, argument: str) -> FileUse:
        path, content = self.one(PATHS), self.draw(st.integers(0, 2))
        return FileUse(argument, path, content, 1_000 + content, hash_id(path.encode(), bytes([content])) * 2)

    def running(self) -> list[RunId]:
        return [run for run, told in self.story.runs.items() if told.state == "running"]

    def begin(self) -> None:
        number = len(self.story.runs)
        files = (self.file("file"),) if self.chance(3) else ()
        arrivals = None
        if self.chance(3):
            after = self.draw(st.integers(0, self.story.position))
            arrivals = Arrivals(TRIGGER, after, self.draw(st.integers(after, self.story.position)))
        params = (("lr", packed(self.one((0.1, 1)))), ("note", packed("<b>"))) if self.chance(2) else ()
        run = RunId(hash_id(b"run", bytes([number])).hex()[:20])
        pipeline = self.one(("train", "grow"))
        self.tell(
            RunStarted(run, pipeline, f"f.py:{pipeline}", params, files, self.one(OWNERS), ENVIRONMENT, self.now(), "", arrivals)
        )

    def invoke(self) -> None:
        runs = self.running()
        if not runs:
            return
        run = self.one(runs)
        calls: list[Call] = []
        for _ in range(self.one((4, 2, 6, 1))):
            call = self.call([*self.story.runs[run].made.values(), *(Made(call) for call in calls)])
            if call.invocation not in self.story.runs[run].made and all(call.invocation != other.invocation for other in calls):
                calls.append(call)
        if calls:
            self.tell(Invoked(run, tuple(calls)))

    def call(self, earlier: list[Made]) -> Call:
        step, scope, fan = self.one(list(STEPS)), self.one(("", "train#1")), self.chance(4)
        inputs, files = [], []
        for n in range(self.draw(st.sampled_from((1, 2, 0))) if earlier else 0):
            made = self.one(earlier)
            place = self.draw(st.integers(-1, made.outputs - 1)) if made.outputs > 1 and not made.call.fan else 0
            inputs.append(Input(f"x[{n}]", made.call.invocation, place, 0 if made.call.fan and self.chance(3) else -1))
        if self.chance(3):
            files.append(self.file("file"))
        params = (("lr", packed(self.draw(st.integers(0, 1)))),) if self.chance(2) else ()
        parts = [step, scope, str(fan), *map(str, inputs), *map(str, files), str(params)]
        name = InvocationId(hash_id(*[part.encode() for part in parts]))
        return Call(name, step, code_of(step), scope, tuple(inputs), tuple(files), params, fan)

    def progress(self) -> None:
        """Things happen to the invocations of a run, in the order in which they were asked for."""
        runs = self.running()
        if not runs:
            return
        run = self.one(runs)
        for made in list(self.story.runs[run].made.values()):
            if not made.is_settled and not self.chance(6):
                self.settle(run, made)

    def settle(self, run: RunId, made: Made) -> None:
        sources = [self.story.made((run, taken.producer)) for taken in made.inputs]
        lost = [source for source in sources if source.is_settled and not source.has_outputs]
        if lost:
            self.tell(StepSkipped(run, made.call.invocation, (lost[0].call.invocation,)))
        elif all(source.has_outputs for source in sources):
            self.happen(run, made)

    def happen(self, run: RunId, made: Made) -> None:
        name = made.call.invocation
        match self.draw(st.integers(0, 15)):
            case 15 if made.state == "waiting":
                self.tell(StepStarted(run, name, self.now()))
            case 14:
                failure = CANCELLED if self.chance(3) else FAILURE
                self.tell(StepFailed(run, name, failure, self.now(), self.now(), self.now()))
            case 13:
                self.tell(StepSkipped(run, name, (), self.chance(2)))
            case 9:
                self.tell(Reported(run, name, 1, self.now(), (Metric("loss", 0.5, 1, 1.0), Metric("auc", float("nan"), None, 1.0))))
                self.tell(self.ran(run, made))
            case 10 | 11 | 12 if made.call.fan:
                self.tell(self.elements(run, made))
            case _:
                self.tell(self.ran(run, made))

    def elements(self, run: RunId, made: Made) -> ElementsRan:
        begin, count = sum(made.elements), self.draw(st.integers(0, 3))
        indices = tuple(range(begin, begin + count))
        columns = tuple(
            Column("value/1", "int", b"".join(bytes([n]) * 32 for n in indices), (1,) * count, tuple(packed(n) for n in indices))
            for _ in range(STEPS[made.call.step])
        )
        failed = ((begin + count, FAILURE),) if self.chance(3) else ()
        reused = tuple((index, run) for index in indices if self.chance(3))
        files = tuple(self.file(f"file[{index}]") for index in indices if self.chance(2))
        return ElementsRan(run, made.call.invocation, indices, b"", columns, failed, reused, files)

    def ran(self, run: RunId, made: Made) -> StepRan:
        call, key = made.call, CacheKey(hash_id(made.call.invocation))
        outputs, size, skipped = outputs_of(call.step, len(call.inputs), call.fan), -1, 0
        if call.fan:
            size, skipped = sum(made.elements), made.elements[2]
        earlier = [
            (other, invocation)
            for other, told in self.story.runs.items()
            for invocation, found in told.made.items()
            if found.state == "done" and found.call.step == call.step and found.call.fan == call.fan
        ]
        reused: tuple[RunId, InvocationId] = (RunId(""), InvocationId(b""))
        if earlier and self.chance(2):
            reused = self.one(earlier)
        return StepRan(run, call.invocation, key, outputs, self.now(), self.now(), self.now(), 1, *reused, size, skipped)

    def end(self) -> None:
        runs = self.running()
        if runs:
            run = self.one(runs)
            failed = [name for name, made in self.story.runs[run].made.items() if made.state == "failed"]
            state = "failed" if failed else self.one(("done", "cancelled", "failed"))
            self.tell(RunEnded(run, state, self.now(), b"", tuple(failed), FAILURE if state == "failed" and not failed else None))

    def adopt(self) -> None:
        runs = [run for run, told in self.story.runs.items() if told.state in ("running", "failed")]
        if runs:
            run = self.one(runs)
            self.tell(Adopted(run, self.one(OWNERS), self.story.runs[run].owner, self.now()))

    def ask_cancel(self) -> None:
        if self.running():
            self.tell(CancelAsked(self.one(self.running()), self.now()))

    def tag(self) -> None:
        made = [
            (run, told.started.pipeline, found.call)
            for run, told in self.story.runs.items()
            for found in told.made.values()
            if found.has_outputs
        ]
        if made:
            run, pipeline, call = self.one(made)
            self.tell(Tagged(self.one(TAGS), pipeline, call.step, run, call.invocation, 0, self.now()))

    def arrive(self) -> None:
        if self.chance(5):
            self.tell(ArrivalRefused(TRIGGER, self.one(PATHS), "a folder", self.now()))
            return
        use = self.file("file")
        earlier = sum(isinstance(event, Arrived) and event.path == use.path for _, event in self.story.arrivals)
        self.tell(Arrived(TRIGGER, use.path, earlier + 1, use.size, use.mtime_ns, use.digest, self.now()))


@st.composite
def histories(draw: Any) -> Frames:
    """Frames of events, as several engines of a home would write them."""
    writer = _Writer(draw)
    for owner in OWNERS:
        writer.tell(OwnerSeen(owner, 7, "host", "<user>", "python", writer.now()))
    writer.tell(EnvironmentSeen(ENVIRONMENT, "3.11", "linux", {"pandas": "3.0"}, "abc+"))
    for step in STEPS:
        writer.tell(StepDefined(code_of(step), step, "step", "f.py", 3, (("code", "x"),)))
    writer.begin()
    progress = [writer.progress] * 4
    acts = [
        writer.invoke,
        *progress,
        writer.invoke,
        writer.begin,
        writer.arrive,
        writer.end,
        writer.adopt,
        writer.ask_cancel,
        writer.tag,
    ]
    for act in draw(st.lists(st.sampled_from(acts), min_size=14, max_size=40)):
        act()
    writer.cut()
    return writer.frames
