"""Between a task of the engine and the messages to and from a worker."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from ashore.codec import encode
from ashore.engine.failures import raised_there
from ashore.engine.invoke import Done
from ashore.engine.processes import Task
from ashore.engine.sending import file_of
from ashore.errors import StepError, WorkerLeft, WorkerLost
from ashore.executors import byvalue
from ashore.executors.messages import Attempt, Code, Finished, Function, Surroundings

_GPUS: Final = "CUDA_VISIBLE_DEVICES"
_NAMED: Final = 3
"""Parts of a fingerprint that an error names."""


def messages_of(
    task: Task, around: Surroundings | None, modules: tuple[tuple[str, str], ...] = ()
) -> tuple[Function | None, Attempt]:
    """An attempt, and the step by value if no import finds it. Raises `StepError` if it cannot be sent."""
    work = task.work
    function = None
    code = Code(work.module, file_of(work.module), work.qualname)
    if not byvalue.is_importable(work):
        function = Function(*byvalue.dumped(work))
        code = Code(work.module, work.file, work.qualname, function.digest)
    files = encode(list(task.files)) if task.files else b""
    given = (task.arguments, task.blobs, files, task.secrets, task.memory, task.seed, around, modules)
    return function, Attempt(code, task.code, *given, task.about, task.saved)


def surroundings(gpus: Sequence[int]) -> Surroundings:
    """What this process has around it now, for workers to have it too."""
    environ = dict(os.environ)
    if gpus:
        environ[_GPUS] = ",".join(map(str, gpus))
    return Surroundings(environ, os.getcwd(), list(sys.path))


def taken(finished: Finished) -> Done:
    """What a worker said of an attempt."""
    error = None if finished.failure is None else raised_there(finished.failure)
    return Done(finished.outputs, error, finished.started, finished.ended)


def refused(task: Task, there: Sequence[tuple[str, str]], here: Sequence[tuple[str, str]]) -> StepError:
    """The error of a step that is another one in a worker."""
    differing = sorted({name for name, _ in set(there) ^ set(here)})
    named = ", ".join(differing[:_NAMED]) + (f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else "")
    work = task.work
    return StepError(
        f"{work.name} is not the same in a worker process, which imports {file_of(work.module)} anew: {named} differ"
        f"{'s' if len(differing) == 1 else ''}",
        where=f"{work.file}:{work.line}",
        mend="Its code was changed on disk since it was imported here: restart. Or this program changes it while it runs: pass it "
        "as an argument instead",
    )


def left(task: Task) -> StepError:
    """What an attempt is told whose worker ends since the runtime is left."""
    return WorkerLeft(f"{task.work.name} was left, with the worker that ran it")


def lost(task: Task, code: int, last_words: str, *, is_stopped: bool) -> StepError:
    """The error of an attempt whose worker ended before it did; `code` as processes end by."""
    name = task.work.name
    if is_stopped:
        return WorkerLost(f"{name} was stopped, with the worker that ran it")
    if code >= 0:
        how = f"the worker ended with exit code {code} while it ran {name}"
        mend = "A step must not end its process (os._exit); what it wrote last is in the notes" if last_words else ""
        error = WorkerLost(how, mend=mend or "A step must not end its process (os._exit)")
    else:
        how = f"the worker was killed by signal {-code} ({_signal(-code)}) while it ran {name}"
        mend = "It was not ashore that killed it: the system may have been out of memory" if -code == signal.SIGKILL else ""
        error = WorkerLost(how, mend=mend)
    if last_words:
        error.add_note(f"what it wrote last:\n{last_words}")
    return error


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
