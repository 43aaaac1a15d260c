"""The lineage events: the vocabulary of the system, one tagged union.

Everything that happens is one of these, in the one log of a home. They are array-like msgpack: a field, once there, keeps its
place for ever; new ones are added at the end with a default. Ids are content or random, never positions: a position is known
only when a frame is written. Times are wall time in seconds, for people; nothing is ordered by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from ashore.ids import CacheKey, CodeId, InvocationId, RunId
from ashore.paths import path_text as path_text
from ashore.paths import text_path as text_path
from ashore.records import Arrivals as Arrivals
from ashore.records import Awaited as Awaited
from ashore.records import Call as Call
from ashore.records import Column as Column
from ashore.records import Failure as Failure
from ashore.records import FileUse as FileUse
from ashore.records import Input as Input
from ashore.records import Metric as Metric
from ashore.records import Output as Output
from ashore.spaces import RunSpace as RunSpace
from ashore_stores.keys import Digest

UNSTORED: Final = "unstored/1"
"""The format of an output that was handed on in memory: its digest names no blob, its content is its recipe."""


class _Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that happened."""


class OwnerSeen(_Event, frozen=True, array_like=True, gc=False, tag=1):
    """A process became an owner: it may run things."""

    owner: bytes
    pid: int
    host: str
    user: str
    command: str
    at: float


class EnvironmentSeen(_Event, frozen=True, array_like=True, gc=False, tag=2):
    """What runs run on: stated once per process, named by its content."""

    environment: bytes
    python: str
    platform: str
    versions: dict[str, str]
    """Installed distributions that the user's code can reach: name -> version."""
    commit: str
    """The git commit of the working tree, "" if there is none; "+" at its end: with changes that were not committed."""


class StepDefined(_Event, frozen=True, array_like=True, gc=False, tag=3):
    """A step's code as it is fingerprinted: stated once per process and fingerprint."""

    code: CodeId
    step: str
    role: str
    file: str
    line: int
    parts: tuple[tuple[str, str], ...]
    """The named parts of the fingerprint: ("code", digest), ("constant RATE", text), ("default lr", text) ..."""
    doc: str = ""
    places: tuple[str, ...] = ()
    """Where each of the parts stands, in their order: "clean.py:10-14"."""
    unfollowed: tuple[tuple[str, str, str], ...] = ()
    """What the fingerprint could not follow: what, where ("file:line"), and what to do about it."""
    ignored: tuple[str, ...] = ()
    """What the step declares not to count: parameters, and parts of its code."""
    sources: Output | None = None
    """The source texts by the names of their parts, as a stored dict; only where it is stated for the first time in a home."""


class RunStarted(_Event, frozen=True, array_like=True, gc=False, tag=4):
    """A run was asked for and has an owner."""

    run: RunId
    pipeline: str
    target: str
    """Where its code is: "flights.py:retrain" or "package.module:retrain"; what a resuming process imports."""
    params: tuple[tuple[str, bytes], ...]
    """Every argument by name, encoded; files among them are FileUse in `files` as well."""
    files: tuple[FileUse, ...]
    owner: bytes
    environment: bytes
    at: float
    key: str = ""
    """The start key, if one was given."""
    arrivals: Arrivals | None = None
    parent: RunId = RunId("")
    """The run this one was started in, or forked from."""
    without_effects: bool = False
    """Whether steps that act on the world (effects=True) are refused: in a fork, unless it was told to run them."""
    refresh: tuple[str, ...] = ()
    """The names of steps that are called again though their results are known; "*": all."""


class Invoked(_Event, frozen=True, array_like=True, gc=False, tag=5):
    """Invocations that the run asks for, before they run: what the graph is."""

    run: RunId
    calls: tuple[Call, ...]
    awaited: tuple[Awaited, ...] = ()
    """Values that bodies were given before they made these calls."""


class StepStarted(_Event, frozen=True, array_like=True, gc=False, tag=6):
    """An attempt began. Only stated for those that take their time (threads, suspended, effects)."""

    run: RunId
    invocation: InvocationId
    at: float
    attempt: int = 1
    element: int = -1
    """Which element, if it is one of a fan-out."""


class StepRan(_Event, frozen=True, array_like=True, gc=False, tag=7):
    """An invocation has its outputs: it ran, or another run's outputs are reused. The one fused event of a step."""

    run: RunId
    invocation: InvocationId
    key: CacheKey
    outputs: tuple[Output, ...]
    ready: float
    """When its last input was there."""
    started: float
    ended: float
    attempt: int = 1
    reused_run: RunId = RunId("")
    """The run that made the outputs, if they are reused."""
    reused_invocation: InvocationId = InvocationId(b"")
    elements: int = -1
    """How many elements, if it is a fan-out."""
    skipped: int = 0
    """How many of them failed and were left out."""
    places: int = -1
    """How many places a fan-out has, if that is more than its elements: some had failed before it and were left out."""
    renews: bool = False
    """It was made though its key had outputs, which were not to be used: this one is served in their place."""
    handed: tuple[Input, ...] = ()
    """Of a sub-run: the outputs that it hands on as its result, `argument` as "result", "result[0]"."""
    given: int = 0
    """Of a sub-run whose body made its result by itself: how many values it had been given by then."""
    body: str = ""
    """Of a sub-run: the scope of its body."""


