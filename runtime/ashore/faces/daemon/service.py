"""The daemon itself: follows the log for what arrived, gives every pipeline its share, and tells how the runs go."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from ashore.events import ArrivalRefused, Arrived, RunSpace, text_path
from ashore.faces.daemon.progress import Progress
from ashore.faces.daemon.talk import Talk
from ashore.files import File
from ashore.ids import RunId
from ashore.runs import Run
from ashore.runtime import Runtime
from ashore.triggers.ranges import Arrival, Intake, Share, arrivals_in, decode_cursor, encode_cursor
from ashore.triggers.scan import Pattern, parse_pattern
from ashore.triggers.watch import FolderMade, Hindered, Notice, TriggerWatch
from ashore.works import Pipeline
from ashore_stores.errors import NotDurable, StoreError, Unavailable
from ashore_stores.keys import START, Cursor, Position

PROGRESS_EVERY: Final = 2.0
"""Seconds between two lines about the progress of one run."""

TRY_AGAIN: Final = 5.0
"""Seconds after which a start that the disk refused is tried again."""


class Server:
    """One pipeline: its intake, and the runs of it that are under way, at most `limit` at a time, in order."""

    def __init__(self, pipeline: Pipeline[Any, Any], pattern: Pattern, cursor: bytes | None) -> None:
        _, is_coalescing = pipeline.arrival
        self.pipeline = pipeline
        self.pattern = pattern
        self.limit: int = pipeline.options.limit or 1
        self.cursor = cursor
        """What the pipeline's register holds."""
        self.intake = Intake(pattern.text, decode_cursor(cursor), coalescing=is_coalescing)
        self.running: set[RunId] = set()
        self.news = anyio.Event()
        """Something arrived or a run ended."""

    def __repr__(self) -> str:
        return f"<Server {self.pipeline.name} {self.intake!r}, {len(self.running)} of {self.limit} running>"

    def ring(self) -> None:
        self.news.set()

    async def wait_share(self) -> Share:
        """Wait until another run may start and there is something for it."""
        while True:
            share = self.intake.next() if len(self.running) < self.limit else None
            if share is not None:
                return share
            await self.news.wait()
            self.news = anyio.Event()

    def files(self, share: Share) -> list[File]:
        """The share's files where they lie now, as what they were when they arrived."""
        names = [posixpath.basename(text_path(event.path)) for event in share.files]
        return [
            File(self.pattern.path(name), event.size, event.mtime_ns, event.digest)
            for name, event in zip(names, share.files, strict=True)
        ]


