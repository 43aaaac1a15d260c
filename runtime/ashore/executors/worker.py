"""The program of a worker process: attempts come in, one after the other, and what became of them goes out."""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
import msgspec

from ashore.codec import decode
from ashore.defined import fingerprint_here
from ashore.engine.failures import failure_of
from ashore.engine.invoke import Done
from ashore.engine.looking import Looker
from ashore.engine.processes import Task
from ashore.engine.sending import NotImportedThere
from ashore.errors import StepError
from ashore.events import Output
from ashore.executors import byvalue
from ashore.executors.attempt import Site, is_to_be_stored
from ashore.executors.messages import Attempt, Code, Finished, Function, pack, to_worker
from ashore.ids import CodeId
from ashore.stack import open_artifacts
from ashore.targets import load_as
from ashore.works import Step, Work
from ashore_stores.system import system_ports
from ashore_stores.system.chance import seeded
from ashore_stores.system.child import Channel, Terminated, has_written, heed_termination, limited

ARTIFACTS = "ASHORE_WORKER_ARTIFACTS"
ROOT = "ASHORE_WORKER_ROOT"
"""Variables of a worker's environment that say where it works; they are taken out before any step runs."""


def main(channel: int) -> None:
    """Serve until the channel is closed."""
    heed_termination()
    worker = Worker(Channel(channel), os.environ.pop(ARTIFACTS), os.environ.pop(ROOT))
    worker.serve()


class Worker:
    """One process, one attempt at a time, on its main thread."""

    def __init__(self, channel: Channel, artifacts: str, root: str) -> None:
        self._channel = channel
        self._root = root
        ports = system_ports()
        looker = Looker(ports.disk, os.getcwd())
        self._site = Site(open_artifacts(artifacts, ports), ports, looker, load_as)
        self._functions: dict[bytes, Step[Any, Any]] = {}
        self._checked: set[tuple[Work[Any, Any], bytes]] = set()
        """Steps that have the fingerprint that they have where they are called from."""

    def serve(self) -> None:
        while (message := self._channel.receive()) is not None:
            asked = to_worker.decode(message)
            if isinstance(asked, Function):
                work = byvalue.loaded(asked.data)
                if work is not None:
                    self._functions[asked.digest] = work
            else:
                finished = self._finished(asked)
                self._channel.send(pack(msgspec.structs.replace(finished, has_written=has_written())))

    def _finished(self, asked: Attempt) -> Finished:
        now = self._site.ports.clock.now
        started = now()
        try:
            self._surround(asked)
            for module, file in asked.modules:
                load_as(module, file)
            work = self._found(asked.code)
            parts = () if asked.code.value else self._differing(work, asked.fingerprint)
            if parts:
                return Finished((), None, started, now(), parts)
            done = self._done(asked, work)
        except Terminated:
            raise
        except BaseException as error:  # noqa: BLE001  # importing the step's module failed, or a blob is gone
            return Finished((), failure_of(_as_exception(error)), started, now())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        failure = None if done.error is None else failure_of(_as_exception(done.error))
        outputs: tuple[Output, ...] = done.outputs  # type: ignore[assignment]  # the large ones are stored
        module = done.error.module if isinstance(done.error, NotImportedThere) else ""
        return Finished(outputs, failure, done.started, done.ended, module=module)

    def _surround(self, asked: Attempt) -> None:
        around = asked.surroundings
        if around is not None:
            os.environ.clear()
            os.environ.update(around.environ)
            sys.path[:] = around.path
            if around.folder != os.getcwd():
                os.chdir(around.folder)
                self._site.looker.move(around.folder)

    def _found(self, code: Code) -> Step[Any, Any]:
        if code.value:
            return self._functions[code.value]
        found: Any = load_as(code.module, code.file)
        for part in code.qualname.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, Step):
            raise StepError(
                f"{code.file} has no step {code.qualname} when a worker process imports it",
                mend="It was changed since it was imported, or it defines other steps when it is imported again: restart",
            )
        return found

    def _differing(self, work: Step[Any, Any], fingerprint: bytes) -> tuple[tuple[str, str], ...]:
        """The parts of the step's fingerprint, if it is another one here."""
        if (work, fingerprint) in self._checked:
            return ()
        taken = fingerprint_here(work.definition, self._site.looker, self._root)
        if taken.code != fingerprint:
            return taken.parts
        self._checked.add((work, fingerprint))
        return ()

    def _done(self, asked: Attempt, work: Step[Any, Any]) -> Done:
        files = tuple(decode(asked.files)) if asked.files else ()
        given = (asked.arguments, asked.blobs, files, asked.secrets)
        task = Task(work, CodeId(asked.fingerprint), *given)._replace(
            about=asked.about, saved=asked.saved, report=lambda said: self._channel.send(pack(said))
        )
        blobs = anyio.run(self._site.load, task) if task.blobs else {}
        with limited(asked.memory), seeded(asked.seed):
            done = self._site.call(task, blobs)
        if isinstance(done.error, Terminated):
            raise done.error
        return anyio.run(self._site.store, task, done) if is_to_be_stored(done) else done


def _as_exception(error: BaseException) -> Exception:
    """What a step raised, as something that may be raised again to a waiter."""
    if isinstance(error, Exception):
        return error
    failure = StepError(
        f"the step raised {type(error).__name__}({error})", mend="A step ends by returning, or by raising an Exception"
    )
    failure.__cause__ = error
    failure.__traceback__ = error.__traceback__
    return failure
