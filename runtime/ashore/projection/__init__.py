"""The projection: events, in the order of the log, become rows of the index. Pure."""

from __future__ import annotations

from typing import Final

from ashore.projection.fold import Projection as Projection
from ashore.projection.references import Unknown as Unknown

PROJECTION_VERSION: Final = 6
"""Of the rows and the schema together. Raise it when either changes: indexes are then made anew from the log."""
