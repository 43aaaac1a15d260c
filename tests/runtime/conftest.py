"""A home of its own for each test, and a runtime in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ashore import Runtime


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".ashore"


@pytest.fixture
async def rt(home: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=home, grace=2.0) as runtime:
        yield runtime
