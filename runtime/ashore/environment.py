"""What a run runs on: Python, platform, installed distributions, the git commit. Read once per process, nothing is imported."""

from __future__ import annotations

import os
import platform
import pwd
import sys

from ashore.events import EnvironmentSeen, OwnerSeen
from ashore.ids import hash_id
from ashore.policies import Capacity
from ashore_stores.errors import StoreError
from ashore_stores.ports import Disk

_HEAD_LIMIT = 4096
_MEMORY_LIMIT = "/sys/fs/cgroup/memory.max"
_NVIDIA = "/proc/driver/nvidia/gpus"
_COMMAND_LIMIT = 500
"""Characters of the command line that are kept."""


def look_around(disk: Disk, root: str) -> EnvironmentSeen:
    """The environment of this process. Blocking (a few folders are listed): for a worker thread."""
    versions = _versions(disk)
    commit = _commit(disk, root)
    python = platform.python_version()
    machine = f"{platform.system()}-{platform.machine()}"
    name = hash_id(
        python.encode(), machine.encode(), commit.encode(), *(f"{key}=={value}".encode() for key, value in versions.items())
    )
    return EnvironmentSeen(name, python, machine, versions, commit)


def who_am_i(owner: bytes, pid: int, at: float) -> OwnerSeen:
    """This process, as an owner."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return OwnerSeen(owner, pid, platform.node(), user, " ".join(sys.argv)[:_COMMAND_LIMIT], at)


def capacity_of_machine(disk: Disk) -> Capacity:
    """What this process may use of the machine: the processors that it is bound to, its memory limit, its NVIDIA GPUs."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(disk, _MEMORY_LIMIT)
    if limit.isdigit():
        memory = min(memory, int(limit))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = disk.names(_NVIDIA) if visible is None else [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return Capacity(cpus, memory, len(gpus))


def _versions(disk: Disk) -> dict[str, str]:
    """Name and version of each installed distribution, by the names of the folders that installers leave."""
    found: dict[str, str] = {}
    for folder in sys.path:
        if not folder or not os.path.isabs(folder):
            continue
        for name in disk.names(folder):
            stem, dot, kind = name.rpartition(".")
            if dot and kind == "dist-info":
                distribution, _, version = stem.partition("-")
                found.setdefault(distribution.replace("_", "-").lower(), version)
    return dict(sorted(found.items()))


def _commit(disk: Disk, root: str) -> str:
    """The commit that the working tree is at, as git's own files say; "" outside a repository."""
    git = f"{root}/.git"
    try:
        head = _read(disk, f"{git}/HEAD")
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        commit = _read(disk, f"{git}/{name}")
        return commit or _packed(disk, git, name)
    except StoreError:
        return ""


def _packed(disk: Disk, git: str, name: str) -> str:
    for line in _read(disk, f"{git}/packed-refs", limit=1 << 20).splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""


def _read(disk: Disk, path: str, limit: int = _HEAD_LIMIT) -> str:
    if disk.stat(path) is None:
        return ""
    file = disk.open(path)
    try:
        return file.read(limit, 0).decode("utf-8", "replace").strip()
    finally:
        file.close()
