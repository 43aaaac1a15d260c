"""What differs between two calls of a step, part by part: its code, its parameters, its files, its inputs. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ashore.codec import Undecodable, show
from ashore.events import FileUse, text_digest, text_path
from ashore.questions.facts import Definition, Facts, Invocation, files_of

_VALUE_SHOWN: Final = 60
_NAMES_SHOWN: Final = 3
_CODE: Final = frozenset({"code", "helper", "class"})
"""Kinds of parts that stand in files, line by line."""
_DIGEST: Final = re.compile(r"[0-9a-f]{32,64}")
_BESIDES: Final = re.compile(r"^(.*?) \((.*)\)$")
_DIGEST_SHOWN: Final = len("sha256-") + 8


@dataclass(frozen=True, slots=True)
class Change:
    """One named thing that differs. `str()` says it in a few words."""

    kind: str
    """As the code's parts are named: code, helper, class, constant, default, distribution, python ...; else param, file, input or
    call."""
    name: str
    """Of the helper, the parameter, the input ...; "" where the kind says it all."""
    before: Any
    """The earlier value, as JSON shows it; of code and stored values a digest; None: it was not there."""
    after: Any
    text: str
    """The change as a sentence."""

    def __str__(self) -> str:
        return self.text

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def changes_between(
    one: Invocation, facts: Facts, earlier: Invocation, before: Facts, definitions: Mapping[bytes, Definition]
) -> list[Change]:
    """Everything that a call's key is made of and that differs from an earlier call's; not what the step declares to be ignored."""
    found = list(code_changes(definitions.get(earlier.call.code), definitions.get(one.call.code)))
    if one.call.code != earlier.call.code and not found:
        text = "its code changed in a part that is not on record"
        found.append(Change("code", "", earlier.call.code.hex(), one.call.code.hex(), text))
    beside = [*param_changes(dict(earlier.call.params), dict(one.call.params)), *file_changes(files_of(earlier), files_of(one))]
    beside += input_changes(before.taken(earlier), facts.taken(one), facts.producers(one))
    definition = definitions.get(one.call.code)
    return found + [change for change in beside if definition is None or change.name not in definition.ignored]


# --- code ---


def code_changes(before: Definition | None, after: Definition | None) -> Iterator[Change]:
    """The named parts of two fingerprints that differ."""
    if before is None or after is None:
        return
    for name in dict.fromkeys((*after.parts, *before.parts)):
        old, new = before.parts.get(name), after.parts.get(name)
        if old != new:
            kind, _, rest = name.partition(" ")
            place = after.places.get(name) or before.places.get(name, "")
            yield Change(kind, rest, old, new, _part_text(kind, rest, place, (old, new)))


def _part_text(kind: str, name: str, place: str, texts: tuple[str | None, str | None]) -> str:
    old, new = texts
    what = "its own code" if kind == "code" else f"{kind} `{name}`" if name else kind
    if old is None or new is None:
        return f"{what} is {'new' if old is None else 'no longer used'}"
    if kind == "distribution":
        return _versions(name, old, new)
    if kind == "python":
        return f"Python {old} -> {new}"
    if kind in _CODE or (_is_digest(old) and _is_digest(new)):
        return f"{what}{_lines(place)} changed"
    return f"{what}: {_short(old)} -> {_short(new)}"


def _versions(name: str, old: str, new: str) -> str:
    """ "pandas 3.0.1 -> 3.1.0"; the same version with another content says so."""
    first, second = (_BESIDES.sub(r"\1", text) for text in (old, new))
    return f"{name} {first} -> {second}" if first != second else f"{name} {first}: installed with other content"


def _is_digest(text: str) -> bool:
    return bool(_DIGEST.fullmatch(text.removeprefix("function ").removesuffix("...")))


def _lines(place: str) -> str:
    """ ", lines 10-14 of clean.py"."""
    file, _, lines = place.partition(":")
    return f", line{'s' if '-' in lines else ''} {lines} of {file}," if lines else f", in {file}," if file else ""


# --- parameters ---


def param_changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[Change]:
    """Plain arguments that differ, by name."""
    for name in dict.fromkeys((*after, *before)):
        old, new = before.get(name), after.get(name)
        if old != new:
            first, second = shown(old), shown(new)
            yield Change("param", name, first, second, f"param {name}: {_value(old, first)} -> {_value(new, second)}")


def shown(data: bytes | None) -> Any:
    """An encoded value as JSON shows it."""
    if data is None:
        return None
    try:
        return show(data)
    except Undecodable:
        return f"({len(data)} bytes that this version does not read)"


def _value(data: bytes | None, value: Any) -> str:
    return "not given" if data is None else value_text(value)


def value_text(value: Any) -> str:
    """A value, as `shown` gives it, in a few words."""
    if isinstance(value, dict) and isinstance(value.get("file"), str):
        return f"{value['file']} ({value['digest'][:_DIGEST_SHOWN]})" if value.get("digest") else value["file"]
    return _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= _VALUE_SHOWN else f"{text[: _VALUE_SHOWN - 3]}..."


# --- files ---


def file_changes(before: Mapping[str, list[FileUse]], after: Mapping[str, list[FileUse]]) -> Iterator[Change]:
    for argument in dict.fromkeys((*after, *before)):
        old, new = before.get(argument, []), after.get(argument, [])
        if [_content(use) for use in old] != [_content(use) for use in new]:
            if len(old) == len(new) == 1:
                yield _one_file(argument, old[0], new[0])
            else:
                yield _many(f"files `{argument}`", ("file", argument), (old, new), (_content, _path))


def _one_file(argument: str, old: FileUse, new: FileUse) -> Change:
    text = f"file {_path(new)}: new content" if _name(old) == _name(new) else f"file `{argument}`: {_path(old)} -> {_path(new)}"
    return Change("file", argument, text_digest(old.digest), text_digest(new.digest), text)


def _path(use: FileUse) -> str:
    return text_path(use.path)


def _name(use: FileUse) -> str:
    """What of the path counts: the name without folders."""
    return use.path.rpartition("/")[2]


def _content(use: FileUse) -> tuple[str, bytes]:
    return _name(use), use.digest


# --- inputs ---


def input_changes(
    before: Mapping[str, tuple[bytes, ...] | None],
    after: Mapping[str, tuple[bytes, ...] | None],
    makers: Mapping[str, list[Invocation]],
) -> Iterator[Change]:
    for argument in dict.fromkeys((*after, *before)):
        old, new = before.get(argument, ()), after.get(argument, ())
        if old == new or new is None:  # what has not been made cannot be compared
            continue
        by = ", ".join(list(dict.fromkeys(maker.name for maker in makers.get(argument, ())))[:_NAMES_SHOWN])
        source = f", from {by}" if by else ""
        if old is None:
            yield Change("input", argument, None, _digests(new), f"input `{argument}`{source}: it had not been made then")
        elif len(old) == len(new) == 1:
            yield Change("input", argument, _digests(old), _digests(new), f"input `{argument}`: new content{source}")
        else:
            yield _many(f"input `{argument}`", ("input", argument), (old, new), (_itself, None), source)


def _itself(content: Any) -> Any:
    return content


def _digests(contents: Sequence[bytes] | None) -> Any:
    """What a side of a change is named by: a digest, or how many there are."""
    if contents is None:
        return None
    return text_digest(contents[0]) if len(contents) == 1 else f"{len(contents)} elements"


def _many(
    what: str,
    named: tuple[str, str],
    sides: tuple[Sequence[Any], Sequence[Any]],
    how: tuple[Callable[[Any], Any], Callable[[Any], str] | None],
    source: str = "",
) -> Change:
    """Several things, of which some are new and some are gone."""
    content, name = how
    old, new = sides
    known = Counter(content(one) for one in old)
    fresh = []
    for one in new:
        if known[content(one)] > 0:
            known[content(one)] -= 1
        else:
            fresh.append(one)
    gone = len(old) - len(new)
    parts = [f"{len(fresh)} of {len(new)} elements new{_listed(fresh, name)}"] if fresh else []
    parts += [f"{gone} fewer"] if gone > 0 else []
    text = f"{what}: {', '.join(parts) or 'the same elements in another order'}{source}"
    return Change(*named, f"{len(old)} elements", f"{len(new)} elements", text)


def _listed(fresh: Sequence[Any], name: Callable[[Any], str] | None) -> str:
    if name is None:
        return ""
    more = f" and {len(fresh) - _NAMES_SHOWN} more" if len(fresh) > _NAMES_SHOWN else ""
    return f" ({', '.join(name(one) for one in fresh[:_NAMES_SHOWN])}{more})"
