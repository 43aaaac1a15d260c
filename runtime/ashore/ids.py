"""The ids of the runtime, and how people write them."""

from __future__ import annotations

import hashlib
from typing import Final, NewType

import msgspec

RunId = NewType("RunId", str)
"""20 hex digits, random. Shortened by people as git's are."""

InvocationId = NewType("InvocationId", bytes)
"""16 bytes: the name of one call within a run, by its content (scope, step, identities of its inputs), never by order."""

CodeId = NewType("CodeId", bytes)
"""16 bytes: a step's fingerprint."""

CacheKey = NewType("CacheKey", bytes)
"""16 bytes: code, inputs' content and parameters, hashed; NO_KEY if the step is not cached."""

NO_KEY = CacheKey(b"")

ID_SIZE = 16
_encode: Final = msgspec.msgpack.Encoder().encode
_RUN_BYTES = 10


def hash_id(*parts: bytes) -> bytes:
    """16 bytes of BLAKE2b over the parts as a msgpack array, so that no two lists of parts run together."""
    return hashlib.blake2b(_encode(parts), digest_size=ID_SIZE).digest()


def new_run_id(token: bytes) -> RunId:
    """A run id of random bytes (from the Randomness port)."""
    return RunId(token[:_RUN_BYTES].hex())


RUN_TOKEN_SIZE = _RUN_BYTES
