"""What random numbers start from, for one piece of work: of `random`, numpy and torch, whenever they are imported."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

_NUMPY_SEEDS: Final = 1 << 32


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed what draws random numbers, also what is imported meanwhile; afterwards it draws by chance again. None: nothing."""
    if seed is None:
        yield
        return
    finder = _Finder(seed)
    random.seed(seed)
    for name in _SEEDS:
        _seed(name, seed)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        random.seed()
        for name in _SEEDS:
            _seed(name, None)


def _seed(name: str, seed: int | None) -> None:
    module = sys.modules.get(name)
    if module is not None:
        _SEEDS[name](module, seed)


def _seed_numpy(module: Any, seed: int | None) -> None:
    module.seed(None if seed is None else seed % _NUMPY_SEEDS)


def _seed_torch(module: Any, seed: int | None) -> None:
    module.seed() if seed is None else module.manual_seed(seed)


_SEEDS: Final[dict[str, Callable[[Any, int | None], None]]] = {"numpy.random": _seed_numpy, "torch": _seed_torch}


class _Finder:
    """Has what is imported from now on seeded as soon as it is there."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _SEEDS:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = _Loader(spec.loader, self._seed)
            spec.loader = loader
        return spec


class _Loader:
    """Loads as another loader does, and seeds then."""

    def __init__(self, loader: Any, seed: int) -> None:
        self._loader = loader
        self._seed = seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _SEEDS[module.__name__](module, self._seed)
