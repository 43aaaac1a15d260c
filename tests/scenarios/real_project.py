"""Projects whose daemon is killed: the flights example itself, and a small pipeline of its shape that costs next to nothing."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import ClassVar

ROOT = Path(__file__).parents[2]

LIGHT = """
from pathlib import Path
from ashore import File, Handle, each, new, pipeline, step

LARGE = 40_000  # bytes: more than what is kept in the log

@step
def read(file: File) -> bytes:
    text = Path(file.path).read_text()
    if not text.isdecimal():
        raise ValueError(f"{file.name} is no number")
    return text.encode().ljust(LARGE, b".")

@step
async def tidy(day: bytes) -> int:
    return int(day.rstrip(b"."))

@step
def split(days: list[int]) -> tuple[list[int], int]:
    return days[:-1] or days, days[-1]

@step
def fit(train: list[int], *, strength: int = 1) -> bytes:
    return str(strength * sum(train)).encode().ljust(LARGE, b"=")

@step
async def score(models: list[bytes], test: int) -> dict[str, int]:
    return {"sum": sum(int(model.rstrip(b"=")) for model in models) + test}

@pipeline(on=new("inbox/*.csv"), limit=1)
def learn(files: list[File]) -> Handle[dict[str, int]]:
    train, test = split(tidy(each(read(each(files, on_error="skip")))))
    return score([fit(train, strength=strength) for strength in (1, 2, 3)], test)
"""


class Project:
    """A folder with a pipeline, an inbox, and a home; and the files that are to arrive in it."""

    preload: ClassVar[tuple[str, ...]] = ()
    """What is imported before daemons are forked."""

    def __init__(self, root: Path, file: str) -> None:
        self.root = root.resolve()
        self.file = file
        self.put_names: list[str] = []
        self._contents: Iterator[tuple[str, str]] = iter(())
        """The files to come: name and content."""
        (self.root / "inbox").mkdir(parents=True)
        (self.root / "pyproject.toml").touch()

    @property
    def home(self) -> str:
        return str(self.root / ".ashore")

    def put_next(self) -> None:
        """Let the next file arrive, whole."""
        name, content = next(self._contents)
        self.put_names.append(name)
        self._put(name, content)

    def put_again(self, name: str) -> None:
        """The same content once more: no new version, but a hint to who watches."""
        self._put(name, (self.root / "inbox" / name).read_text())

    def _put(self, name: str, content: str) -> None:
        (self.root / "aside").write_text(content)
        (self.root / "aside").rename(self.root / "inbox" / name)


class LightProject(Project):
    """Numbers instead of flights; each tenth file is malformed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "light.py")
        (self.root / self.file).write_text(LIGHT)
        self._contents = ((f"{n:04}.csv", "no number" if n % 10 == 5 else str(n)) for n in count())


class FlightsProject(Project):
    """The example, its weather, and the first flights of each day of 2013."""

    ROWS = 60
    preload = (
        *("numpy", "pandas", "pyarrow.ipc", "sklearn.compose", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing"),
        *("skops.io", "ashore.faces.daemon", "ashore.materialize.pandas", "ashore.materialize.sklearn"),
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root, "examples/flights.py")
        (self.root / "examples").mkdir()
        shutil.copy(ROOT / "examples" / "flights.py", self.root / self.file)
        days = module_of(self.root / self.file).days_of_2013()
        self._contents = ((f"{name}.csv", table.head(self.ROWS).to_csv(index=False)) for name, table in days)
        self.put_next()  # writes the weather


def module_of(path: Path) -> ModuleType:
    loader = SourceFileLoader("flights_of_2013", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
