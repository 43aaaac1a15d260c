"""The home's format file: whatever stands in it, the answer is typed."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ashore.errors import HomeError
from ashore.home import open_home
from ashore_stores.errors import NewerFormat
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports

HOME = "/project/.ashore"


@pytest.mark.parametrize("bit", range(0, 600, 7))
def test_a_flipped_bit_of_the_format_file_is_harmless_or_said(bit: int) -> None:
    disk = SimDisk()
    disk.make_folder("/project")

    async def main() -> None:
        ports = sim_ports(0, disk=disk)
        open_home(ports, HOME)
        content = disk.tree()[f"{HOME}/format.json"]
        disk.damage(f"{HOME}/format.json", bit // 8 % len(content), 1 << bit % 8)
        with suppress(HomeError, NewerFormat):
            open_home(ports, HOME)

    simulate(main, 0)
