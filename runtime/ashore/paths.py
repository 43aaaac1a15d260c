"""Paths as events and the index keep them: texts, whatever bytes are in a file's name. Pure."""

from __future__ import annotations

import re
from typing import Final

_UNWRITABLE: Final = re.compile("[\\udc80-\\udcff]|%(?=25|[89A-F][0-9A-F])")
_ESCAPED: Final = re.compile("%(25|[89A-F][0-9A-F])")


def path_text(path: str) -> str:
    """A path as events keep it: itself, unless it has bytes that are not UTF-8 (surrogates, which no event can hold).

    Such a byte is written %FF, and a % that would read as an escape %25. No two paths give one text; `text_path` is the inverse.
    """
    return _UNWRITABLE.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", path)


def text_path(text: str) -> str:
    """The path that `path_text` wrote."""
    return _ESCAPED.sub(lambda found: "%" if found[1] == "25" else chr(0xDC00 + int(found[1], 16)), text)
