"""The schema and the named questions, as SQL files."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def schema() -> str:
    """The script that makes an empty index."""
    return _text("schema.sql")


def queries() -> dict[str, str]:
    """The named questions: name -> one statement."""
    _, *blocks = _NAME.split(_text("queries.sql"))
    return dict(zip(blocks[::2], blocks[1::2], strict=True))