class StepFailed(_Event, frozen=True, array_like=True, gc=False, tag=8):
    """An attempt failed, and no other follows."""

    run: RunId
    invocation: InvocationId
    failure: Failure
    ready: float
    started: float
    ended: float
    attempt: int = 1
    places: int = -1  # of a fan-out that collected its failures, and went over all of its elements


class StepSkipped(_Event, frozen=True, array_like=True, gc=False, tag=9):
    """An invocation has no outcome, because of others that failed or because the run was cancelled."""

    run: RunId
    invocation: InvocationId
    because: tuple[InvocationId, ...] = ()
    was_running: bool = False
    """It was under way when the run was cancelled; otherwise it never began."""
    places: int = -1  # as in `StepFailed`, if what it went over collected its failures


class ElementsRan(_Event, frozen=True, array_like=True, gc=False, tag=10):
    """Outcomes of some elements of a fan-out: a sparse set of columns."""

    run: RunId
    invocation: InvocationId
    indices: tuple[int, ...]
    """Which elements have the outcomes in `columns`."""
    keys: bytes
    """16 bytes each; empty if not cached."""
    columns: tuple[Column, ...]
    """One per output."""
    failed: tuple[tuple[int, Failure], ...] = ()
    """Elements that failed."""
    reused: tuple[tuple[int, RunId], ...] = ()
    """Which of `indices` are reused, and from which run."""
    files: tuple[FileUse, ...] = ()
    """Files among the elements, `argument` as "file[12]"."""
    inputs: tuple[Input, ...] = ()
    """Elements that are single outputs of other invocations, `argument` as "table[12]"."""
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """In a product: for each argument, which of its elements each of `indices` has; otherwise that is the index itself."""
    ended: float = 0.0
    """When this was stated: no element of it was made later."""
    renewing: tuple[int, ...] = ()
    """Which of `indices` renew their keys, as `StepRan.renews` says."""


class ElementsTaken(_Event, frozen=True, array_like=True, gc=False, tag=25):
    """What an async iterator gave from place `start` on, encoded, before any outcome of it; at its end, that it has ended."""

    run: RunId
    invocation: InvocationId
    argument: str
    start: int
    elements: tuple[bytes, ...]
    is_end: bool = False


class RunEnded(_Event, frozen=True, array_like=True, gc=False, tag=11):
    """A run is over."""

    run: RunId
    state: str
    """"done", "failed" or "cancelled"."""
    at: float
    result: bytes = b""
    """The result's shape with its outputs, encoded (`ashore.graph`)."""
    failed: tuple[InvocationId, ...] = ()
    """Whose failures failed the run."""
    failure: Failure | None = None
    """What failed the run itself, if it was no step."""
    orphans: tuple[InvocationId, ...] = ()
    """Recorded invocations that the code, which has changed meanwhile, asks for no more."""


class Adopted(_Event, frozen=True, array_like=True, gc=False, tag=12):
    """A living owner took over a dead one's run."""

    run: RunId
    owner: bytes
    former: bytes
    at: float


class Redone(_Event, frozen=True, array_like=True, gc=False, tag=22):
    """A run that had ended goes on, in the hands of this owner: some outcomes do not count any more, nor does its end."""

    run: RunId
    owner: bytes
    invocations: tuple[InvocationId, ...]
    """Whose outcomes do not count."""
    at: float
    elements: tuple[tuple[InvocationId, int, int, int], ...] = ()
    """Of fan-outs among them: how many elements that were done, reused and failed do not count. Where none that was done or reused
    is named, these stay."""
    refreshed: tuple[str, ...] = ()
    """Steps that are called again though results of equal calls are known."""


class CancelAsked(_Event, frozen=True, array_like=True, gc=False, tag=13):
    """Somebody asked for a run to be cancelled; its owner sees to it."""

    run: RunId
    at: float


class Arrived(_Event, frozen=True, array_like=True, gc=False, tag=14):
    """A new version of a file is complete: "an artifact is ready", from outside."""

    trigger: str
    path: str
    version: int
    """1 for the first time that this path arrived at the trigger."""
    size: int
    mtime_ns: int
    digest: bytes
    at: float


class ArrivalRefused(_Event, frozen=True, array_like=True, gc=False, tag=15):
    """Something appeared that cannot be taken (a pipe, a folder, a broken link, ...)."""

    trigger: str
    path: str
    reason: str
    at: float


