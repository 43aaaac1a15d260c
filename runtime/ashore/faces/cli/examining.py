"""What the record of a home says of its health: the log's end, who has a lock, daemons, the index, runs that nobody drives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

from ashore.catalogue import Catalogue, of_stack
from ashore.events import RunSpace
from ashore.faces.cli.texts import SHORT, moment, plural, size
from ashore.stack import Stack
from ashore_stores.errors import StoreError
from ashore_stores.logs.base import EventLog, Space

OK, NOTE, PROBLEM = "ok", "note", "problem"

_RUNS_SHOWN: Final = 3
_OWNERS: Final = "select lower(hex(id)) as id, pid, host, user, command, at from owner order by at"
_HELD: Final = "select id, pipeline, error from runs where state = 'held' order by no desc"
_OPEN: Final = "select id, pipeline from runs where state = 'running' order by no desc"


class Finding(NamedTuple):
    """What one check found."""

    check: str
    state: str
    """ "ok", "note" (well, but worth knowing) or "problem"."""
    what: str
    mend: str = ""


async def examine_record(stack: Stack) -> AsyncIterator[Finding]:
    """Look at what is on record. Closes the stack."""
    async with of_stack(stack) as catalogue:
        try:
            yield _log(stack)
            yield await _log_end(stack)
            yield await _index(catalogue)
            owners = {row["id"]: row for row in (await catalogue.sql(_OWNERS)).records()}
            async for finding in _owners(stack.log, owners):
                yield finding
            async for finding in _daemons(stack.log, owners):
                yield finding
            yield await _runs(stack.log, catalogue)
            async for finding in _held(catalogue):
                yield finding
        except StoreError as error:
            yield Finding("record", PROBLEM, f"cannot be read: {error}", "Look it through for damage: ashore log verify")


def _log(stack: Stack) -> Finding:
    statistics = stack.log.statistics()
    disk, folder = stack.ports.disk, f"{stack.home.log}/segments"
    sizes = [stat.size for name in disk.names(folder) if (stat := disk.stat(f"{folder}/{name}"))]
    what = f"{plural(statistics.durable, 'event')} in {plural(len(sizes), 'segment')}, {size(sum(sizes))}"
    return Finding("log", OK, what)


async def _log_end(stack: Stack) -> Finding:
    """Whether the end of the log is whole, and what was cut off it."""
    statistics = stack.log.statistics()
    cut = stack.ports.disk.names(f"{stack.home.log}/cut")
    if statistics.notes:
        return Finding("log's end", NOTE, "; ".join(statistics.notes), "Nothing: it was put right when the log was opened")
    waiting = statistics.written - statistics.durable
    told = f", {plural(waiting, 'event')} not yet flushed" if waiting else ""
    aside = f"; {plural(len(cut), 'torn end')} of former crashes kept in {stack.home.log}/cut" if cut else ""
    return Finding("log's end", OK, f"whole, durable up to position {statistics.durable}{told}{aside}")


async def _index(catalogue: Catalogue) -> Finding:
    freshness = (await catalogue.sql("select 1")).freshness
    if freshness.notes:
        mend = "" if not freshness.behind else "ashore index rebuild"
        return Finding("index", NOTE if not freshness.behind else PROBLEM, "; ".join(freshness.notes), mend)
    if freshness.behind:
        what = f"at position {freshness.position}, {plural(freshness.behind, 'event')} behind the log"
        return Finding("index", PROBLEM, what, "Wait for the process that catches it up, or make it anew: ashore index rebuild")
    return Finding("index", OK, f"at position {freshness.position}, as the log")


async def _owners(log: EventLog, known: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[Finding]:
    """The processes that hold an owner's lock, and those that died with theirs."""
    living, dead = [], 0
    for owner, state in log.registers(Space.OWNERS).items():
        if state != b"live" or owner == log.owner:
            continue
        if await log.is_alive(owner):
            living.append(owner_text(known.get(owner.hex())))
        else:
            dead += 1
    for text in living:
        yield Finding("owner", OK, f"{text} is alive")
    if dead:
        yield Finding(
            "owner", OK, f"{dead:,} former {'process is' if dead == 1 else 'processes are'} gone and hold no lock any more"
        )


def owner_text(row: Mapping[str, Any] | None) -> str:
    """A process, as people know it."""
    if row is None:
        return "a process that has not said which"
    return f"process {row['pid']} of {row['user']} on {row['host']}, since {moment(row['at'])}: {row['command']}"


async def _daemons(log: EventLog, known: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[Finding]:
    for name, owner in log.registers(RunSpace.SERVING).items():
        pipeline, row = name.decode(), known.get(owner.hex())
        if await log.is_alive(owner):
            yield Finding("daemon", OK, f"{pipeline} is served by {owner_text(row)}")
        else:
            what = f"{pipeline} was served by {owner_text(row)}, which is gone: files that arrive wait"
            yield Finding("daemon", NOTE, what, "Start it again if they shall be taken: ashore serve FILE")


async def _runs(log: EventLog, catalogue: Catalogue) -> Finding:
    """Runs that are not over, and those of them that nobody drives."""
    open_runs = (await catalogue.sql(_OPEN)).records()
    lost = []
    for row in open_runs:
        owner = log.register(RunSpace.OPEN_RUNS, row["id"].encode())
        if owner is None or not await log.is_alive(owner):
            lost.append(f"{row['id'][:SHORT]} of {row['pipeline']}")
    if not lost:
        what = f"{plural(len(open_runs), 'run')} under way, driven by living processes" if open_runs else "none is under way"
        return Finding("runs", OK, what)
    shown = ", ".join(lost[:_RUNS_SHOWN])
    more = f" and {len(lost) - _RUNS_SHOWN} more" if len(lost) > _RUNS_SHOWN else ""
    mend = "Serve their pipelines, start them again under their keys, or give them up: ashore cancel RUN"
    return Finding("runs", PROBLEM, f"{plural(len(lost), 'run')} that nobody drives: {shown}{more}", mend)


async def _held(catalogue: Catalogue) -> AsyncIterator[Finding]:
    """Runs that wait for somebody to say what came of an attempt."""
    for row in (await catalogue.sql(_HELD)).records()[:_RUNS_SHOWN]:
        what = f"run {row['id'][:SHORT]} of {row['pipeline']} is held{': ' + row['error'] if row['error'] else ''}"
        yield Finding("runs", NOTE, what, f"ashore resume {row['id'][:SHORT]} --done VALUE, or --again; or ashore cancel")
