"""What can go wrong for a user of the runtime. Each error says what, where, and how to mend it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, Self

_VALUE_SHOWN: Final = 80
"""Characters of an argument that an error shows."""


class AshoreError(Exception):
    """Any trouble that ashore itself reports. `str()` is "where: what. mend"; the three are attributes, too."""

    what: str = ""
    where: str = ""
    """"file:line", or "" where no line is to blame."""
    mend: str = ""

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(_sentence(what, where, mend))

    def __reduce__(self) -> Any:
        return _again, (type(self), self.args, self.__dict__)


class GraphError(AshoreError):
    """A step, a pipeline or a call of one is not right. Raised before anything runs.

    Where nothing else is said, the user's line that is running is to blame.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str = "") -> None:
        AshoreError.__init__(self, what, where=user_line() if where is None else where, mend=mend)


class WrongArgument(GraphError, TypeError):
    """A call's arguments do not fit the function's parameters: by name, by number or by type."""


class AmbiguousCall(GraphError):
    """Two tasks of a body make equal calls that act on the world or on time: nobody could tell after a crash which was which."""


class NotInThisVersion(GraphError):
    """Something that is designed but not built yet was asked for. It is never left out silently."""


class NotSupplied(GraphError):
    """A step needs a resource or a secret that the runtime does not have. `resources` and `secrets` are the missing names."""

    def __init__(
        self, what: str, *, where: str | None = None, mend: str = "", resources: Sequence[str] = (), secrets: Sequence[str] = ()
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.resources = tuple(resources)
        self.secrets = tuple(secrets)


class NotAValue(TypeError, AttributeError, AshoreError):
    """A handle was used as if it were the value that it stands for."""

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        AshoreError.__init__(self, what, where=where, mend=mend)


class NestedCall(AshoreError):
    """A step was called inside a step: there it is `.fn(...)`, or the call belongs into the pipeline."""


class InsideLoop(AshoreError):
    """`ashore.run` was called where an event loop is running already: there one writes `await`."""


class StepError(AshoreError):
    """An attempt of a step failed for a reason that is not an exception of the step's own."""


class StepFailure(StepError):
    """A recorded failure whose own exception class is not imported here; the message names it."""


class SourceFailed(StepError):
    """An async iterator that a fan-out goes over raised, or gave what cannot be recorded. Its `__cause__` is what was raised."""


class FileChanged(StepError):
    """A file is not what it was when it was looked at: its new content is another version."""


class StepTimeout(StepError, TimeoutError):
    """An attempt was ended because its time was over: `timeout=` for each attempt, `deadline=` for all of them."""


class StepLost(StepError):
    """An attempt was lost: its process ended before there was an outcome on record."""


class WorkerLost(StepLost):
    """The process in which an attempt ran ended before the attempt did: by a signal, by os._exit, or since it was stopped."""


class WorkerLeft(WorkerLost):
    """A runtime is left while the attempt runs: nothing came of it that could be told, and whoever goes on does it again."""


class NotOnThisMachine(GraphError):
    """A step asks for more than this machine has: it would wait for ever."""


class RunFailed(ExceptionGroup[Exception], AshoreError):
    """A run failed: an exception group of what failed it, each failure once, at its root."""

    run: Any
    """The run, or its id where nothing more is known."""

    def __new__(cls, message: str, failures: Sequence[Exception], run: Any = None) -> Self:
        self = super().__new__(cls, message, failures)
        self.run = run
        return self

    def __init__(self, message: str, failures: Sequence[Exception], run: Any = None) -> None:
        self.what = message

    @property
    def failures(self) -> tuple[Exception, ...]:
        """The exceptions of the steps that failed the run."""
        return tuple(self.exceptions)

    def derive(self, excs: Sequence[Any], /) -> RunFailed:  # type: ignore[override]  # typeshed's overloads allow other results
        """Part of it is a `RunFailed` of the same run."""
        return RunFailed(self.message, excs, self.run)


class ElementsFailed(ExceptionGroup[Exception], AshoreError):
    """Elements of a fan-out with `on_error="collect"` failed: an exception group of all of them, each its step's own exception."""

    step: str
    failures: dict[int, Exception]
    """By the element's place."""

    def __new__(cls, step: str, failures: Mapping[int, Exception]) -> Self:
        count = len(failures)
        self = super().__new__(cls, f"{count} element{'' if count == 1 else 's'} of {step} failed", list(failures.values()))
        self.step = step
        self.failures = dict(failures)
        return self

    def __init__(self, step: str, failures: Mapping[int, Exception]) -> None:
        self.what = self.message

    def derive(self, excs: Sequence[Any], /) -> ElementsFailed:  # type: ignore[override]  # typeshed's overloads allow other results
        """Part of it is an `ElementsFailed` of the same step."""
        return ElementsFailed(self.step, {place: error for place, error in self.failures.items() if error in excs})


class RunCancelled(AshoreError):
    """A run was cancelled by `run.cancel()`, from whichever process."""

    def __init__(self, what: str, *, run: Any = None, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.run = run


class RunHeld(AshoreError):
    """A run rests until somebody says what came of a step that acts on the world: nobody else can know. Nothing of it executes."""

    def __init__(self, what: str, *, run: Any = None, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.run = run


class RunLeft(AshoreError):
    """A run's runtime was closed by an exception before the run had ended. It is not lost: whoever resumes it goes on with it."""

    def __init__(self, run: str) -> None:
        self.run = run
        mend = "Start it again under its key, or open a Runtime(resume=[its pipeline])"
        super().__init__(f"run {run[:8]} was left unfinished: its runtime was closed", mend=mend)


class KeyConflict(AshoreError):
    """A start key is taken by a run with other arguments. `recorded` and `asked` are both argument sets, as texts by name."""

    def __init__(self, key: str, pipeline: str, recorded: dict[str, str], asked: dict[str, str], *, run: str = "") -> None:
        self.key = key
        self.pipeline = pipeline
        self.recorded = recorded
        self.asked = asked
        self.run = run
        taken = f"run {run[:8]}, " if run else ""
        differing = [name for name in (recorded | asked) if recorded.get(name) != asked.get(name)]
        differ = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''}: " if differing else ""
        both = f"{_call(pipeline, recorded, differing)}; asked for was {_call(pipeline, asked, differing)}"
        what = f"{differ}the key {key!r} is taken by {taken}{both}"
        super().__init__(what, mend="Start it under another key, or with the arguments of that run")


class AnsweredAlready(AshoreError):
    """A question of a run has its answer: the first one holds."""


class HomeError(AshoreError):
    """The home cannot be used as it is: not writable, of a newer format, on a network file system, already served ..."""


class NotFound(AshoreError, LookupError):
    """There is nothing of this name on record, or more than one."""


class TargetError(AshoreError):
    """There is no such file, module, step or pipeline."""


class InternalError(AshoreError):
    """Our bug. Please report it with the message."""


class NotStarted(RuntimeWarning):
    """A call outside a pipeline was dropped without being awaited or started."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ "Did you mean `lr`?", or "" if nothing is near."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"Did you mean `{near[0]}`?" if near else ""


def user_frame() -> FrameType | None:
    """The innermost frame that is not of ashore itself; None if an event loop stands before it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package(frame) == "ashore":
        frame = frame.f_back
    return None if frame is None or _package(frame) in ("asyncio", "anyio", "threading") else frame


def user_line() -> str:
    """ "file:line" of the innermost frame that is not of ashore itself; "" if there is none."""
    frame = user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _again(kind: type[AshoreError], args: tuple[Any, ...], state: dict[str, Any]) -> AshoreError:
    """The error once more, as copies make it: without asking again what it says."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _sentence(what: str, where: str, mend: str) -> str:
    text = f"{where}: {what}" if where else what
    return f"{text}. {mend}" if mend else text


def _call(pipeline: str, arguments: dict[str, str], first: Sequence[str]) -> str:
    """The call, shortened, with these arguments before the others."""
    names = [name for name in (*first, *(name for name in arguments if name not in first)) if name in arguments]
    return f"{pipeline}({', '.join(f'{name}={_shortened(arguments[name])}' for name in names)})"


def _shortened(text: str) -> str:
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}..."