class ServingStarted(_Event, frozen=True, array_like=True, gc=False, tag=16):
    """A daemon serves these pipelines."""

    owner: bytes
    pipelines: tuple[str, ...]
    targets: tuple[str, ...]
    at: float


class AttemptFailed(_Event, frozen=True, array_like=True, gc=False, tag=29):
    """An attempt failed or was lost, and another follows."""

    run: RunId
    invocation: InvocationId
    failure: Failure
    attempt: int
    started: float
    ended: float
    wait: float = 0.0
    """Seconds from `ended` until the next one may begin."""
    element: int = -1
    """Which element, if it is one of a fan-out."""


class Held(_Event, frozen=True, array_like=True, gc=False, tag=30):
    """Nothing of the run executes until somebody says what came of this attempt: it acts on the world, and nobody knows."""

    run: RunId
    invocation: InvocationId
    reason: str
    mend: str
    at: float
    attempt: int = 0
    element: int = -1
    """Which element, if it is one of a fan-out."""


class EffectAnswered(_Event, frozen=True, array_like=True, gc=False, tag=31):
    """Somebody said what came of an attempt of which nobody knew."""

    run: RunId
    invocation: InvocationId
    is_done: bool
    """It has happened; otherwise it is to be done again."""
    at: float
    value: bytes = b""
    """What the step gives, if it has happened, encoded."""
    element: int = -1


class EffectsAllowed(_Event, frozen=True, array_like=True, gc=False, tag=39):
    """New calls of a step that acts on the world may run, though recorded ones are not asked for any more."""

    run: RunId
    step: str
    at: float


class Released(_Event, frozen=True, array_like=True, gc=False, tag=27):
    """The owner of a run let go of it before it had ended: its runtime was closed. Another one may go on with it."""

    run: RunId
    owner: bytes
    at: float


class Tagged(_Event, frozen=True, array_like=True, gc=False, tag=36):
    """Somebody gave an artifact a name. Of those of one step of a pipeline, the one that was tagged last has it."""

    name: str
    pipeline: str
    step: str
    made_in: RunId
    """The run that it was found in: it made or reused it."""
    invocation: InvocationId
    output: int
    """Which output; -1: all of a step that has several."""
    at: float


class Reported(_Event, frozen=True, array_like=True, gc=False, tag=32):
    """What an attempt said while it ran."""

    run: RunId
    invocation: InvocationId
    attempt: int
    at: float
    metrics: tuple[Metric, ...] = ()
    progress: tuple[float, float | None] | None = None
    """How far it is, of how much."""
    checkpoint: Output | None = None
    """What the next attempt can go on from."""
    element: int = -1


class Printed(_Event, frozen=True, array_like=True, gc=False, tag=33):
    """What an attempt printed and logged, in order."""

    run: RunId
    invocation: InvocationId
    attempt: int
    at: float
    pieces: tuple[tuple[int, str], ...]
    """Each with its stream: 1 stdout, 2 stderr, 3 logging."""
    dropped: int = 0
    """Characters before these that were not kept."""
    element: int = -1


class Answered(_Event, frozen=True, array_like=True, gc=False, tag=38):
    """A question of a run (`approval`) has its answer."""

    run: RunId
    invocation: InvocationId
    yes: bool
    is_late: bool
    """Nobody answered in time."""
    at: float


Event: TypeAlias = (
    OwnerSeen
    | EnvironmentSeen
    | StepDefined
    | RunStarted
    | Invoked
    | StepStarted
    | StepRan
    | StepFailed
    | StepSkipped
    | ElementsRan
    | ElementsTaken
    | RunEnded
    | Adopted
    | Redone
    | CancelAsked
    | Arrived
    | ArrivalRefused
    | ServingStarted
    | AttemptFailed
    | Held
    | EffectAnswered
    | Reported
    | Printed
    | Answered
    | EffectsAllowed
    | Released
    | Tagged
)

HELD: Final = b"held"
"""What stands in the place of an owner while a run is held."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Event])

_FIXARRAY_LIMIT, _ARRAY16_LIMIT = 16, 1 << 16


def encode(events: Sequence[Event]) -> bytes:
    """The events' bodies, one after the other, without a header: bodies of several batches may be joined."""
    body = _encoder.encode(events)
    count = len(events)
    header = 1 if count < _FIXARRAY_LIMIT else 3 if count < _ARRAY16_LIMIT else 5
    return body[header:]


def decode(body: bytes, count: int) -> list[Event]:
    """The `count` events of a body. Raises `msgspec.DecodeError` if it is anything else."""
    return _decoder.decode(b"\xdd" + count.to_bytes(4, "big") + body)


def text_digest(raw: bytes) -> Digest:
    """A 32-byte digest of an event, as the artifact store names it."""
    return Digest(f"sha256-{raw.hex()}")


def raw_digest(digest: Digest) -> bytes:
    """The 32 bytes of a store's digest."""
    return bytes.fromhex(digest.removeprefix("sha256-"))
