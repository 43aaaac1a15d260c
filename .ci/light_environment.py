"""Refuse to call an environment light that has a heavy library in it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

HEAVY = ("numpy", "pandas", "pyarrow", "sklearn", "polars", "pydantic")

if __name__ == "__main__":
    present = [name for name in HEAVY if find_spec(name)]
    print(f"Python {sys.version.split()[0]}, none of {', '.join(HEAVY)}" if not present else f"present: {present}")
    sys.exit(bool(present))
