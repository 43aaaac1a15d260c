"""What bodies do that they should not: hold the loop, leave tasks behind, make calls from elsewhere. They are told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ashore.engine.pump import current_task, is_running
from ashore.errors import GraphError
from ashore.handles import Handle
from ashore.ids import RunId
from ashore.notices import log
from ashore.works import Work

if TYPE_CHECKING:
    from ashore.engine.live.body import Body

BLOCKED = 1.0
"""Seconds that a body may hold the loop before it is named."""


class Watch:
    """The tasks of one run's bodies, as far as they make calls or wait."""

    def __init__(self, run: RunId, loop: Any, monotonic: Callable[[], float]) -> None:
        self._run = run
        self._loop = loop
        self._monotonic = monotonic
        self._tasks: WeakKeyDictionary[Any, Body] = WeakKeyDictionary()
        self._worked = 0.0

    def note(self, body: Body) -> None:
        """The running task makes a call in this body, or waits. Raises `GraphError` if it is none of the run's own loop."""
        if not is_running(self._loop):
            raise GraphError(
                f"a step was called or awaited in {body.work.name} from another thread or event loop than that of its run",
                mend="Make the call in the pipeline's body and pass its handle or its value to the thread",
            )
        task = current_task()
        if task is not None and task is not body.task:
            self._tasks[task] = body

    def too_late(self, body: Body, what: str) -> None:
        """Somebody makes a call though this body has returned."""
        log.warning(
            "step called after its pipeline had returned",
            pipeline=body.work.name,
            call=what,
            task=_named(current_task()),
            run=self._run,
        )

    def left(self) -> bool:
        """Whether tasks of bodies go on though the run is over. They are named, but for those that just wait for a handle."""
        left = [(task, body) for task, body in list(self._tasks.items()) if not task.done()]
        named: dict[str, list[str]] = {}
        for task, body in left:
            if not task.cancelling() and not isinstance(task.get_coro(), Handle):
                named.setdefault(body.work.name, []).append(_named(task))
        for pipeline, tasks in named.items():
            log.warning(
                "tasks left behind: they go on though their pipeline has returned, and can call no steps any more",
                pipeline=pipeline,
                tasks=sorted(tasks),
                run=self._run,
            )
        return bool(left)

    def worked(self, work: Callable[[], bool]) -> bool:
        """Let steps run in the middle of a body: the time that they take is not the body's."""
        began = self._monotonic()
        try:
            return work()
        finally:
            self._worked += self._monotonic() - began

    def driven(self, body: Body, arguments: Any) -> _Driven:
        """Call a body. Awaited, it gives what the body returns; one that holds the loop is named."""
        return _Driven(self, body.work, body.work.fn(**arguments))

    def _drive(self, work: Work[Any, Any], send: Callable[[Any], Any], value: Any) -> Any:
        began, worked = self._monotonic(), self._worked
        try:
            return send(value)
        finally:
            seconds = self._monotonic() - began - (self._worked - worked)
            if seconds >= BLOCKED:
                log.warning(
                    "pipeline blocked the event loop: move the work to a step, or await in it",
                    pipeline=work.name,
                    seconds=round(seconds, 1),
                    where=f"{work.file}:{work.line}",
                    run=self._run,
                )


class _Driven:
    """A body's coroutine, each stretch of it timed."""

    __slots__ = ("_body", "_watch", "_work")

    def __init__(self, watch: Watch, work: Work[Any, Any], body: Coroutine[Any, Any, Any]) -> None:
        self._watch = watch
        self._work = work
        self._body = body

    def __await__(self) -> Generator[Any, Any, Any]:
        drive, work, body = self._watch._drive, self._work, self._body
        send: Callable[[Any], Any] = body.send
        value: Any = None
        try:
            while True:
                yielded = drive(work, send, value)
                try:
                    value, send = (yield yielded), body.send
                except GeneratorExit:
                    body.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # whatever it is, it is the body's
                    value, send = error, body.throw
        except StopIteration as ended:
            return ended.value


def _named(task: Any) -> str:
    if task is None:
        return "no task"
    code = getattr(task.get_coro(), "__qualname__", "")
    return f"{task.get_name()} ({code})" if code else str(task.get_name())
