"""What the pump takes from the ready deque: a node, or one element of a fan-out."""

from __future__ import annotations

from typing import TypeAlias

from ashore.engine.fanout import Element
from ashore.engine.state import READY, RUNNING
from ashore.engine.values import blobs_of, item_blobs
from ashore.graph import Node

Unit: TypeAlias = Node | Element


def node_of(unit: Unit) -> Node:
    return unit.node if type(unit) is Element else unit


def take_up(unit: Unit) -> bool:
    """Whether the unit is still to be run: an element of a fan-out that failed is not, nor a node that was skipped."""
    if type(unit) is Element:
        return unit.node.state == RUNNING
    if unit.state != READY:
        return False
    unit.state = RUNNING
    return True


def blobs_needed(unit: Unit) -> list[bytes]:
    """Digests of the blobs that must be loaded before the unit can be called."""
    if type(unit) is not Element:
        return blobs_of(unit.arguments)
    needed = blobs_of([argument for argument in unit.node.arguments if argument.each is None])
    for item in unit.fanout.items[unit.index]:
        needed.extend(item_blobs(item))
    return needed
