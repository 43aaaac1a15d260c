"""Print the one line that stands between the markers `<!-- NAME -->` in the README, so that CI runs what people are told to run."""

from __future__ import annotations

import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def command(text: str, name: str) -> str:
    """The line; a SystemExit saying what is wrong if the markers do not hold exactly one command."""
    marker = f"<!-- {name} -->"
    parts = text.split(marker)
    if len(parts) != 3:
        sys.exit(f"README.md: {marker} must stand before and after the command, found {len(parts) - 1} of it")
    lines = [line.strip() for line in parts[1].splitlines() if line.strip() and not line.strip().startswith("```")]
    if len(lines) != 1:
        sys.exit(f"README.md: one line must stand between the markers {marker}, found {len(lines)}")
    return lines[0].removeprefix("$ ")


if __name__ == "__main__":
    print(command(README.read_text(encoding="utf-8"), sys.argv[1]))
