"""Five small projects, as people write them. `#!` marks the lines that the step `fit` of flow.py reaches; no other may count."""

from __future__ import annotations

from typing import Final

FLIGHTS: Final = {
    "flow.py": '''
"""Delays of flights."""

from __future__ import annotations

import json
from dataclasses import dataclass

from flights import config
from flights.clean import normalize, unused
from flights.models import make


def fit(rows: list[dict[str, float]], lr: float = 0.1) -> object:  #!
    """Fit a model."""
    table = normalize(rows)  #!
    # how many rounds
    rounds: int = config.ROUNDS + 1  #!
    if not table:  #!
        raise ValueError("no rows")  #!
    model = make("linear", lr)  #!
    for _ in range(rounds):  #!
        model.learn(table)  #!
    return model  #!


def report(rows: list[float]) -> str:
    """Nobody calls this."""
    total = sum(rows) + 1
    return json.dumps({"total": total})


@dataclass
class Report:
    title: str = "delays"

    def shown(self) -> str:
        return self.title + "!"
''',
    "flights/__init__.py": 'VERSION = "1.0"\n',
    "flights/config.py": """
ROUNDS = 3  #!
RATE = 0.5  #!
UNREAD = 7
MISSING = ("", "NA")  #!
LABELS = {"a": 1}
""",
    "flights/clean.py": '''
"""Cleaning."""
import re
from flights.config import MISSING, RATE, UNREAD

_SPACES = re.compile("[ ]+")  #!
_DIGITS = re.compile("[0-9]+")

def normalize(rows):  #!
    """Rows without gaps."""
    return [_one(row) for row in rows if row["delay"] not in MISSING]  #!

def _one(row, scale=RATE):  #!
    name = _SPACES.sub(" ", row["name"])  #!
    return {**row, "name": name, "delay": row["delay"] * scale}  #!

def unused(rows):
    return [row for row in rows if row["x"] > 3]

def _digits(text):
    return _DIGITS.sub("0", text) + str(UNREAD)
''',
    "flights/models.py": '''
from abc import ABC, abstractmethod
from flights import config

class Model(ABC):  #!
    """A model."""
    kind = "model"  #!
    def __init__(self, lr):  #!
        self.lr = lr + 0.0  #!
        self.weights = [0.0]  #!
    @abstractmethod
    def learn(self, table):  #!
        """Learn."""
    def scaled(self, x):  #!
        return x * self.lr * config.RATE  #!

class Linear(Model):  #!
    kind = "linear"  #!
    def learn(self, table):  #!
        self.weights.append(self.scaled(len(table) + 1))  #!

class Other(Model):
    kind = "other"
    def learn(self, table):
        return table + [2]

KINDS = {"linear": Linear}  #!
ALL = {"other": Other}

def make(kind, lr):  #!
    return KINDS[kind](lr)  #!

def made(kind, lr=2):
    return ALL[kind](lr)
''',
}

DECORATORS: Final = {
    "flow.py": """
import functools
from wrap import logged, retried, Cached, registry, LEVEL
from wrap import extra as more

@logged("fit")  #!
def fit(x):  #!
    step = _prepared(x) + 1  #!
    tail = [_small(i) for i in registry["small"](x)]  #!
    return step, tail, more.shift(x), Slow().value  #!

@retried(times=2)  #!
def _prepared(x):  #!
    return x * 2  #!

@Cached  #!
def _small(x):  #!
    return x - 3  #!

@retried(times=9)
def _never(x):
    return x * 9

class Slow:  #!
    limit = 10  #!
    @functools.cached_property
    def value(self):  #!
        return self.limit + 1  #!
    @property
    def twice(self):  #!
        return self.limit * 2  #!
""",
    "wrap/__init__.py": """
import functools
from wrap.inner import small, large, logger
LEVEL = 3
PREFIX = "step "  #!

def logged(name):
    label = PREFIX + name  #!
    def decorate(f):
        @functools.wraps(f)
        def wrapper(*args, **kwargs):  #!
            logger(label + "!")  #!
            return f(*args, **kwargs)  #!
        return wrapper  #!
    return decorate  #!

def retried(times=1):
    def decorate(f):
        def again(*args):  #!
            for attempt in range(times + 1):  #!
                try:
                    return f(*args)  #!
                except ValueError:
                    wait(attempt + 1)  #!
        return again  #!
    return decorate  #!

def wait(seconds, unit=1):  #!
    return seconds * unit  #!

class Cached:  #!
    size = 8  #!
    def __init__(self, f):  #!
        self.f = f
    def __call__(self, x):  #!
        return self.f(x) + 0  #!

registry = {"small": small}  #!
others = {"large": large}
""",
    "wrap/inner.py": """
def small(x):  #!
    return [i for i in range(x) if i < 5]  #!

def large(x):
    return [i for i in range(x) if i > 5]

def logger(text):  #!
    return "log " + text  #!
""",
    "wrap/extra.py": """
OFFSET = 4  #!
SPARE = 5
def shift(x):  #!
    return x + OFFSET  #!
def unshift(x):
    return x - SPARE
""",
}

