"""Several outputs by name."""

from __future__ import annotations

import msgspec


class Outputs(msgspec.Struct):
    """The base of a step's named outputs: each field is an artifact of its own, and an attribute of the call's handle.

    class Parts(Outputs):
        train: Table
        test: Table
    """
