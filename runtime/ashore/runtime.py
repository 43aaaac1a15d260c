"""The runtime: what is embedded in an application, or stands behind the command line and the daemon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from ashore.calls import Bound
from ashore.capturing import capture
from ashore.driving import Drives
from ashore.elsewhere import Elsewhere
from ashore.engine.gate import Gate
from ashore.engine.looking import Looker
from ashore.engine.means import Means
from ashore.engine.reuse import Reuse
from ashore.engine.supplies import Secrets, Supplies
from ashore.engine.threads import Threads
from ashore.environment import capacity_of_machine
from ashore.errors import GraphError, KeyConflict, NotFound, WrongArgument, user_line
from ashore.events import (
    Arrivals,
    EffectAnswered,
    EffectsAllowed,
    RunSpace,
)
from ashore.executors.opening import open_processes
from ashore.files import File
from ashore.handles import Handle
from ashore.holding import Answer, answers_to
from ashore.ids import RunId, hash_id
from ashore.inboxes import Inboxes
from ashore.notices import log
from ashore.policies import Capacity
from ashore.redoing import Redoing
from ashore.replacing import replacements
from ashore.runs import Driven, Run
from ashore.stack import LOCAL, Stack, open_stack
from ashore.starting import Prepared, once_of, prepare, prepared_again, refreshed_by
from ashore.works import Pipeline, Step, Work
from ashore_stores.logs.base import Entry
from ashore_stores.ports import Ports

T = TypeVar("T")

NOTHING: Final[Mapping[Any, Any]] = {}
_UNSAID: Final[Any] = object()

current_runtime: ContextVar[Runtime | None] = ContextVar("ashore_runtime", default=None)


class Runtime:
    """Runs pipelines in the application's own loop. `async with Runtime() as rt:`.

    Leaving the block waits for the runs it drives; leaving it by an exception stops them where they are, and they are
    resumed by whoever adopts them. `resume=[pipeline]`: unfinished runs of dead owners are taken over at the start.

    `resources={"db": open_pool}` fills `db: Resource[Pool] = resource()` of any step: a context manager or a function that
    gives one (async or not), or the value itself. Each is opened once, when the first step that needs it is about to run, and
    closed with the runtime, in reverse order. `secrets` are a mapping, or a function from name to value; else the
    environment. A run whose steps need what is not there is refused when it starts (`NotSupplied`).

    `machine=Capacity(cpus=8, memory="16GB", gpus=1)` is what steps that say `cpus= memory= gpus=` share; else what is there.

    `def` steps run on at most `threads` threads; those that ask for a process of their own (`process=True`, `timeout=`, `memory=`,
    `gpus=`, `seed=`) in at most `processes` warm worker processes, as do all others with `executor="process"`, except those with a
    resource, which is open in this process only.

    `replace={charge: fake}`, for tests: the fake runs in the place of the step, for this runtime.
    """

    def __init__(  # noqa: PLR0913  # the public front: what a runtime is made of, each by its name
        self,
        stack: str | Stack = LOCAL,
        *,
        home: str | os.PathLike[str] | None = None,
        resume: Sequence[Work[Any, Any]] = (),
        resources: Mapping[str, Any] = NOTHING,
        secrets: Secrets | None = None,
        replace: Mapping[Step[Any, Any], Callable[..., Any]] = NOTHING,
        machine: Capacity | None = None,
        executor: Literal["thread", "process"] = "thread",
        threads: int | None = None,
        processes: int | None = None,
        grace: float = 10.0,
        ports: Ports | None = None,
    ) -> None:
        self._asked = stack
        self._home = home
        self._resume = tuple(resume)
        self._resources = resources
        self._secrets = secrets
        self._replaced = replacements(replace)
        self._machine = machine
        self._threads = threads or min(32, (os.cpu_count() or 1) + 4)
        if executor not in ("thread", "process"):
            raise GraphError(f"Runtime(executor={executor!r}): there are the executors 'thread' and 'process'")
        self._all_in_processes = executor == "process"
        self._workers = processes or max(2, os.cpu_count() or 1)
        self._grace = grace
        self._ports = ports

    async def __aenter__(self) -> Self:
        self._is_own_stack = isinstance(self._asked, str)
        if isinstance(self._asked, str):
            self.stack = await open_stack(self._asked, home=self._home, ports=self._ports)
        else:
            self.stack = self._asked
        stack = self.stack
        looker = Looker(stack.ports.disk, os.getcwd())
        supplies = await Supplies(stack.ports.workers, self._resources, self._secrets, self._grace).__aenter__()
        self._processes = open_processes(stack, looker, self._workers, self._grace / 2, all_of_them=self._all_in_processes)
        processes = await self._processes.__aenter__()
        self._group: TaskGroup = await anyio.create_task_group().__aenter__()
        self.means = Means(
            stack.log,
            stack.artifacts,
            stack.ports,
            Reuse(stack.log, stack.artifacts, stack.ports.workers),
            Threads(stack.ports.workers, self._threads),
            processes,
            looker,
            supplies,
            Gate(stack.ports.clock, lambda: self._machine or capacity_of_machine(stack.ports.disk)),
            Inboxes(stack),
            self._grace,
        )
        self.means.gate.open(self._group)
        self.drives = self._drives = Drives(stack, self.means, self._group, self._replaced)
        self.drives.runtime = self
        self._elsewhere = Elsewhere(stack, self._drives, self._group)
        self._group.start_soon(self._elsewhere.listen_later)
        self._token: Token[Runtime | None] = current_runtime.set(self)
        capture.open()
        try:
            if self._resume:
                await self._drives.adopt_dead(self._resume)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        current_runtime.reset(self._token)
        try:
            if kind is None:
                await self._settle_runs()
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)  # the block's own exception is raised as itself, not in a group
        finally:
            capture.close()
            try:
                await self._processes.__aexit__(None, None, None)
                await self._close_supplies(kind is None)
            finally:
                with anyio.CancelScope(shield=True):
                    if self._is_own_stack:
                        await self.stack.aclose()

    async def _close_supplies(self, is_well: bool) -> None:
        """Close the resources; what goes wrong is raised, unless the block was left by an exception of its own."""
        try:
            await self.means.supplies.aclose()
        except Exception as error:
            if is_well:
                raise
            log.warning("resources were not closed well", why=f"{type(error).__name__}: {error}")

    async def _settle_runs(self) -> None:
        """Wait for the runs that this runtime drives, those started meanwhile too."""
        while running := [run._course for run in self.running() if isinstance(run._course, Driven)]:
            await running[0].finished.wait()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """For frameworks that take a lifespan: `FastAPI(lifespan=rt.lifespan)`."""
        async with self:
            yield

    def __repr__(self) -> str:
        where = self.stack.home.path if hasattr(self, "stack") else "not open"
        return f"<Runtime {where}: {len(self.running())} running>"

    async def start(self, call: Handle[T], /, *, key: str | None = None, again: Literal["failed"] | None = None) -> Run[T]:
        """Start a run of a call; returns when its start is durable.

        With a key, over all processes of the home: the one run of that key, running, finished, or resumed if its owner is
        dead. If it failed or was cancelled, `again="failed"` goes on with it: what failed and what was skipped is done again, what
        is done is final. Raises `KeyConflict` if that run has other arguments, `GraphError` for a call that is not right.
        """
        call.claim()
        _check_again(again, key)
        if key is not None:
            run = await self._start_keyed(await prepare(_taken(call), self.means, refreshed_by(call)), key)
            return await self.redo(call.bound.work, run) if again and run.state in ("failed", "cancelled") else run
        run = await self.start_soon(call)
        if isinstance(run._course, Driven) and run.state != "lost":
            await self.stack.log.durable(run._course.ticket)
        return run

    async def start_soon(self, call: Handle[T], /) -> Run[T]:
        """As `start` without a key, but returns at once: whoever awaits the run's end waits for the disk then.

        A call that was awaited or started already gives the run that it has.
        """
        bound, once = _taken(call), once_of(call)
        async with once.lock:
            if once.run is None or once.run.state == "lost":
                once.run = await self._drives.start_now(await prepare(bound, self.means, refreshed_by(call)))
            return once.run

    async def start_triggered(
        self, pipeline: Pipeline[Any, Any], files: Sequence[File], arrivals: Arrivals, expected: bytes | None
    ) -> Run[Any] | None:
        """Start the run that stands for these arrivals; None if they were given to a run by somebody else already."""
        parameter, many = pipeline.arrival
        call: Handle[Any] = pipeline(**{parameter.name: list(files) if many else files[0]})
        prepared = await prepare(_taken(call), self.means)
        upto = arrivals.upto.to_bytes(8, "little")
        entry = Entry(RunSpace.TRIGGERED, pipeline.name.encode(), upto)
        run, _ = await self._drives.start_claimed(prepared, entry, expected, arrivals=arrivals)
        return run

    async def _start_keyed(self, prepared: Prepared, key: str) -> Run[Any]:
        claim_key = hash_id(prepared.work.name.encode(), key.encode())
        taken = self.stack.log.register(RunSpace.STARTS, claim_key)
        if taken is None:
            entry = Entry(RunSpace.STARTS, claim_key, prepared.digest)
            run, taken = await self._drives.start_claimed(prepared, entry, None, key=key)
            if run is not None:
                return run
        assert taken is not None
        await self.stack.log.durable(self.stack.log.statistics().written)
        run_id = RunId(taken[16:].decode())
        if taken[:16] != prepared.digest:
            await self._refuse(prepared, key, run_id)
        return await self._existing(run_id, prepared.work)

    async def _refuse(self, prepared: Prepared, key: str, run_id: RunId) -> None:
        history = await self._drives.history(run_id)
        recorded = {}
        if history.started is not None:
            recorded = prepared_again(prepared.work, history.started).shown()
        raise KeyConflict(key, prepared.work.name, recorded, prepared.shown(), run=run_id)

    async def run(self, id: str) -> Run[Any]:
        """The run with this id, whichever process drives it. Raises `NotFound` if there is none."""
        if RunId(id) not in self._drives.runs:
            await self.stack.log.refresh()
        return await self._existing(RunId(id), None)

    async def resume(
        self,
        pipeline: Work[Any, Handle[T]],
        run: Run[T] | str,
        *,
        done: Any = _UNSAID,
        again: bool = False,
        step: str | None = None,
        allow: Sequence[str] = (),
    ) -> Run[T]:
        """Go on with a run of `pipeline` that nobody drives, or that is held (`RunHeld`).

        `done=value` says that what nobody knew of has happened, and gave this value; `again=True` that it has not, and is to be
        done; `step` names which of several. With neither, a held run asks its `check=` functions again. The answer and who goes
        on are one claim: of two who answer, one does. Raises `NotFound` if nothing waits for that answer.

        `allow` names steps that act on the world and may be called anew, though a changed body does not ask for the calls of them
        any more that are on record. A run that failed or was cancelled goes on as by `redo`.
        """
        if again and done is not _UNSAID:
            raise GraphError("done= and again= contradict each other", mend="Give one of them")
        run_id = RunId(run if isinstance(run, str) else run.id)
        await self.stack.log.refresh()
        history = await self._drives.history(run_id)
        if history.started is None:
            raise NotFound(f"no run {run_id!r} is on record", mend="A whole id is needed here; `ashore runs --json` lists them")
        now = self.stack.ports.clock.now()
        answers: list[EffectAnswered | EffectsAllowed] = [EffectsAllowed(run_id, name, now) for name in allow]
        if again or done is not _UNSAID:
            answer = Answer(not again, None if again else done, step)
            answers += answers_to(run_id, history.events, history.held, answer, now)
        if history.ending is not None and history.ending.state != "done":
            return await self.redo(pipeline, run_id)
        if history.ending is None:
            adopted = await self._drives.adopt_if_dead(run_id, pipeline, history, answers)
            if adopted is not None:
                return adopted
            if answers:
                raise NotFound(f"run {run_id[:8]} goes on already: somebody was first", mend="`ashore show` tells how far it is")
        return await self._existing(run_id, pipeline)

    async def redo(self, pipeline: Work[Any, Handle[T]], run: Run[T] | str, steps: Sequence[Step[Any, Any] | str] = ()) -> Run[T]:
        """Go on with a run of `pipeline` that has ended: what failed and what was skipped is done again, what is done is final.

        `steps` are done again whatever came of them, and what was made from them as far as that changes. Raises `GraphError` if it
        has not ended, or if a step would act on the world again that is not named; `NotFound` for a step that it has not.
        """
        run_id = RunId(run if isinstance(run, str) else run.id)
        await self.stack.log.refresh()
        history = await self._drives.history(run_id)
        if history.ending is None:
            what = f"run {run_id[:8]} has not ended: there is nothing to be done again yet"
            raise GraphError(what, mend="Resume it without redo=, or cancel it first")
        names = [step if isinstance(step, str) else step.name for step in steps]
        redoing, owner = Redoing(run_id, history.events), await self.stack.log.own()
        now = self.stack.ports.clock.now()
        redone = redoing.steps(names, owner, now) if names else redoing.failed(owner, now)
        found = await self._drives.redo(run_id, pipeline, history, redone)
        return found or await self._existing(run_id, pipeline)

    def running(self) -> list[Run[Any]]:
        """The runs that this runtime drives now."""
        return self._drives.running()

    def adopted(self, pipeline: Work[Any, Any]) -> list[Run[Any]]:
        """The runs of a pipeline that were taken over by `resume=`, whatever became of them since."""
        return [run for run in self._drives.adopted if run.pipeline == pipeline.name]

    def open_runs(self, pipeline: Work[Any, Any]) -> list[Run[Any]]:
        """The runs of a pipeline that this runtime drives now, adopted ones among them."""
        return [run for run in self.running() if run.pipeline == pipeline.name]

    async def _existing(self, run_id: RunId, work: Work[Any, Any] | None) -> Run[Any]:
        known = self._drives.runs.get(run_id)
        if known is not None and known.state != "held":  # by now, somebody elsewhere may have answered
            return known
        history = await self._drives.history(run_id)
        if history.started is None:
            raise NotFound(f"no run {run_id!r} is on record", mend="A whole id is needed here; `ashore runs --json` lists them")
        if history.ending is None and work is not None:
            adopted = await self._drives.adopt_if_dead(run_id, work, history)
            if adopted is not None:
                return adopted
        return self._elsewhere.watch(run_id, history, work)


def _check_again(again: str | None, key: str | None) -> None:
    if again is not None and (again != "failed" or key is None):
        what = f"start(again={again!r}) " + ("without a key" if key is None else "is not known")
        raise WrongArgument(what, where=user_line(), mend='Write start(call, key=..., again="failed")')


def _taken(call: Handle[Any]) -> Bound:
    """The call that a handle stands for; it counts as started."""
    call.claim()
    if call.output is not None:
        raise GraphError(
            f"{call!r} is one output of a call, and no call of its own",
            mend="Start the call and take the output from its result, or await the output",
        )
    return call.bound
