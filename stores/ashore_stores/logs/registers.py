"""What the key tables say, in memory: registers, marks, topics.

The writer's thread adds, any thread asks. Marks and topics are put in order only when somebody asks: a writer pays per frame, not
per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ashore_stores.keys import Position
from ashore_stores.logs.base import LASTING, MARK_SIZE, NO_MARK, Entry


@dataclass(slots=True)
class Keys:
    """What a stretch of the log says: registers from LASTING up, marked positions, the frames of each topic (by first position)."""

    lasting: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    marks: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    topics: dict[bytes, list[int]] = field(default_factory=dict)

    def add_marks(self, first: int, count: int, marks: bytes) -> None:
        """Adding the same marks again changes nothing (two threads may both do it)."""
        last = first + count - 1
        for number in range(len(marks) // MARK_SIZE):
            mark = marks[number * MARK_SIZE : (number + 1) * MARK_SIZE]
            if mark != NO_MARK:
                position = min(first + number, last)
                known = self.marks.get(mark)
                if known is None:
                    self.marks[mark] = (position,)
                elif position not in known:
                    self.marks[mark] = (*known, position)

    def add_topics(self, first: int, topics: Iterable[bytes]) -> None:
        for topic in topics:
            firsts = self.topics.setdefault(topic, [])
            if not firsts or firsts[-1] < first:
                firsts.append(first)


class Registers:
    """Everything that was read or written since the segment that was last at opening, and behind it the older history."""

    def __init__(self, history: Callable[[], Keys]) -> None:
        self._history = history
        self._short: dict[int, dict[bytes, bytes]] = {}  # spaces below LASTING, complete
        self._recent = Keys()
        self._late: list[
            tuple[int, int, bytes, Sequence[bytes]]
        ] = []  # frames whose marks and topics are not in `_recent` yet, from `_done` on
        self._done = 0

    def add(self, first: int, count: int, entries: Iterable[Entry], marks: bytes, topics: Sequence[bytes]) -> None:
        """The key table of the next frame."""
        for entry in entries:
            self.put(entry)
        if marks or topics:
            self._late.append((first, count, marks, topics))

    def put(self, entry: Entry) -> None:
        if entry.space >= LASTING:
            self._recent.lasting[entry.space, entry.key] = entry.value
        elif entry.value:
            self._short.setdefault(entry.space, {})[entry.key] = entry.value
        else:
            self._short.get(entry.space, {}).pop(entry.key, None)

    def get(self, space: int, key: bytes) -> bytes | None:
        if space < LASTING:
            registers = self._short.get(space)
            return None if registers is None else registers.get(key)
        value = self._recent.lasting.get((space, key))
        if value is None:
            value = self._history().lasting.get((space, key))
        return value or None

    def all(self, space: int) -> dict[bytes, bytes]:
        """A copy of a space below LASTING."""
        return dict(self._short.get(space, ()))

    def entries(self) -> list[Entry]:
        """All registers below LASTING, in a settled order: what a checkpoint carries."""
        return [Entry(space, key, value) for space, held in sorted(self._short.items()) for key, value in sorted(held.items())]

    def marked(self, mark: bytes) -> list[Position]:
        self._catch_up()
        older, recent = self._history().marks.get(mark, ()), self._recent.marks.get(mark, ())
        return [Position(position) for position in (*older, *recent)]

    def about(self, topic: bytes) -> list[int]:
        self._catch_up()
        return [*self._history().topics.get(topic, ()), *self._recent.topics.get(topic, ())]

    def _catch_up(self) -> None:
        late = self._late
        while self._done < len(late):
            done = self._done
            for first, count, marks, topics in late[done:]:
                self._recent.add_marks(first, count, marks)
                self._recent.add_topics(first, topics)
                done += 1
            self._done = done
