"""The switch that kills a process at one of its own calls: the library that counts them, and what is shared with it."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from pathlib import Path
from typing import Final

MODES: Final = ("before", "half", "after")


def compiled(folder: Path) -> Path:
    """The library that counts and kills."""
    source, library = Path(__file__).with_name("real_kills.c"), folder / "real_kills.so"
    strict = ["-O1", "-Wall", "-Wextra", "-Werror"]
    command = ["gcc", *strict, "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library


class Switch:
    """What this process and the one to be killed share: the count of calls, and at which to die."""

    _NUMBERS = struct.Struct("=qqq")
    SIZE: Final = 256

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(self.SIZE))
        self.path = path
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), self.SIZE)

    @property
    def count(self) -> int:
        number: int = struct.unpack_from("=q", self._shared, 0)[0]
        return number

    def arm(self, ahead: int, mode: str) -> None:
        """Die at the call that comes so many after those that were counted so far."""
        struct.pack_into("=q", self._shared, 16, MODES.index(mode))
        struct.pack_into("=q", self._shared, 8, self.count + ahead)

    def reset(self) -> None:
        self._shared[:] = bytes(self.SIZE)

    def disarm(self) -> None:
        struct.pack_into("=q", self._shared, 8, 0)

    @property
    def what(self) -> str:
        """The call that was the last one."""
        return os.fsdecode(self._shared[24:].split(b"\0", 1)[0])


def shimmed(library: Path, home: str, switch: Switch) -> dict[str, str]:
    """The environment of a process that is killed as the switch says."""
    return {"LD_PRELOAD": str(library), "ASHORE_KILL_HOME": home, "ASHORE_KILL_STATE": str(switch.path)}
