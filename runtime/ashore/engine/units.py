"""What the pump takes from the ready deque: a node, a fan-out (for its next element), or an element that had to wait."""

from __future__ import annotations

from typing import TypeAlias

from ashore.engine.fanout import Element
from ashore.engine.state import READY, RUNNING
from ashore.engine.values import blobs_of, item_blobs
from ashore.graph import Argument, Node

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
    """Digests of the blobs that must be loaded before the unit can be called, or the fan-out opened."""
    if type(unit) is not Element:
        return blobs_of([argument for argument in unit.arguments if not _is_taken_singly(argument)])
    needed = blobs_of([argument for argument in unit.node.arguments if argument.each is None])
    for item in unit.items:
        needed.extend(item_blobs(item))
    return needed


def _is_taken_singly(argument: Argument) -> bool:
    """Whether it is the elements of this argument that need their blobs, each its own."""
    return argument.each is not None and any(argument.takes_elements_of(source) for source in argument.refs)