TABLES: Final = {
    "flow.py": """
import tables.schema as schema
from tables import readers, SETTINGS

def fit(path, kind="csv"):  #!
    from tables.late import finish
    reader = readers.FORMATS[kind](SETTINGS.sep)  #!
    rows = [schema.Row(1, name) for name in reader.read(path + "")]  #!
    return finish(rows), schema.Kind.WIDE  #!

def main():
    return fit("a.csv", "tsv")

if __name__ == "__other__":
    main()
""",
    "tables/__init__.py": """
from types import SimpleNamespace
SETTINGS = SimpleNamespace(sep=",", width=3)  #!
OLD = SimpleNamespace(sep=";")
""",
    "tables/schema.py": """
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

class Kind(Enum):  #!
    WIDE = 1  #!
    LONG = 2  #!

class Old(Enum):
    WIDE = 1

@dataclass(order=True)  #!
class Row:  #!
    number: int = 0  #!
    name: str = "none"  #!
    tags: list[str] = field(default_factory=list)  #!
    def key(self):  #!
        return self.number + 1  #!

class Point(NamedTuple):
    x: int = 0
    def far(self):
        return self.x > 3
""",
    "tables/readers.py": """
from functools import partial
from tables.base import Reader, Closing

class Csv(Reader, Closing):  #!
    end = "."  #!
    def read(self, path):  #!
        return super().read(path + self.end)  #!

class Tsv(Reader):
    end = ";"
    def read(self, path):
        return [path + self.end]

def opened(cls, sep, *, strict):  #!
    return cls(sep) if strict else cls(",")  #!

FORMATS = {"csv": partial(opened, Csv, strict=True)}  #!
SPARE = {"tsv": partial(opened, Tsv, strict=False)}
""",
    "tables/base.py": """
class Meta(type):  #!
    def __call__(cls, *args):  #!
        return super().__call__(*args, 1)  #!

class Closing:  #!
    def close(self):  #!
        return "closed"  #!

class Reader(metaclass=Meta):  #!
    def __init__(self, sep, number):  #!
        self.sep = sep + ""  #!
    def read(self, path):  #!
        return path.split(self.sep + "")  #!

class Writer(metaclass=Meta):
    def write(self, path):
        return path + "w"
""",
    "tables/late.py": """
def finish(rows):  #!
    import tables.later
    return tables.later.sort(rows) + [1]  #!
def start(rows):
    return rows + [2]
""",
    "tables/later.py": """
def sort(rows):  #!
    return sorted(rows, key=lambda row: row.number + 1)  #!
def unsorted(rows):
    return rows + [3]
""",
}

