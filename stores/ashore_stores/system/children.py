"""This machine's processes: children that a process forks which was started for that (see `forkserver`), spoken to over sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from ashore_stores.errors import Unavailable
from ashore_stores.ports import Ears, Workers
from ashore_stores.system.forkserver import Frames, framed
from ashore_stores.system.process import generation

_READ: Final = 1 << 18
_PATIENCE: Final = 5.0
"""Seconds that the forking process is given to end when it is told to."""
_GONE: Final = -int(signal.SIGKILL)

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.decode


class SystemChildren:
    """Starts nurseries."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    @asynccontextmanager
    async def nursery(self, preload: Sequence[str]) -> AsyncIterator[SystemNursery]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await self._workers.run(_started, theirs.fileno(), tuple(preload))
        except OSError as error:
            ours.close()
            raise Unavailable(f"no process can be started: {error}") from error
        finally:
            theirs.close()
        async with anyio.create_task_group() as group:
            nursery = SystemNursery(ours, group)
            try:
                group.start_soon(nursery.listen)
                yield nursery
            finally:
                nursery.close()
                with anyio.CancelScope(shield=True):
                    await self._workers.run(_reaped, process)
                group.cancel_scope.cancel()


def _started(descriptor: int, preload: tuple[str, ...]) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise FileNotFoundError("sys.executable is empty: this program does not say which Python it is")
    path = [entry or os.getcwd() for entry in sys.path]
    code = f"import sys; sys.path[:] = {path!r}; from ashore_stores.system.forkserver import main; main({descriptor}, {preload!r})"
    # Text hashes alike in all workers: what iterates a set does the same in each. Children get the environment of their start.
    environ = {"PYTHONHASHSEED": "0"} | dict(os.environ)
    command = [sys.executable, *_flags(), "-c", code]
    return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL, env=environ, start_new_session=True)


def _flags() -> list[str]:
    """This interpreter's own options, as far as they change what code does."""
    options = [name if value is True else f"{name}={value}" for name, value in sys._xoptions.items()]
    optimized = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    return [*optimized, *(f"-W{option}" for option in sys.warnoptions), *(f"-X{option}" for option in options)]


