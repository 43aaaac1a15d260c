"""Secrets that this process has read, and how their values are kept out of what is recorded and raised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ashore.codec import decode, encode
from ashore.engine.failures import exception_of, failure_of
from ashore.errors import StepError
from ashore.events import UNSTORED, Failure, Output
from ashore.materialize import dump_to
from ashore.works import Work
from ashore_stores.keys import Buffer

_SEARCHED: Final = 6
"""Bytes from which on a value is searched for in results: a shorter one stands in any by chance."""


class Hiding:
    """Values that must not be shown, and the names that stand for them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Hiding {', '.join(sorted(set(self._names.values()))) or 'nothing'}>"

    def add(self, name: str, value: str) -> None:
        """Hide this value from now on; longer ones first, since one may contain another."""
        if value and value not in self._names:
            self._names[value] = name
            self._names = dict(sorted(self._names.items(), key=lambda item: -len(item[0])))

    def text(self, text: str) -> str:
        """`text` with `secret('NAME')` in the place of each value."""
        for value, name in self._names.items():
            if value in text:
                text = text.replace(value, f"secret({name!r})")
        return text

    def error(self, error: Exception) -> tuple[Exception, Failure]:
        """A step's exception and its record. One that shows a value is the one that its cleaned record makes, live as resumed."""
        failure = failure_of(error)
        if not self._names:
            return error, failure
        clean = msgspec.structs.replace(
            failure,
            classes=tuple(map(self.text, failure.classes)),
            where=self.text(failure.where),
            message=self.text(failure.message),
            traceback=self.text(failure.traceback),
            notes=tuple(map(self.text, failure.notes)),
            arguments=self._arguments(failure.arguments),
        )
        if clean == failure:
            return error, failure
        return exception_of(clean).with_traceback(error.__traceback__), clean

    def _arguments(self, arguments: bytes) -> bytes:
        if not any([value.encode() in arguments for value in self._names]):
            return arguments
        return encode(self._cleaned(decode(arguments)))

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if type(value) is dict:
            return {self._cleaned(key): self._cleaned(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self._cleaned, value))
        return repr(value) if self.text(repr(value)) == repr(value) else self.text(repr(value))

    def refuse(self, work: Work[Any, Any], outputs: Iterable[Any]) -> None:
        """Raise `StepError` if one of these results of a step holds the value of one of the secrets that the step names."""
        names = {supply.name for supply in work.supplied if supply.is_secret}
        searched = [(v.encode(), name) for v, name in self._names.items() if name in names and len(v.encode()) >= _SEARCHED]
        if not searched:
            return
        for output in outputs:
            search = _Search(searched)
            if output.format == UNSTORED:
                continue
            if isinstance(output, Output):
                search.write(output.data or b"")
            else:
                dump_to(output.value, search)  # a large one: it would be in the store before anybody could look
            if search.found:
                raise StepError(
                    f"what {work.name} returns or keeps contains the value of secret({search.found!r}): it is not stored",
                    mend="Store what was got with the secret, not the secret",
                )


class _Search:
    """A sink that keeps nothing and looks for the values."""

    def __init__(self, searched: list[tuple[bytes, str]]) -> None:
        self.found = ""
        self._searched = searched
        self._keep = max((len(value) for value, _ in searched), default=1) - 1
        self._rest = b""

    def write(self, data: Buffer, /) -> int:
        text = self._rest + bytes(data)
        self.found = self.found or next((name for value, name in self._searched if value in text), "")
        self._rest = text[len(text) - self._keep :] if self._keep else b""
        return len(text)
