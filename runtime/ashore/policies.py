"""What a step may ask for around its call: retries, time limits, a share of the machine, care with what acts on the world."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, TypedDict

from ashore.durations import Duration, seconds_of
from ashore.errors import GraphError, NotOnThisMachine, did_you_mean

On: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[Exception], object]
OnLost: TypeAlias = Literal["hold", "retry"]

_MOST: Final = 1_000_000
_SIZES: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", re.IGNORECASE)
_RATE: Final = re.compile(r"(\d+)\s*/\s*(\d*(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass(frozen=True)
class Retry:
    """Try again after a failure, at most `times` times: `times=3` makes four attempts.

    The n-th wait is `wait * factor ** (n - 1)`, at most `cap`; with `jitter` it is shortened at random, by up to half. `on` says
    which failures are worth it: exception classes, or a function of the exception.
    """

    times: int = 3
    wait: Duration = "1s"
    factor: float = 2.0
    jitter: bool = True
    cap: Duration = "5m"
    on: On = Exception

    def __post_init__(self) -> None:
        if not _is_whole(self.times) or not 0 <= self.times <= _MOST:
            raise GraphError(f"Retry(times={self.times!r}) is no number of retries", mend="Write Retry(3)")
        seconds_of(self.wait, "Retry: wait=")
        seconds_of(self.cap, "Retry: cap=")
        if not _is_number(self.factor) or not 1 <= self.factor <= _MOST:
            raise GraphError(f"Retry(factor={self.factor!r}) makes the waits shorter", mend="A factor is 1 or more")
        classes = self.on if isinstance(self.on, tuple) else (self.on,)
        if not (classes and all(_is_exception(one) for one in classes)) and (
            isinstance(self.on, tuple | type) or not callable(self.on)
        ):
            mend = "Give exception classes, on=(OSError,), or a function of the exception that says whether to try again"
            raise GraphError(f"Retry(on={self.on!r}) says nothing about exceptions", mend=mend)


@dataclass(frozen=True)
class Limit:
    """How much may be under way at once: `concurrency` attempts, and `rate` starts ("10/s", "100/m").

    It holds over all runs of a runtime, for each step by itself. With `key="{tenant}"` (names of parameters, or a function of the
    arguments) it holds for each value by itself.
    """

    concurrency: int | None = None
    rate: str | None = None
    key: str | Callable[..., object] = ""

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise GraphError("Limit() limits nothing", mend='Write Limit(concurrency=4) or Limit(rate="10/s")')
        if self.concurrency is not None and (not _is_whole(self.concurrency) or self.concurrency < 1):
            raise GraphError(f"Limit(concurrency={self.concurrency!r}) is no number of attempts", mend="Give a whole number: 4")
        _ = self.pace
        if isinstance(self.key, str):
            key_names(self.key)
        elif not _is_function(self.key):
            raise GraphError(f"Limit(key={self.key!r}) is no key", mend='Write names of parameters in braces: "{tenant}"')

    @cached_property
    def pace(self) -> tuple[int, float] | None:
        """At most so many starts in so many seconds; None if any number."""
        if self.rate is None:
            return None
        found = _RATE.fullmatch(str(self.rate).strip())
        if found is None or not int(found[1]):
            raise GraphError(f"rate={self.rate!r} is no rate", mend='Write starts per time: "10/s", "100/m", "5/10s"')
        return int(found[1]), seconds_of(f"{found[2] or '1'}{found[3]}", "rate=")


@dataclass(frozen=True, slots=True)
class Done:
    """What a `check=` function gives for an effect that has happened: the step's result."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a step asks for around its call. There is none for a step that asks for nothing."""

    retry: Retry | None = None
    timeout: float | None = None
    deadline: float | None = None
    limit: Limit | None = None
    priority: int = 0
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    effects: bool = False
    on_lost: OnLost = "hold"
    check: Callable[..., Any] | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether an attempt has to be let in."""
        return self.limit is not None or bool(self.cpus or self.memory or self.gpus)

    @property
    def bounds_time(self) -> bool:
        """Whether an attempt may have to be ended from outside."""
        return self.timeout is not None or self.deadline is not None

    @property
    def needs_process(self) -> bool:
        """Whether a `def` step needs a process of its own: there alone it can be ended, limited, and have GPUs of its own."""
        return self.bounds_time or bool(self.memory or self.gpus)


@dataclass(frozen=True)
class Capacity:
    """What the steps of a runtime share of a machine: `Runtime(machine=Capacity(cpus=8, memory="16GB", gpus=1))`."""

    cpus: float
    memory: int | str
    gpus: int = 0

    def __post_init__(self) -> None:
        size_of(self.memory, "Capacity: memory=")

    @cached_property
    def bytes(self) -> int:
        """Its memory."""
        return size_of(self.memory, "Capacity: memory=")

    def refuse(self, name: str, policy: Policy, where: str = "") -> None:
        """Raise `NotOnThisMachine` if this step can never run here."""
        gigabytes = f"{self.bytes / 10**9:.3g}GB"
        for what, wanted, there in (
            (f"cpus={policy.cpus:g}", policy.cpus - self.cpus, f"{self.cpus:g}"),
            (f"memory={policy.memory / 10**9:.3g}GB", policy.memory - self.bytes, gigabytes),
            (f"gpus={policy.gpus}", policy.gpus - self.gpus, str(self.gpus) if self.gpus else "none"),
        ):
            if wanted > 0:
                mend = "Ask for less, or run it where there is more"
                raise NotOnThisMachine(f"{name} wants {what}, this machine has {there}", where=where, mend=mend)


class PolicyOptions(TypedDict, total=False):
    """The options that make a policy, as they are written."""

    retry: int | Retry | Callable[[Exception], object] | None
    timeout: Duration | None
    deadline: Duration | None
    limit: int | str | Limit | None
    priority: int
    cpus: float
    memory: int | str
    gpus: int
    effects: bool
    on_lost: OnLost
    check: Callable[..., Any] | None


NOTHING: Final = Policy()
POLICY_OPTIONS: Final = tuple(PolicyOptions.__annotations__)


def policy_of(name: str, where: str, asked: Mapping[str, Any], base: Policy | None = None) -> Policy | None:
    """The policy that these options ask for, over those of `base`; None if they ask for nothing. Raises `GraphError`."""
    given = {option: _READ[option](f"{name}: {option}=", where, value) for option, value in asked.items() if option in _READ}
    policy = replace(base or NOTHING, **given)
    if (policy.check is not None or policy.on_lost != "hold") and not policy.effects:
        what = f"{name}: check= and on_lost= are about steps that act on the world"
        raise GraphError(what, where=where, mend="Add effects=True, or take them out")
    if policy.effects and asked.get("cache"):
        what = f"{name}: with cache= a result is reused, with effects=True the step is done each time"
        raise GraphError(what, where=where, mend="Take one of them out")
    return None if policy == NOTHING else policy


def check_key(policy: Policy | None, name: str, where: str, parameters: Collection[str]) -> None:
    """Raise `GraphError` if the key of a limit is made from an argument that the step has not."""
    if policy is None or policy.limit is None or callable(policy.limit.key):
        return
    for field in key_names(policy.limit.key):
        if field not in parameters:
            mend = did_you_mean(field, parameters) or f"There are {', '.join(parameters)}"
            raise GraphError(f"{name}: the limit's key {policy.limit.key!r} names no parameter `{field}`", where=where, mend=mend)


def key_names(key: str) -> list[str]:
    """The parameters that a key such as "{tenant}/{day}" is made from."""
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(key) if field is not None]
    except (ValueError, TypeError) as error:
        raise GraphError(f"Limit(key={key!r}): {error}", mend='Write names of parameters in braces: "{tenant}"') from None
    return [re.split(r"[.\[]", field, maxsplit=1)[0] for field in fields]


def size_of(size: int | str, what: str, where: str | None = None) -> int:
    """Bytes: "512MB", "2GiB", or a number of them. Raises `GraphError`."""
    found = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if found is not None:
        return int(float(found[1]) * _SIZES[found[2].upper()])
    if type(size) is not int or size < 0:
        raise GraphError(f"{what}{size!r} is no size", where=where, mend='Write it with a unit: "512MB", "2GiB"')
    return size


def _is_whole(number: object) -> bool:
    return type(number) is int


def _is_function(function: object) -> bool:
    return callable(function)


def _is_number(number: object) -> bool:
    return type(number) in (int, float)


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _retry(what: str, where: str, value: Any) -> Retry | None:
    if isinstance(value, Retry):
        return value if value.times else None
    if value is None or (type(value) is int and value == 0):
        return None
    if type(value) is int:
        return Retry(value)
    if callable(value) and not isinstance(value, type):
        return Retry(on=value)
    mend = 'Write retry=3, retry=Retry(3, wait="1s", on=(OSError,)), or a function of the exception'
    raise GraphError(f"{what}{value!r} is no number of retries", where=where, mend=mend)


def _limit(what: str, where: str, value: Any) -> Limit | None:
    if value is None or isinstance(value, Limit):
        return value
    if type(value) is int and value > 0:
        return Limit(value)
    if isinstance(value, str) and value.strip().isdigit() and int(value):
        return Limit(int(value))
    if isinstance(value, str) and "/" in value:
        return Limit(rate=value)
    mend = 'Write limit=4, limit="10/s", or limit=Limit(concurrency=4, rate="10/s", key="{tenant}")'
    raise GraphError(f"{what}{value!r} is no limit", where=where, mend=mend)


def _time(what: str, where: str, value: Any) -> float | None:
    if value is None:
        return None
    seconds = seconds_of(value, what, where=where)
    if not seconds:
        raise GraphError(f"{what}{value!r} leaves no time", where=where, mend='Give it some: "30s"')
    return seconds


def _number(kind: tuple[type, ...], least: float | None) -> Callable[[str, str, Any], Any]:
    def read(what: str, where: str, value: Any) -> Any:
        if type(value) not in kind or (least is not None and not value >= least):
            raise GraphError(f"{what}{value!r} is no number of them", where=where, mend=f"Write {what}1")
        return value

    return read


def _flag(what: str, where: str, value: Any) -> bool:
    if value is not None and type(value) is not bool:
        raise GraphError(f"{what}{value!r} is neither True nor False", where=where, mend=f"Write {what}True")
    return bool(value)


def _on_lost(what: str, where: str, value: Any) -> Any:
    if value not in ("hold", "retry"):
        raise GraphError(f'{what}{value!r}: there is "hold" and "retry"', where=where, mend='Write on_lost="hold"')
    return value


def _check(what: str, where: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise GraphError(f"{what}{value!r} is no function", where=where, mend="Give a function that takes the step's arguments")
    return value


_READ: Final[Mapping[str, Callable[[str, str, Any], Any]]] = {
    "retry": _retry,
    "timeout": _time,
    "deadline": _time,
    "limit": _limit,
    "priority": _number((int,), None),
    "cpus": _number((int, float), 0),
    "memory": lambda what, where, value: size_of(value, what, where),
    "gpus": lambda what, where, value: 0 if value is None else _number((int,), 0)(what, where, value),
    "effects": _flag,
    "on_lost": _on_lost,
    "check": _check,
}
