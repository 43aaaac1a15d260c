"""`ashore.open`: what a home has on record, from any process."""

from __future__ import annotations

import os

from ashore.catalogue import Catalogue
from ashore.projection import PROJECTION_VERSION
from ashore.stack import index_of, open_stack


async def open(home: str | os.PathLike[str] | None = None, *, create: bool = False) -> Catalogue:  # noqa: A001  # ashore.open is its name
    """The catalogue of a home: runs, steps, artifacts and lineage, to be read while a daemon runs, or while nothing does.

    `home` as for `Runtime`; `create`: make it if there is none. Raises `HomeError` if there is none or it cannot be used. Use
    it by `async with await ashore.open() as cat`, or close it by `await cat.aclose()`.
    """
    stack = await open_stack(home=home, create=create)
    return Catalogue(stack.log, stack.artifacts, index_of(stack, PROJECTION_VERSION), stack.ports, close=stack.aclose)
