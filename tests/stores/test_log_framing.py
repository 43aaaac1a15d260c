"""The format: frames and key tables there and back, and every single damage told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore_stores.logs.base import Batch, Entry
from ashore_stores.logs.framing import (
    EVENTS,
    HEADER_SIZE,
    Footing,
    Header,
    Seal,
    checkpoint,
    draft,
    find_frames,
    footer,
    frame_of,
    is_whole,
    parse_header,
    read_footing,
    read_seal,
)
from ashore_stores.logs.keytable import decode_keys, encode_keys

entries = st.builds(Entry, st.integers(0, 65535), st.binary(max_size=40), st.binary(max_size=200))
batches = st.builds(
    Batch,
    st.binary(max_size=300),
    st.integers(1, 2**32 - 1),
    st.lists(st.binary(min_size=16, max_size=16), max_size=5).map(b"".join),
    st.lists(entries, max_size=5).map(tuple),
    st.lists(st.binary(max_size=40), max_size=5).map(tuple),
)


def frame_bytes(batch: Batch, first: int = 1, link: int = 0) -> bytes:
    frame = draft(batch)
    frame.owner = b"ownerown"
    return frame.header(first, link)[0] + frame.keys + frame.body


def whole(data: bytes) -> Header | None:
    header = parse_header(data)
    return header if header is not None and is_whole(header, data[HEADER_SIZE : header.size]) else None


@given(batches, st.integers(1, 2**63), st.integers(0, 2**32 - 1))
def test_a_frame_there_and_back(batch: Batch, first: int, link: int) -> None:
    data = frame_bytes(batch, first, link)
    header = whole(data)
    assert header is not None
    assert (header.kind, header.first, header.link, header.size) == (EVENTS, first, link, len(data))
    frame = frame_of(header, data[HEADER_SIZE:])
    assert (frame.batch, frame.first, frame.count, frame.owner) == (batch, first, batch.count, b"ownerown")


SMALL = Batch(b"the body", 2, b"m" * 32, (Entry(7, b"key", b"value"),), (b"topic",))


def test_every_flipped_bit_of_a_frame_is_told() -> None:
    data = frame_bytes(SMALL)
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            assert whole(bytes(damaged)) is None, (at, bit)


def test_every_shortened_frame_is_told() -> None:
    data = frame_bytes(SMALL)
    assert all(whole(data[:length]) is None for length in range(len(data)))


def test_two_exchanged_blocks_are_told() -> None:
    data = frame_bytes(Batch(bytes(range(256)) * 2, 1))
    start = HEADER_SIZE
    assert whole(data[:start] + data[start + 256 :] + data[start : start + 256]) == whole(data), "equal blocks"
    assert whole(data[:start] + data[start + 128 : start + 256] + data[start : start + 128] + data[start + 256 :]) is None


def test_frames_are_found_anywhere() -> None:
    data = frame_bytes(SMALL)
    found = list(find_frames(b"rubbish ASHF rubbish" + data + b"ASHF" + data[:-1] + data))
    assert [header.first for header in found] == [1, 1]


@given(st.lists(entries, max_size=6), st.binary(max_size=64), st.lists(st.binary(max_size=30), max_size=4))
def test_a_key_table_there_and_back(table: list[Entry], marks: bytes, topics: list[bytes]) -> None:
    assert decode_keys(encode_keys(table, marks, topics)) == (tuple(table), marks, tuple(topics))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_table_or_a_value_error(data: bytes) -> None:
    try:
        table, marks, topics = decode_keys(data)
    except ValueError:
        return
    assert encode_keys(table, marks, topics) == data or not data


def test_what_does_not_fit_is_a_value_error() -> None:
    for batch in (Batch(b"", 1, entries=(Entry(1, b"k" * 70_000, b""),)), Batch(b"", 1, topics=(b"t" * 70_000,))):
        with pytest.raises(ValueError, match="does not fit"):
            draft(batch)


def test_seals_and_footers_there_and_back() -> None:
    seal, footing = Seal(3, 2, 1 << 40, 1 << 50, 77), Footing(1, 1 << 60, 12)
    assert read_seal(checkpoint(seal, b"").body) == seal
    assert read_footing(footer(footing).body) == footing
    for reading in (read_seal, read_footing):
        with pytest.raises(ValueError, match="not a"):
            reading(b"short")


def test_the_format_has_not_changed() -> None:
    """These bytes are on people's disks."""
    assert frame_bytes(SMALL, 5, 0x01020304).hex() == GOLDEN


GOLDEN = (
    "415348460101000043000000080000000500000000000000020000000403020100000000000000006f776e65726f776e47d6"
    "6384c22775960000000037dea7e82000000001000000010000006d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d6d"
    "6d6d6d6d6d6d6d6d07000300050000006b657976616c75650500746f70696374686520626f6479"
)
