"""What one runtime gives to steps beside their arguments: its open resources, and the values of secrets.

A resource is opened when the first step that needs it is about to run, once, and closed with the runtime, last opened first. All
of that is done by one task, which a context manager with a task group or a time limit inside needs: what is entered on a task is
left on it. Secrets are read when a run starts whose steps name them; from then on their values are taken out of every failure
that is recorded, and a step that names one cannot return it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ashore.engine.hiding import Hiding
from ashore.engine.keeping import Keeper
from ashore.errors import NotSupplied
from ashore.supplies import Secret
from ashore.works import Work
from ashore_stores.ports import Workers

Secrets: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""Where secrets come from: by name, or a function that gives the value of a name, or None. It may block."""


class Supplies:
    """Resources by name, opened as they are needed, and secrets by name."""

    def __init__(self, workers: Workers, resources: Mapping[str, Any], secrets: Secrets | None, grace: float) -> None:
        self.hiding = Hiding()
        self._workers = workers
        self._resources = dict(resources)
        self._secrets = secrets
        self._keeper = Keeper(workers, grace) if resources else None
        self._open: dict[str, Any] = {}
        self._values: dict[str, str] = {}

    def __repr__(self) -> str:
        shown = [f"{name} {'open' if name in self._open else 'not open yet'}" for name in self._resources]
        return f"<Supplies {', '.join(shown) or 'none'}>"

    async def __aenter__(self) -> Supplies:
        if self._keeper is not None:
            await self._keeper.__aenter__()
        return self

    async def aclose(self) -> None:
        """Close what is open, last opened first. Raises what that raises."""
        if self._keeper is not None:
            await self._keeper.aclose()

    async def check(self, works: Iterable[Work[Any, Any]]) -> None:
        """At a run's start: read the secrets that its steps name. Raises `NotSupplied`, once, for all that is not there."""
        needing = [work for work in works if work.supplied]
        if not needing:
            return
        names = {supply.name for work in needing for supply in work.supplied if supply.is_secret}
        if names:
            await self._workers.run(self._read, names)
        resources = _missing(needing, self._resources, is_secret=False)
        secrets = _missing(needing, self._values, is_secret=True)
        if resources or secrets:
            raise self._not_supplied(resources, secrets, needing)

    def _read(self, names: Iterable[str]) -> None:
        for name in names:
            value = self._secret(name)
            if value is None:
                self._values.pop(name, None)
            elif not isinstance(value, str):
                raise TypeError(f"Runtime(secrets=...) gave a {type(value).__name__} for {name!r}, and no text")
            else:
                self.hiding.add(name, value)
                self._values[name] = value

    def _secret(self, name: str) -> str | None:
        if self._secrets is None:
            return os.environ.get(name)
        return self._secrets.get(name) if isinstance(self._secrets, Mapping) else self._secrets(name)

    def _not_supplied(
        self, resources: Mapping[str, str], secrets: Mapping[str, str], works: Sequence[Work[Any, Any]]
    ) -> NotSupplied:
        lacking = [f"the resource {name!r} (of {steps})" for name, steps in resources.items()]
        lacking += [f"the secret {name!r} (of {steps})" for name, steps in secrets.items()]
        has = ", ".join(map(repr, self._resources))
        mends = [f"give Runtime(resources={{{next(iter(resources))!r}: ...}})"] if resources else []
        if secrets:
            where = "set it in the environment" if self._secrets is None else "add it to what Runtime(secrets=...) is given"
            mends.append(f"{next(iter(secrets))}: {where}")
        what = f"the runtime lacks {', '.join(lacking)}; it has {f'the resources {has}' if has else 'no resources'}"
        place = f"{works[0].file}:{works[0].line}"
        mend = "; ".join(mends)
        return NotSupplied(what, where=place, mend=mend[:1].upper() + mend[1:], resources=[*resources], secrets=[*secrets])

    def is_open(self, work: Work[Any, Any]) -> bool:
        """Whether `given` has all that this step needs."""
        return all([supply.name in (self._values if supply.is_secret else self._open) for supply in work.supplied])

    async def open(self, work: Work[Any, Any]) -> None:
        """Have everything that this step needs. Raises what opening it raises, for this attempt: the next one tries again."""
        if self.is_open(work):
            return
        await self.check([work])
        for supply in work.supplied:
            if not supply.is_secret and supply.name not in self._open:
                assert self._keeper is not None
                value = await self._keeper.open(supply.name, self._resources[supply.name])
                self._open.setdefault(supply.name, value)

    def given(self, work: Work[Any, Any]) -> dict[str, Any]:
        """What a call of the step gets beside its arguments, by parameter. All of it is open."""
        return {
            supply.parameter: Secret(supply.name, self._values[supply.name]) if supply.is_secret else self._open[supply.name]
            for supply in work.supplied
        }


def _missing(works: Iterable[Work[Any, Any]], there: Mapping[str, Any], *, is_secret: bool) -> dict[str, str]:
    """Names that are not there, and the steps that need them."""
    steps: dict[str, dict[str, None]] = {}
    for work in works:
        for supply in work.supplied:
            if supply.is_secret is is_secret and supply.name not in there:
                steps.setdefault(supply.name, {})[work.name] = None
    return {name: ", ".join(of) for name, of in steps.items()}
