"""pydantic models and instances of attrs classes, of every kind; and classes of both that the tests of the codec use."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Generic, TypeVar

import attrs
import pydantic

T = TypeVar("T")


class Config(pydantic.BaseModel):
    lr: float = 0.1
    name: str = pydantic.Field(default="fit", alias="called")
    layers: list[Any] = []


class Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    tags: frozenset[str]
    inner: Config | None = None


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: int
    _seen: dict[str, int] = pydantic.PrivateAttr(default_factory=dict)
    _unset: int = pydantic.PrivateAttr()

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @cached_property
    def twice(self) -> int:
        return 2 * self.x


class Names(pydantic.RootModel[list[str]]):
    pass


class Box(pydantic.BaseModel, Generic[T]):
    value: T


IntBox = Box[int]


class NamedBox(Box[str]):
    pass


@pydantic.dataclasses.dataclass
class Checked:
    n: int


@attrs.define
class Layer:
    width: int
    kind: str = "dense"
    parts: list[Any] = attrs.Factory(list)
    area: int = attrs.field(init=False, default=0)

    @cached_property
    def doubled(self) -> int:
        return 2 * self.width


@attrs.frozen(cache_hash=True)
class Key:
    name: str
    _hidden: Any = None


@attrs.define(slots=False, unsafe_hash=True, cache_hash=True)
class Loose:
    name: str
    more: Any = attrs.field(default=None, converter=attrs.converters.optional(str))

    @cached_property
    def loud(self) -> str:
        return self.name.upper()


@attrs.define
class Deep(Layer):
    below: Layer | None = None


def _used(value: Any) -> Any:
    """As it is after a while: with what it remembers."""
    for name in ("doubled", "twice", "loud"):
        getattr(value, name, None)
    if type(value).__hash__ is not None and not isinstance(value, pydantic.BaseModel):
        hash(value)
    return value


def samples() -> dict[str, Any]:
    seen = Open.model_validate({"x": 1, "y": [1, {"z": None}]})
    seen._seen["a"] = 1
    return {
        "defaults": Config(),
        "given": Config(lr=0.1, called="other", layers=[1, "a", (2, 3)]),
        "frozen": Frozen(tags=frozenset({"b", "a", "c"}), inner=Config(lr=1)),
        "extra and private": _used(seen),
        "root": Names(["a", "b"]),
        "generic": IntBox(value=3),
        "generic with a name": NamedBox(value="x"),
        "dataclass": Checked(3),  # type: ignore[call-arg]
        "slotted": _used(Layer(3, parts=[{1, 2}])),
        "frozen attrs": _used(Key("k", 1)),
        "dictionary": _used(Loose("n", 3)),
        "deep": Deep(1, below=Layer(2)),
        "in containers": {"layers": [Layer(1), Layer(2)], "config": (Config(), Key("x"))},
        "as keys": {Key("a"): 1, Key("b", (1,)): 2},
    }
