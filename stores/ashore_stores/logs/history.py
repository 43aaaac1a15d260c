"""What the key tables of sealed segments say, from derived files: one per segment, rebuilt when absent or wrong.

A key file is named as its segment. Numbers are little-endian:

    ======  ====  ==================================================================================
    offset  size  field
    ======  ====  ==================================================================================
    0       4     magic ``ASHK``
    4       4     version: 1
    8       4     checksum of the segment's last frame: which segment this was made from
    12      4     CRC-32 of all that follows
    16      8     size of the first table
    24      ...   a key table (`keytable.py`): registers from LASTING up as entries, and all marks
    ...     ...   a key table: topics as entries, with the first positions of their frames (8 bytes each)
    ...     ...   the positions of the marks, 8 bytes each
    ======  ====  ==================================================================================
"""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import pairwise
from zlib import crc32

from ashore_stores.errors import Missing, StoreError
from ashore_stores.logs.base import LASTING, MARK_SIZE, Entry
from ashore_stores.logs.framing import EVENTS
from ashore_stores.logs.keytable import decode_keys, encode_keys
from ashore_stores.logs.reading import Chapter, Library, as_frame
from ashore_stores.logs.registers import Keys
from ashore_stores.logs.segments import Place, damage, walk

_START = struct.Struct("<4sIIIQ")
_MAGIC, _VERSION = b"ASHK", 1


def older_keys(library: Library, first_segment: int) -> Keys:
    """What all segments before `first_segment` say. Raises `Corrupt` if one must be read and is damaged."""
    total = Keys()
    chapters = library.chapters(first_segment) if first_segment > 1 else []
    for chapter, after in pairwise(chapters):
        keys = _load(library, after.before)
        if keys is None:
            keys = _scan(library, chapter, after.before)
            with suppress(StoreError):  # a home that cannot be written is read without
                _save(library, after.before, keys)
        _merge(total, keys)
    return total


def _merge(total: Keys, keys: Keys) -> None:
    total.lasting.update(keys.lasting)
    for mark, positions in keys.marks.items():
        total.marks[mark] = (*total.marks.get(mark, ()), *positions)
    for topic, firsts in keys.topics.items():
        total.topics.setdefault(topic, []).extend(firsts)


def _scan(library: Library, chapter: Chapter, end: Place) -> Keys:
    keys = Keys()
    file = library.disk.open(library.layout.segment(chapter.number))
    try:
        place = chapter.base
        for stored in walk(file, place, end.offset):
            place = stored.place
            if stored.header.kind == EVENTS:
                frame = as_frame(stored, file.path)
                keys.lasting.update(((e.space, e.key), e.value) for e in frame.batch.entries if e.space >= LASTING)
                keys.add_marks(frame.first, frame.count, frame.batch.marks)
                keys.add_topics(frame.first, frame.batch.topics)
    finally:
        file.close()
    if (place.offset, place.checksum) != (end.offset, end.checksum):
        raise damage(file.path, place.offset, "not a frame", place.position + 1)
    return keys


def _save(library: Library, end: Place, keys: Keys) -> None:
    path = _path(library, end)
    data = _encode(keys)
    start = _START.pack(_MAGIC, _VERSION, end.checksum, 0, len(data[0]))
    body = start[16:] + b"".join(data)
    library.disk.make_folder(library.layout.keys)
    temporary = f"{path}.new"
    library.disk.remove(temporary)
    file = library.disk.open(temporary, write=True, create=True)
    try:
        file.write(start[:12] + struct.pack("<I", crc32(body)) + body, 0)
        file.flush()  # else a power cut leaves an empty file under its name: mended when read, but told as damage until then
    finally:
        file.close()
    library.disk.rename(temporary, path)


def _encode(keys: Keys) -> tuple[bytes, bytes, bytes]:
    pairs = [(mark, position) for mark, positions in keys.marks.items() for position in positions]
    lasting = [Entry(space, key, value) for (space, key), value in keys.lasting.items()]
    topics = [Entry(0, topic, struct.pack(f"<{len(firsts)}Q", *firsts)) for topic, firsts in keys.topics.items()]
    marks = b"".join(mark for mark, _ in pairs)
    return encode_keys(lasting, marks), encode_keys(topics), struct.pack(f"<{len(pairs)}Q", *(position for _, position in pairs))


def _load(library: Library, end: Place) -> Keys | None:
    """None if the file is absent, damaged, or of another segment."""
    try:
        file = library.disk.open(_path(library, end))
    except Missing:
        return None
    try:
        data = file.read(file.size(), 0)
    finally:
        file.close()
    if len(data) < _START.size:
        return None
    magic, version, checksum, check, size = _START.unpack_from(data)
    if (magic, version, checksum, check) != (_MAGIC, _VERSION, end.checksum, crc32(memoryview(data)[16:])):
        return None
    return _decode(memoryview(data)[_START.size :], size)


def has_damaged_keys(library: Library, end: Place) -> bool:
    """Whether the segment that ends there has a key file that is not its own or not whole."""
    return library.disk.stat(_path(library, end)) is not None and _load(library, end) is None


def _decode(data: memoryview, size: int) -> Keys:
    entries, marks, _ = decode_keys(data[:size])
    number = len(marks) // MARK_SIZE
    rest = len(data) - 8 * number
    topics, _, _ = decode_keys(data[size:rest])
    keys = Keys({(entry.space, entry.key): entry.value for entry in entries})
    positions = struct.unpack(f"<{number}Q", data[rest:])
    for at, position in enumerate(positions):
        keys.add_marks(position, 1, marks[at * MARK_SIZE : (at + 1) * MARK_SIZE])
    for topic in topics:
        keys.topics[topic.key] = list(struct.unpack(f"<{len(topic.value) // 8}Q", topic.value))
    return keys


def _path(library: Library, end: Place) -> str:
    return f"{library.layout.keys}/{end.segment:08}"