class Daemon:
    """Serves pipelines in an open runtime. `serve` takes in and starts runs; `settle` waits for those under way."""

    def __init__(self, runtime: Runtime, pipelines: Sequence[Pipeline[Any, Any]], group: TaskGroup, talk: Talk) -> None:
        self._runtime = runtime
        self._group = group
        """Where the runs are seen through."""
        self._log = runtime.stack.log
        self._ports = runtime.stack.ports
        self._talk = talk
        self._servers = [self._server(pipeline) for pipeline in pipelines]
        self._under_way: dict[RunId, Run[Any]] = {}
        self._quiet = anyio.Event()
        """A run ended."""
        self.given_up: list[str] = []
        """Pipelines of which no run could be started."""

    def __repr__(self) -> str:
        return f"<Daemon {self._servers!r}>"

    def _server(self, pipeline: Pipeline[Any, Any]) -> Server:
        trigger = pipeline.options.on
        assert trigger is not None
        pattern = parse_pattern(trigger.pattern, self._runtime.stack.home.root)
        return Server(pipeline, pattern, self._log.register(RunSpace.TRIGGERED, pipeline.name.encode()))

    async def serve(self) -> None:
        """Watch, and start runs, until cancelled; returns if no pipeline is left that can be served."""
        patterns = {server.pattern.text: server.pattern for server in self._servers}
        self._talk.serving([server.pipeline.name for server in self._servers], patterns, self._runtime.stack.home)
        after = await self._catch_up()
        self._see_adopted()
        async with anyio.create_task_group() as intake:
            intake.start_soon(self._follow, after)
            for pattern in patterns.values():
                intake.start_soon(TriggerWatch(pattern, self._log, self._ports, self._notice).run)
            async with anyio.create_task_group() as starters:
                for server in self._servers:
                    starters.start_soon(self._start_all, server)
            intake.cancel_scope.cancel()

    def _see_adopted(self) -> None:
        for server in self._servers:
            for run in self._runtime.adopted(server.pipeline):  # they may have ended already
                self._talk.adopted(run.id, run.pipeline)
                self._see(server, run)

    async def settle(self) -> None:
        """Wait until no run is under way."""
        while self._under_way:
            await self._quiet.wait()
            self._quiet = anyio.Event()

    @property
    def left(self) -> list[Run[Any]]:
        """The runs that are under way."""
        return list(self._under_way.values())

    # What the log says.

    async def _catch_up(self) -> Cursor | Position:
        """Fold what has arrived so far, so that the first run gets all of it."""
        after: Cursor | Position = START
        async for frame in self._log.read():
            self._arrived(arrivals_in(frame))
            after = frame.cursor
        return after

    async def _follow(self, after: Cursor | Position) -> None:
        async for frame in self._log.follow(after):
            arrivals = arrivals_in(frame)
            self._tell_arrivals(arrivals)
            self._arrived(arrivals)

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        for server in self._servers if arrivals else ():
            if server.intake.arrived(arrivals):
                server.ring()

    def _tell_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        served = {server.pattern.text for server in self._servers}
        for arrival in arrivals:
            if arrival.event.trigger in served:
                self._talk.arrived(arrival.event)

    def _notice(self, notice: Notice) -> None:
        match notice:
            case Arrived():
                pass  # told when it is read back, whoever recorded it
            case ArrivalRefused():
                self._talk.refused(notice)
            case FolderMade():
                self._talk.folder_made(notice)
            case Hindered():
                self._talk.hindered(notice)

    # Runs.

    async def _start_all(self, server: Server) -> None:
        """Start runs of one pipeline as there is something for them. Returns if one cannot be started: then it is given up."""
        while True:
            share = await server.wait_share()
            try:
                with anyio.CancelScope(shield=True):  # a run that was claimed is one that we know of
                    await self._start(server, share)
            except (Unavailable, NotDurable) as error:
                self._talk.hindered(Hindered(server.pattern.text, f"no run of {server.pipeline.name} can start: {error}"))
                await self._ports.clock.sleep(TRY_AGAIN)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - a pipeline's body may raise anything, and others are served on
                self.given_up.append(server.pipeline.name)
                self._talk.given_up(server.pipeline.name, share, error)
                return

    async def _start(self, server: Server, share: Share) -> None:
        run = await self._runtime.start_triggered(server.pipeline, server.files(share), share.arrivals, server.cursor)
        if run is None:  # somebody else moved the cursor: what it covers is theirs
            await self._log.refresh()
            server.cursor = self._log.register(RunSpace.TRIGGERED, server.pipeline.name.encode())
        else:
            server.cursor = encode_cursor(share.arrivals.upto)
            self._talk.started(run.id, run.pipeline, len(share.files), share.arrivals)
            self._see(server, run)
        server.intake.given(decode_cursor(server.cursor))

    def _see(self, server: Server, run: Run[Any]) -> None:
        server.running.add(run.id)
        self._under_way[run.id] = run
        self._group.start_soon(self._see_through, server, run)

    async def _see_through(self, server: Server, run: Run[Any]) -> None:
        """Tell how a run goes, to its end."""
        begun = self._ports.clock.monotonic()
        progress = Progress()
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_events, run, progress)
            await run.wait()  # raises if this process can no longer tell
        self._talk.ended(run.id, run.pipeline, progress, self._ports.clock.monotonic() - begun)
        del self._under_way[run.id]
        server.running.discard(run.id)
        server.ring()
        self._quiet.set()

    async def _tell_events(self, run: Run[Any], progress: Progress) -> None:
        told = self._ports.clock.monotonic()
        async for happened in run.events():
            progress.receive(happened.event)
            now = self._ports.clock.monotonic()
            if progress.ended is None and now - told >= PROGRESS_EVERY:
                told = now
                self._talk.progress(run.id, run.pipeline, progress)