NUMBERS: Final = {
    "flow.py": """
from numbers_ import series as s, STEPS
from numbers_.deep.er import digit, word

def outer(n):
    shift = n + 1  #!
    def fit(x, *, base=10):  #!
        total = shift  #!
        while total < x:  #!
            total += s.even(total) + base  #!
            if total > STEPS[0] and (total or x):  #!
                break
        def tail(y):  #!
            return y + shift + 1  #!
        class Box:  #!
            depth = 2  #!
            def put(self, v: int = 3):  #!
                return [v, digit(v)]  #!
        try:
            return tail(total), Box().put()  #!
        except KeyError as error:  #!
            raise RuntimeError("lost") from error  #!
        finally:
            s.CLOSED(1)  #!
    return fit

fit = outer(5)  #!
other = outer(6)

async def later(x):
    return await x + 1
""",
    "numbers_/__init__.py": "STEPS = [3, 4]  #!\nSPARE = [5]\n",
    "numbers_/series.py": """
def even(n):  #!
    return n == 0 or odd(n - 1)  #!
def odd(n):  #!
    return n != 0 and even(n - 1)  #!
def third(n):
    return even(n) + 3
CLOSED = lambda code: code + 1  #!
OPEN = lambda code: code + 2
def stream(n):
    yield n + 1
""",
    "numbers_/deep/__init__.py": "",
    "numbers_/deep/er.py": """
from ..series import third
from .. import series
ALPHABET = frozenset({"a", "b", "c"})  #!
WORDS = frozenset({"x"})
def digit(v):  #!
    match v:
        case int() if v > 9:  #!
            return "many"  #!
        case _:
            return next(_letters(v), "none")  #!
def _letters(v):  #!
    yield from (letter for letter in sorted(ALPHABET) if v != 1)  #!
def word(v):
    return WORDS, third(v)
""",
}

SERVICE: Final = {
    "flow.py": """
import os
from service.client import Client, LIMITS
from service import plugins

client = Client("https://a", retries=2)  #!
idle = Client("https://b", retries=3)
seen = []

async def fit(day, *names, top=3, **more):  #!
    seen.append(day)  #!
    async with client.session() as session:  #!
        found = [await session.get(name + "") for name in names]  #!
    rate = LIMITS["rate"] + 0  #!
    return plugins.apply(found, rate)[:top]  #!

async def drop(day):
    async with idle.session() as session:
        return await session.get(day + "x")
""",
    "service/__init__.py": "",
    "service/client.py": """
from contextlib import asynccontextmanager
from service.errors import Failed

LIMITS = {"rate": 5, "burst": [1, 2]}  #!
SPARE = {"rate": 6}

class Session:  #!
    __slots__ = ("client", "count")  #!
    def __init__(self, client):  #!
        self.client, self.count = client, 0  #!
    async def get(self, name):  #!
        if name == "none":  #!
            raise Failed(f"no {name}")  #!
        return self.client.url + "/" + name  #!

class Client:  #!
    timeout = 30  #!
    def __init__(self, url, retries=1):  #!
        self.url, self.retries = url, retries  #!
    @asynccontextmanager
    async def session(self):  #!
        yield Session(self)  #!
    def __eq__(self, other):  #!
        return self.url == other.url + ""  #!

class Pool:
    size = 4
    def take(self):
        return self.size + 1
""",
    "service/errors.py": """
class Base(Exception):  #!
    code = 500  #!
class Failed(Base):  #!
    code = 404  #!
    def __str__(self):  #!
        return f"{self.code}: {self.args[0]}"  #!
class Refused(Base):
    code = 403
""",
    "service/plugins.py": """
from service import stages
STAGES = [stages.first, stages.Second(2)]  #!
SPARE = [stages.third]
def apply(found, rate):  #!
    for stage in STAGES:  #!
        found = stage(found, rate + 0)  #!
    return found  #!
""",
    "service/stages.py": """
def first(found, rate):  #!
    return found[: rate + 1]  #!
class Second:  #!
    def __init__(self, n):  #!
        self.n = n + 0  #!
    def __call__(self, found, rate):  #!
        return found * self.n + [0]  #!
def third(found, rate):
    return found + [3]
""",
}

SAMPLES: Final = {"flights": FLIGHTS, "decorators": DECORATORS, "tables": TABLES, "numbers": NUMBERS, "service": SERVICE}
