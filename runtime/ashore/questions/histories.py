"""A run's history as one file: what `run.export` writes, and `ashore.testing.replay` reads. Holds no code, and no pickle.

The file is a line that names its kind and version, the SHA-256 of what follows (32 bytes), and a msgpack array: the run's id, its
target, how many events there are, the events (`ashore.events`), and what stands under the keys that it reused:
[key, [[run, [content]]]].
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import msgspec

from ashore.errors import AshoreError
from ashore.events import decode, encode
from ashore.ids import CacheKey, RunId
from ashore.questions.verifying import Recorded
from ashore.questions.why import Made

_KIND: Final = b"ashore history "
_VERSION: Final = 1
_DIGEST: Final = 32


class History(NamedTuple):
    """What is in the file."""

    target: str
    """Where the pipeline's code was, relative to the project's root."""
    recorded: Recorded


class _Body(msgspec.Struct, array_like=True, frozen=True):
    run: str
    target: str
    count: int
    events: bytes
    made: list[tuple[bytes, list[tuple[str, list[bytes]]]]]


def written(history: History) -> bytes:
    """The file's content."""
    recorded = history.recorded
    made = [(bytes(key), [(str(one.run), list(one.content)) for one in those]) for key, those in recorded.made.items()]
    body = msgspec.msgpack.encode(_Body(recorded.run, history.target, len(recorded.events), encode(recorded.events), made))
    return b"%s%d\n%s%s" % (_KIND, _VERSION, hashlib.sha256(body).digest(), body)


def read(content: bytes, name: str) -> History:
    """What the file `name` holds. Raises `AshoreError` if it is no history, a damaged one, or of a newer version."""
    head, _, rest = content.partition(b"\n")
    version = head.removeprefix(_KIND)
    if not head.startswith(_KIND) or not version.isdigit():
        raise AshoreError(f"{name} is no history of a run", mend="Make one by `ashore export RUN PATH`")
    if int(version) > _VERSION:
        what = f"{name} is a history of version {version.decode()}, and this ashore reads up to {_VERSION}"
        raise AshoreError(what, mend="Update ashore")
    digest, body = rest[:_DIGEST], rest[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise AshoreError(f"{name} is damaged: its content is not what was written", mend="Export the run again")
    found = msgspec.msgpack.decode(body, type=_Body)
    try:
        events = decode(found.events, found.count)
    except msgspec.MsgspecError as error:
        raise AshoreError(f"{name} has events of a newer version of ashore ({error})", mend="Update ashore") from error
    made = {CacheKey(key): [Made(RunId(run), tuple(content)) for run, content in those] for key, those in found.made}
    return History(found.target, Recorded(found.run, events, made))
