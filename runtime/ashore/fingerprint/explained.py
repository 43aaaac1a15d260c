"""What a step's fingerprint covers, for people: `step.fingerprint.explain()`."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ashore.fingerprint.declared import Cache
from ashore.fingerprint.fingerprint import fingerprint_of
from ashore.fingerprint.nodes import Fingerprint, Part, Place, Unfollowed
from ashore.fingerprint.sources import sources_of

_DIGEST: Final = 32
"""Characters of a digest, which says nothing to people."""


class Explanation(NamedTuple):
    """What counts, by part, and what could not be followed."""

    step: str
    counts: tuple[Part, ...]
    unfollowed: tuple[Unfollowed, ...]

    def __str__(self) -> str:
        lines = [f"{self.step}: {len(self.counts)} parts count"]
        lines += [f"  {_line(part)}" for part in self.counts]
        if self.unfollowed:
            lines.append("not followed, so that a change there is not seen:")
            lines += [f"  {one.where}: {one.what}. {one.mend}" for one in self.unfollowed]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


class StepFingerprint:
    """A step's fingerprint as of now, whenever it is asked."""

    def __init__(self, function: Callable[..., Any], name: str, role: str, cache: Cache) -> None:
        self._function = function
        self._name = name
        self._role = role
        self._cache = cache

    def taken(self) -> Fingerprint:
        """The fingerprint itself; the content of declared files is left out, which only a run looks at."""
        return fingerprint_of(self._function, name=self._name, role=self._role, cache=self._cache)

    def explain(self) -> Explanation:
        """Everything that counts, by named part, and what could not be followed, with what to do about it. It prints as a list."""
        taken = self.taken()
        parts = [Part(name, text, _with_line(name, place)) for (name, text), place in zip(taken.parts, taken.places, strict=True)]
        return Explanation(self._name, tuple(part for part in parts if not part.name.startswith("file ")), taken.unfollowed)

    def sources(self) -> dict[str, str]:
        """The sources of all of it, by part."""
        return sources_of(self._function, self._cache)

    def __repr__(self) -> str:
        taken = self.taken()
        return f"<fingerprint of {self._name}: {taken.code.hex()}, {len(taken.parts)} parts, {len(taken.unfollowed)} not followed>"


def _with_line(name: str, place: Place) -> Place:
    """Where a constant is set, or a class begins, as far as its file tells."""
    if not place.file or place.first:
        return place
    try:
        tree = ast.parse("".join(linecache.getlines(place.file)))
    except SyntaxError:
        return place
    last = name.rpartition(".")[2].rpartition(" ")[2]
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        is_class = isinstance(node, ast.ClassDef) and node.name == last
        if is_class or any(isinstance(target, ast.Name) and target.id == last for target in targets):
            return Place(place.file, node.lineno, node.end_lineno or 0)  # type: ignore[attr-defined]  # statements have them
    return place


def _line(part: Part) -> str:
    kind = part.name.partition(" ")[0]
    is_shown = kind not in ("code", "helper", "class", "module") and not _is_digest(part.text)
    shown = f"{part.name} {part.text}" if kind == "distribution" else f"{part.name} = {part.text}" if is_shown else part.name
    return f"{shown}  {part.place}".rstrip()


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST and all(letter in "0123456789abcdef" for letter in text)
