"""The real ports: this machine's clock, randomness, files, threads and watches. Nothing else in the product touches them."""

from ashore_stores.system.children import SystemChildren as SystemChildren
from ashore_stores.system.clock import SystemClock as SystemClock
from ashore_stores.system.clock import SystemRandomness as SystemRandomness
from ashore_stores.system.disk import SystemDisk as SystemDisk
from ashore_stores.system.facts import Room as Room
from ashore_stores.system.facts import WatchLimits as WatchLimits
from ashore_stores.system.facts import permissions_of as permissions_of
from ashore_stores.system.facts import room_at as room_at
from ashore_stores.system.facts import watch_limits as watch_limits
from ashore_stores.system.machine import system_ports as system_ports
from ashore_stores.system.threads import ThreadWorkers as ThreadWorkers
from ashore_stores.system.watch import SystemWatcher as SystemWatcher
