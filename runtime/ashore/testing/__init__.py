"""For tests of your own pipelines: everything in memory, time by hand, what happened, and whether a crash at any moment does harm.

    from ashore.testing import ManualClock, MemoryStack, Recorder, assert_resumes

A name is imported when it is first asked for: the pytest plug-in stands in this package, too, and pytest loads it always.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ashore.testing.clock import ManualClock as ManualClock
    from ashore.testing.recorder import Recorder as Recorder
    from ashore.testing.replay import replay as replay
    from ashore.testing.resuming import Resumed as Resumed
    from ashore.testing.resuming import assert_resumes as assert_resumes
    from ashore.testing.stacks import MemoryStack as MemoryStack

_PLACES = {
    "ashore.testing.clock": "ManualClock",
    "ashore.testing.recorder": "Recorder",
    "ashore.testing.replay": "replay",
    "ashore.testing.resuming": "Resumed assert_resumes",
    "ashore.testing.stacks": "MemoryStack",
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = sorted(_PLACE_OF)  # checkers read the names above


def __getattr__(name: str) -> Any:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module 'ashore.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(place), name)
    return value


def __dir__() -> list[str]:
    return __all__
