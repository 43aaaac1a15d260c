"""Ids as people write them: shortened as git's are, and told apart again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ashore.errors import NotFound
from ashore.ids import ID_SIZE

SHORT: Final = 8
"""Digits of an id that are shown."""
RUN_DIGITS: Final = 20
_ID_DIGITS: Final = 2 * ID_SIZE
_HEX: Final = re.compile(r"[0-9a-f]+")
_ARTIFACT: Final = re.compile(r"([0-9a-f]+)(?::(\d+))?(?:@([0-9a-f]+))?")
FILE_PREFIX: Final = "file-"


class ArtifactName(NamedTuple):
    """What a shortened artifact id can stand for."""

    low: bytes
    high: bytes
    output: int
    run_low: str
    run_high: str


def run_range(text: str) -> tuple[str, str]:
    """The first and the last run id that begin with `text`."""
    if not _HEX.fullmatch(text) or len(text) > RUN_DIGITS:
        raise NotFound(f"{text!r} is no run id", mend="A run id, or its beginning, is hex digits: 7f3a; @last is the newest run")
    return text.ljust(RUN_DIGITS, "0"), text.ljust(RUN_DIGITS, "f")


def id_range(digits: str) -> tuple[bytes, bytes]:
    """The first and the last 16-byte id whose hex begins with `digits`."""
    if not _HEX.fullmatch(digits) or len(digits) > _ID_DIGITS:
        raise NotFound(f"{digits!r} is no id", mend="An id, or its beginning, is hex digits")
    return bytes.fromhex(digits.ljust(_ID_DIGITS, "0")), bytes.fromhex(digits.ljust(_ID_DIGITS, "f"))


def artifact_name(text: str) -> ArtifactName:
    """ "3fa9c1d2", "3fa9c1d2:1", "3fa9c1d2:0@7f3a"."""
    match = _ARTIFACT.fullmatch(text)
    if match is None:
        raise NotFound(
            f"{text!r} is no artifact id",
            mend="It is <invocation>:<output>, @<run> where several made it: 3fa9c1d2:0, 3fa9c1d2:0@7f3a; of a file: file-3fa9",
        )
    low, high = id_range(match[1])
    run_low, run_high = run_range(match[3]) if match[3] else ("0" * RUN_DIGITS, "f" * RUN_DIGITS)
    return ArtifactName(low, high, int(match[2] or 0), run_low, run_high)


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
