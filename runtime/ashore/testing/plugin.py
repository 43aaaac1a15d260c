"""The pytest plug-in: fixtures for tests of pipelines. Nothing of ashore is imported before a test asks for one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ashore.runtime import Runtime
    from ashore.testing.clock import ManualClock
    from ashore.testing.stacks import MemoryStack


@pytest.fixture
def ashore_clock() -> ManualClock:
    """Time by hand: `await ashore_clock.advance("7d")`. That of `memory_stack`."""
    from ashore.testing.clock import ManualClock  # noqa: PLC0415  # pytest loads this module always, for whatever it runs

    return ManualClock()


@pytest.fixture
def memory_stack(ashore_clock: ManualClock) -> MemoryStack:
    """A stack in memory, new for each test, with `ashore_clock` for its clock."""
    from ashore.testing.stacks import MemoryStack  # noqa: PLC0415

    return MemoryStack(clock=ashore_clock)


@pytest.fixture
def ashore_runtime(memory_stack: MemoryStack) -> Callable[..., Runtime]:
    """`async with ashore_runtime(replace={charge: fake}) as rt:`, a runtime over `memory_stack`; takes what `Runtime` takes."""
    from ashore.runtime import Runtime  # noqa: PLC0415

    return partial(Runtime, memory_stack)
