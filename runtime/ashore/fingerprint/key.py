"""Cache keys: what a result depends on, in 16 bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from ashore.ids import ID_SIZE, CacheKey, CodeId

_RULES = 1
"""Version of what goes into a key, and how: a change makes every earlier result a miss."""

_pack = msgspec.msgpack.Encoder().encode
_hash = hashlib.blake2b


def cache_key(
    code: CodeId,
    inputs: Sequence[tuple[str, bytes]],
    params: Sequence[tuple[str, bytes]],
    formats: Sequence[str] = (),
    extra: Sequence[tuple[str, str]] = (),
) -> CacheKey:
    """The key of an invocation: equal exactly if all of these are equal.

    `inputs` are (argument, identity of its content), `params` (name, encoded value), `formats` the materializers and versions of
    the inputs in their order, `extra` what the step declares beside. Each is in an order that the step's definition gives, not the
    call: sort by name where the step is defined.
    """
    return CacheKey(_hash(_pack((_RULES, code, inputs, params, formats, extra)), digest_size=ID_SIZE).digest())
