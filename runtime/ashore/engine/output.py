"""What one attempt prints, bounded: the beginning as it comes, the end when it is over, and how much between them was dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, TypeAlias, final

HEAD: Final = 512 * 1024
"""Characters of an attempt that are kept from its beginning."""
TAIL: Final = 512 * 1024
"""And from its end."""
_CHUNK: Final = 32 * 1024
"""Characters that go into one event, about."""
_PIECE: Final = 8 * 1024
"""Characters of one piece: a longer text is cut, so that what is dropped is dropped in parts."""

Piece: TypeAlias = tuple[int, str]
"""Stream and text."""


@final
class Output:
    """Written to from any thread, taken from on the loop. A text is added as a whole; texts keep their order."""

    __slots__ = ("_dropped", "_head", "_left", "_tail", "_tail_size")

    def __init__(self) -> None:
        self._head: deque[Piece] = deque()
        self._left = HEAD
        self._tail: deque[Piece] = deque()
        self._tail_size = 0
        self._dropped = 0

    def add(self, stream: int, text: str) -> None:
        """The step wrote this."""
        for start in range(0, len(text), _PIECE):
            self._add(stream, text[start : start + _PIECE])

    def _add(self, stream: int, text: str) -> None:
        if self._left > 0:
            self._left -= len(text)
            self._head.append((stream, text))
            return
        self._tail.append((stream, text))
        self._tail_size += len(text)
        while self._tail_size > TAIL:
            try:
                _, dropped = self._tail.popleft()
            except IndexError:  # another thread of the step was first
                return
            self._tail_size -= len(dropped)
            self._dropped += len(dropped)

    def take(self, *, is_over: bool) -> Iterator[tuple[list[Piece], int]]:
        """What has gathered, in parts for one event each, with what was dropped before the part."""
        for part in _parts(self._head):
            yield part, 0
        if is_over:
            dropped, self._dropped = self._dropped, 0
            for part in _parts(self._tail):
                yield part, dropped
                dropped = 0


def _parts(pieces: deque[Piece]) -> Iterator[list[Piece]]:
    """All pieces, taken out: those of one stream that follow one another are one."""
    part: list[tuple[int, list[str]]] = []
    size = 0
    for _ in range(len(pieces)):
        stream, text = pieces.popleft()
        size += len(text)
        if part and part[-1][0] == stream:
            part[-1][1].append(text)
        else:
            part.append((stream, [text]))
        if size >= _CHUNK:
            yield _joined(part)
            part, size = [], 0
    if part:
        yield _joined(part)


def _joined(part: list[tuple[int, list[str]]]) -> list[Piece]:
    return [(stream, "".join(texts)) for stream, texts in part]
