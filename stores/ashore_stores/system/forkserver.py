"""The process that forks children: started clean, without threads, and with what they need imported already.

It is told what to do over a socket, in frames (a length of four bytes, then msgpack):

    to it      ["start", number, entry, environ, folder, path]  with three descriptors: channel, standard output, standard error
               ["signal", pid, number of the signal]
    from it    ["ready"], ["started", number, pid], ["refused", number, why], ["ended", pid, code]

A child leads a session of its own. When it ends, the rest of its group is killed before its end is told. When the socket is closed,
by the process that started this one or by its death, all children are killed, and this process ends. A child is killed by the
kernel when this process dies, where the kernel can do that (Linux).
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, Final

import msgspec

LENGTH: Final = struct.Struct("<I")
CHANNEL: Final = 3
"""The descriptor of a child's channel."""
DESCRIPTORS: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_READ: Final = 1 << 16
_HIGH: Final = 10
"""A descriptor above all that a child keeps."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.decode


class Frames:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._gathered = bytearray()

    def feed(self, data: bytes) -> None:
        self._gathered += data

    def next(self) -> bytes | None:
        """The next whole message, or None."""
        if len(self._gathered) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(self._gathered)[0]
        if len(self._gathered) < end:
            return None
        message = bytes(memoryview(self._gathered)[LENGTH.size : end])
        del self._gathered[:end]
        return message


def framed(message: bytes) -> bytes:
    return LENGTH.pack(len(message)) + message


def main(descriptor: int, preload: Sequence[str]) -> None:
    """Serve until the socket is closed. In a child, do what the child is for instead."""
    for name in preload:
        importlib.import_module(name)
    server = Server(socket.socket(fileno=descriptor))
    job = server.serve()
    if job is not None:
        job()


class Server:
    """Forks, reaps and signals children."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: set[int] = set()
        self._frames = Frames()
        self._descriptors: list[int] = []
        self._wake, self._woken = os.pipe()
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)

    def serve(self) -> Callable[[], None] | None:
        """Returns what a child has to do, or None when it is over."""
        signal.signal(signal.SIGCHLD, _nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the process that started this one
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # what is here now is shared with the children, as long as nobody touches it
        try:
            self._tell("ready")
            while True:
                ready, _, _ = select.select([self._control.fileno(), self._wake], [], [])
                if self._wake in ready:
                    os.read(self._wake, _READ)
                    self._reap()
                if self._control.fileno() in ready:
                    if not self._receive():
                        return None
                    job = self._obey()
                    if job is not None:
                        return job
        except (BrokenPipeError, ConnectionResetError):
            return None
        finally:
            self._kill_all()

    def _receive(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, _READ, DESCRIPTORS)
        self._descriptors += descriptors
        self._frames.feed(data)
        return bool(data)

    def _obey(self) -> Callable[[], None] | None:
        while (message := self._frames.next()) is not None:
            kind, *rest = _unpack(message)
            if kind == "signal":
                self._signal(*rest)
            elif (job := self._start(*rest)) is not None:
                return job
        return None

    def _start(self, number: int, entry: str, environ: dict[str, str], folder: str, path: list[str]) -> Callable[[], None] | None:
        descriptors, self._descriptors = self._descriptors[:DESCRIPTORS], self._descriptors[DESCRIPTORS:]
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell("refused", number, str(error))
            pid = -1
        if pid == 0:
            self._become_child(descriptors, parent)
            return lambda: _live(entry, environ, folder, path)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._children.add(pid)
            self._tell("started", number, pid)
        return None

    def _become_child(self, descriptors: Sequence[int], parent: int) -> None:
        os.setsid()
        _die_with(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._children.clear()
        for descriptor in (self._wake, self._woken):
            os.close(descriptor)
        self._control.close()
        _place(descriptors)

    def _signal(self, pid: int, number: int) -> None:
        if pid in self._children:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._children.discard(pid)
                _kill_group(pid)
                self._tell("ended", pid, os.waitstatus_to_exitcode(status))

    def _kill_all(self) -> None:
        for pid in self._children:
            _kill_group(pid)

    def _tell(self, *message: Any) -> None:
        self._control.sendall(framed(_pack(message)))


def _place(descriptors: Sequence[int]) -> None:
    """Put the channel, standard output and error where they belong, and nothing into standard input."""
    given = [*descriptors, os.open(os.devnull, os.O_RDONLY)]
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in given]  # out of the way of where they go
    for descriptor in given:
        os.close(descriptor)
    for descriptor, place in zip(high, (CHANNEL, 1, 2, 0), strict=True):
        os.dup2(descriptor, place, inheritable=place < CHANNEL)
        os.close(descriptor)


def _live(entry: str, environ: dict[str, str], folder: str, path: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:] = path
    with suppress(OSError):  # it was removed meanwhile; whoever needs it will say so
        os.chdir(folder)
    sys.stdout, sys.stderr = _text(1), _text(2)
    faulthandler.enable()  # a crash says where, on standard error
    module, _, name = entry.partition(":")
    getattr(importlib.import_module(module), name)(CHANNEL)


def _text(descriptor: int) -> TextIOWrapper:
    """A line is on its way as soon as it is written; the streams of before may have been files."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _nothing(number: int, frame: object) -> None:
    """The signal wakes the loop; that is all."""
