"""The catalogue of an open stack."""

from __future__ import annotations

from ashore.catalogue.catalogue import Catalogue
from ashore.projection import PROJECTION_VERSION
from ashore.stack import Stack
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.index.opening import open_index


def of_stack(stack: Stack, *, owned: bool = True) -> Catalogue:
    """The catalogue of a stack that is open; closing it closes the stack, if that is owned."""
    made = stack.index
    index = open_index(stack.ports.disk, stack.ports.random, stack.home.index, PROJECTION_VERSION) if made is None else made()
    catalogue = Catalogue(stack.log, stack.artifacts, index, stack.ports, spare=MemoryIndex, close=stack.aclose if owned else None)
    catalogue._access.home, catalogue._access.root = stack.home.path, stack.home.root
    return catalogue
