"""The real ports as one value."""

from __future__ import annotations

import functools

from ashore_stores.ports import Ports
from ashore_stores.system.children import SystemChildren
from ashore_stores.system.clock import SystemClock, SystemRandomness
from ashore_stores.system.disk import SystemDisk
from ashore_stores.system.threads import ThreadWorkers
from ashore_stores.system.watch import SystemWatcher


@functools.cache
def system_ports() -> Ports:
    """The real ports, the same ones for the whole process: one set of threads serves all its stores and runtimes."""
    workers = ThreadWorkers()
    return Ports(SystemClock(), SystemRandomness(), SystemDisk(), workers, SystemWatcher(), SystemChildren(workers))
