"""The checker is checked: every planted bug is caught by the simulation within its number of seeds."""

from __future__ import annotations

import pytest

from tests.museum.exhibits import BUGS
from tests.museum.hunt import hunt
from tests.museum.planting import Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_simulation_catches(bug: Bug) -> None:
    caught = hunt(bug)
    assert caught is not None, f"{bug.what}: not noticed in {bug.seeds} seeds"
    assert caught.invariant != "error", f"it only broke the program: {caught.message}"