def _reaped(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()  # the kernel kills its children with it
        process.wait()


class SystemNursery:
    """A forking process and its children."""

    def __init__(self, control: socket.socket, group: TaskGroup) -> None:
        self._control = control
        self._group = group
        self._frames = Frames()
        self._numbers = count(1)
        self._lock = anyio.Lock()
        self._over = anyio.Event()
        self._asked: dict[int, _Asked] = {}
        self._children: dict[int, SystemChild] = {}
        generation.on_fork(self._forked)

    def __repr__(self) -> str:
        return f"<SystemNursery{' over' if self._over.is_set() else ''}: {len(self._children)} children>"

    async def start(self, entry: str, environ: Mapping[str, str], ears: Ears) -> SystemChild:
        if self._over.is_set():
            raise Unavailable("the process that starts others has ended")
        channel, theirs = socket.socketpair()
        outputs, written = zip(os.pipe(), os.pipe(), strict=True)
        number, asked = next(self._numbers), _Asked()
        self._asked[number] = asked
        try:
            message = ["start", number, entry, dict(environ), os.getcwd(), list(sys.path)]
            await self._tell(message, [theirs.fileno(), *written])
            await asked.answered.wait()
            if not asked.pid:
                raise Unavailable(f"no process can be started: {asked.why}")
        except BaseException:
            channel.close()
            for descriptor in outputs:
                os.close(descriptor)
            if asked.pid:
                self.signal(asked.pid, signal.SIGKILL)
            raise
        finally:
            self._asked.pop(number, None)
            theirs.close()
            for descriptor in written:
                os.close(descriptor)
        return self._born(asked, SystemChild(asked.pid, channel, dict(zip((1, 2), outputs, strict=True)), ears, self))

    def _born(self, asked: _Asked, child: SystemChild) -> SystemChild:
        child.listen()
        if asked.code is None:
            self._children[child.pid] = child
        else:  # it did not live long
            child.finish(asked.code)
        return child

    async def ended(self) -> None:
        await self._over.wait()

    async def listen(self) -> None:
        """Take what the forking process says, until it says no more."""
        try:
            while True:
                await anyio.wait_readable(self._control)
                data = self._control.recv(_READ)
                if not data:
                    break
                self._frames.feed(data)
                while (message := self._frames.next()) is not None:
                    self._heard(*_unpack(message))
        except (OSError, anyio.ClosedResourceError):
            pass
        finally:
            self.close()

    def _heard(self, kind: str, number: int = 0, detail: Any = None) -> None:
        if kind == "ended":
            child = self._children.pop(number, None)
            if child is not None:
                child.finish(detail)
            for waiting in self._asked.values():
                if waiting.pid == number:
                    waiting.code = detail
        elif kind in ("started", "refused"):
            asked = self._asked.get(number)
            if asked is not None:
                asked.pid, asked.why = (detail, "") if kind == "started" else (0, detail)
                asked.answered.set()
            elif kind == "started":  # nobody waits for it any more
                self.signal(detail, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the forking process: it kills its children, and ends."""
        if self._over.is_set():
            return
        self._over.set()
        anyio.notify_closing(self._control)
        self._control.close()
        for asked in self._asked.values():
            asked.why = asked.why or "the process that starts others has ended"
            asked.answered.set()
        for child in list(self._children.values()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # the forking process may be dead itself
            child.finish(_GONE)
        self._children.clear()

    def signal(self, pid: int, number: int) -> None:
        self._group.start_soon(self._signal, pid, number)

    async def _signal(self, pid: int, number: int) -> None:
        with suppress(OSError, anyio.ClosedResourceError):
            await self._tell(["signal", pid, number], [])

    async def _tell(self, message: list[Any], descriptors: list[int]) -> None:
        data = memoryview(framed(_pack(message)))
        async with self._lock:
            while data:
                await anyio.wait_writable(self._control)
                data = data[socket.send_fds(self._control, [data], descriptors) :]
                descriptors = []

    def _forked(self) -> None:
        """In a forked child: it must not keep the children alive by holding their end of the socket."""
        self._control.close()


class _Asked:
    """A child that was asked for."""

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.pid = 0
        self.why = ""
        self.code: int | None = None


class SystemChild:
    """One child. Its descriptors are watched by the loop itself: a task or a registration for each message would cost more."""

    def __init__(self, pid: int, channel: socket.socket, outputs: dict[int, int], ears: Ears, nursery: SystemNursery) -> None:
        self.pid = pid
        self._channel = channel
        self._outputs = outputs
        self._ears = ears
        self._nursery = nursery
        self._loop: Any = current_token().native_token
        self._frames = Frames()
        self._outgoing = bytearray()
        self._silent = anyio.Event()
        self._over = anyio.Event()
        self._code = 0
        self._is_dismissed = False
        channel.setblocking(False)
        for descriptor in outputs.values():
            os.set_blocking(descriptor, False)

    def __repr__(self) -> str:
        return f"<SystemChild {self.pid}{f' ended with {self._code}' if self._over.is_set() else ''}>"

    def listen(self) -> None:
        self._loop.add_reader(self._channel.fileno(), self._take)
        for stream, descriptor in self._outputs.items():
            self._loop.add_reader(descriptor, self._read, stream)

    def send(self, message: bytes) -> None:
        if self._over.is_set():
            return
        data = framed(message)
        if self._outgoing:
            self._outgoing += data
            return
        sent = self._sent(data)
        if sent < len(data):
            self._outgoing += memoryview(data)[sent:]
            self._loop.add_writer(self._channel.fileno(), self._send_rest)

    def _sent(self, data: bytes | bytearray) -> int:
        """How many bytes went out; all of them if nobody takes them any more."""
        try:
            return self._channel.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _send_rest(self) -> None:
        del self._outgoing[: self._sent(self._outgoing)]
        if not self._outgoing:
            self._loop.remove_writer(self._channel.fileno())
            if self._is_dismissed:
                self.dismiss()

    def dismiss(self) -> None:
        self._is_dismissed = True
        if not self._outgoing and not self._over.is_set():
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)

    def _take(self) -> bool:
        """Take what came over the channel; whether more may come."""
        try:
            data = self._channel.recv(_READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            if not self._silent.is_set():
                self._silent.set()
                self._loop.remove_reader(self._channel.fileno())
            return False
        self._frames.feed(data)
        while (message := self._frames.next()) is not None:
            self._ears.deliver(message)
        return True

    def hear(self) -> None:
        for stream in list(self._outputs):
            while self._read(stream):
                pass

    def _read(self, stream: int) -> bool:
        """Take what it wrote; whether more may be there."""
        try:
            data = os.read(self._outputs[stream], _READ)
        except BlockingIOError:
            return False
        if data:
            self._ears.hear(stream, data)
        else:
            self._close_output(stream)
        return bool(data)

    def _close_output(self, stream: int) -> None:
        descriptor = self._outputs.pop(stream)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def signal(self, name: str) -> None:
        if not self._over.is_set():
            self._nursery.signal(self.pid, signal.Signals[name])

    async def silent(self) -> None:
        await self._silent.wait()

    async def ended(self) -> int:
        await self._over.wait()
        return self._code

    def finish(self, code: int) -> None:
        """It has ended: take what it said last, and close what was open for it."""
        self.hear()
        while self._take():
            pass
        self._code = code
        self._silent.set()
        self._over.set()
        for stream in list(self._outputs):
            self._close_output(stream)
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        self._channel.close()
