"""What a step or a pipeline asks for beside its function: frozen values, checked at decoration."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, TypeVar, Unpack

import msgspec

from ashore.durations import seconds_of
from ashore.errors import GraphError, WrongArgument, did_you_mean, user_line
from ashore.fingerprint import Cache
from ashore.policies import POLICY_OPTIONS, Policy, PolicyOptions, policy_of


class New(msgspec.Struct, frozen=True):
    """The trigger of files that arrive: `new("inbox/*.csv")`, relative to the project's root."""

    pattern: str


def new(pattern: str) -> New:
    """A trigger: each file that arrives at `pattern`, and each new version of one."""
    if not str(pattern).strip():
        raise GraphError(f"new({pattern!r}) names no files", mend='Give it a pattern: new("inbox/*.csv")')
    return New(pattern)


class Options(msgspec.Struct, frozen=True):
    """The options of a step or pipeline, or of one call of it. Those that are not here are not in this version."""

    cache: bool | None = None
    """True: reuse across runs; False: never; None: the rule (reused if at least one input is an artifact)."""
    on: New | None = None
    """The trigger of a pipeline."""
    limit: int | None = None
    """How many runs of a pipeline may be under way at once."""
    key: str = ""
    """A name for one call, so that calls that look equal are told apart."""
    declared: Cache = Cache()
    """What `cache=Cache(...)` says beside the code: more or less that counts."""
    store: bool = True
    """False: what the step makes is handed on in memory, and computed again where it is missing."""
    policy: Policy | None = None
    """What a step asks for around its call: retries, time limits, a share of the machine ...; None if it asks for nothing."""
    process: bool = False
    """Whether a `def` step runs in a process of its own."""
    seed: int | None = None
    """What random numbers start from in a `def` step, which then runs in a process of its own."""

    @property
    def needs_process(self) -> bool:
        """Whether attempts of a `def` step with these options run in a process of their own, wherever it runs."""
        return self.process or self.seed is not None or (self.policy is not None and self.policy.needs_process)

    @property
    def acts(self) -> bool:
        """Whether it acts on the world: its calls count."""
        return self.policy is not None and self.policy.effects


W_co = TypeVar("W_co", covariant=True)


class OptionsOf(Options, Generic[W_co], frozen=True, kw_only=True, eq=False):
    """The options of one step or pipeline: read them, `fit.options.cache`, or call with others, `fit.options(key="a")(...)`."""

    of: W_co

    def __call__(self, *, key: str = "", **asked: Unpack[PolicyOptions]) -> W_co:
        """The same step or pipeline, to be called with these options: `fit.options(key="a", retry=0)(...)`."""
        work: Any = self.of
        options = work.definition.options
        if asked:
            options = work.definition.asking(msgspec.structs.replace(options, policy=_changed(work, options, asked)))
        changed: W_co = work.with_options(msgspec.structs.replace(options, key=key))
        return changed


def _changed(work: Any, options: Options, asked: PolicyOptions) -> Policy | None:
    unknown = [option for option in asked if option not in POLICY_OPTIONS]
    if unknown or work.role == "pipeline":
        name = (unknown or list(asked))[0]
        mend = did_you_mean(name, POLICY_OPTIONS) or f"There are key, {', '.join(POLICY_OPTIONS)}"
        raise WrongArgument(f"{work.name}.options has no option `{name}`", where=user_line(), mend=mend)
    return policy_of(work.name, user_line(), asked, options.policy)


def checked(name: str, where: str, asked: dict[str, Any], *, is_pipeline: bool) -> Options:
    """The options of the step or pipeline `name`; raises `GraphError` for what is wrong."""
    policy = policy_of(name, where, asked)
    cache, on = asked.get("cache"), asked.get("on")
    limit = policy.limit.concurrency if is_pipeline and policy is not None and policy.limit is not None else None
    is_cached, declared = _cache(name, where, cache)
    if on is not None and not isinstance(on, New):
        raise GraphError(f"{name}: on={on!r} is no trigger", where=where, mend='Write on=new("inbox/*.csv")')
    process, seed = _process(name, where, asked.get("process")), _seed(name, where, asked.get("seed"))
    options = Options(cache=is_cached, on=on, limit=limit, declared=declared, policy=policy, process=process, seed=seed)
    return msgspec.structs.replace(options, store=_store(name, where, asked.get("store"), options))


def _store(name: str, where: str, asked: Any, options: Options) -> bool:
    if asked not in (None, True, False):
        raise GraphError(f"{name}: store={asked!r} is neither True nor False", where=where, mend="Write store=False")
    if asked is False and options.acts:
        what = f"{name} acts on the world, and with store=False it would do so again where its value is missing"
        raise GraphError(what, where=where, mend="Take effects= or store= out")
    return asked is not False


def _cache(name: str, where: str, asked: Any) -> tuple[bool | None, Cache]:
    """Whether results are reused, and what the step declares about it."""
    if asked is None or asked is True or asked is False:
        return asked, Cache()
    if isinstance(asked, Cache):
        return True, asked
    if not isinstance(asked, str | int | float | timedelta):
        mend = 'Write cache=True, cache=False, cache="1d" or cache=Cache(...)'
        raise GraphError(f"{name}: cache={asked!r} says nothing about its results", where=where, mend=mend)
    seconds_of(asked, f"{name}: cache=", where=where)
    return True, Cache(ttl=asked)


def _process(name: str, where: str, value: Any) -> bool:
    if value is not None and type(value) is not bool:
        raise GraphError(f"{name}: process={value!r} is neither True nor False", where=where, mend="Write process=True")
    return bool(value)


def _seed(name: str, where: str, value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise GraphError(f"{name}: seed={value!r} is no seed", where=where, mend="Give a whole number, 0 or more: seed=0")
    seed: int | None = value
    return seed
