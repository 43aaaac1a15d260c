"""The real log and the real artifact store in a simulated world: several processes write, the power fails at the k-th operation
of the disk, the machine comes up again (and fails again while it recovers), and what is found must keep every promise made.

One seed decides everything. `python -m tests.scenarios.sim_stores SEED...` replays seeds; `--count N` runs the first N.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from tests.scenarios.sim_stores_history import ARRIVALS, COUNTERS, FENCED, KEYED, History, Submission, Violation

from ashore_stores.artifacts.base import Sink
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.errors import Closed, Corrupt, Fenced, NotDurable, StoreError, Unavailable
from ashore_stores.keys import Digest, digest_of
from ashore_stores.logs.base import Batch, Claim, Entry, Frame, Space
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.verify import verify_log
from ashore_stores.logs.watermark import read_watermark
from ashore_stores.ports import Ports
from ashore_stores.testing.disk import Faults, PowerCut, SimDisk
from ashore_stores.testing.loop import Deadlock, Runaway, simulate
from ashore_stores.testing.media import SECTOR
from ashore_stores.testing.world import SimProcess, sim_ports

T = TypeVar("T")

LOG, BLOBS = "/home/log", "/home/artifacts"
PATHS = 6
"""How many different files arrive, and keys are asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed stands for."""

    seed: int
    processes: int
    writers: int
    steps: int
    lives: int
    settings: LogSettings
    preempt: float
    faults: Faults
    kills: tuple[int | tuple[str, int] | None, ...]
    cut_after_ack: int | None
    recovery_crashes: tuple[int, ...]


def plan_for(seed: int) -> Plan:
    chance = random.Random(f"plan-{seed}")
    processes, writers = chance.choice((1, 1, 2, 3)), chance.choice((1, 2, 3))
    steps = chance.randint(2, 10)
    operations = 30 + 10 * processes * writers * steps
    return Plan(
        seed=seed,
        processes=processes,
        writers=writers,
        steps=steps,
        lives=chance.choice((1, 2, 3)),
        settings=LogSettings(
            segment_bytes=chance.choice((1, 600, 2000, 2000, 1 << 20)), catch_up_bytes=chance.choice((100, 1 << 20))
        ),
        preempt=chance.choice((0.0, 0.1, 0.3)) if processes == 1 else chance.choice((0.1, 0.3)),
        faults=Faults(
            crash_at=chance.randint(1, operations),
            flush_error_at=chance.randint(1, 30) if chance.random() < 0.25 else None,
            is_forgetful=chance.random() < 0.4,
            write_error_at=chance.randint(1, 40) if chance.random() < 0.1 else None,
            room=chance.randint(500, 8000) if chance.random() < 0.1 else None,
            short_writes=chance.choice((0.0, 0.3)),
        ),
        kills=tuple(_kill(chance, operations // processes) for _ in range(processes)),
        cut_after_ack=chance.randint(1, 6) if chance.random() < 0.3 else None,
        recovery_crashes=tuple(chance.randint(1, 30) for _ in range(chance.choice((0, 1, 1, 2)))),
    )


def _kill(chance: random.Random, operations: int) -> int | tuple[str, int] | None:
    """At which operation of its own a process dies, or after which of a kind."""
    manner = chance.random()
    if manner < 0.4:
        return None
    return (
        chance.randint(1, operations)
        if manner < 0.7
        else (chance.choice(("rename", "rename", "flush", "create")), chance.randint(1, 4))
    )


@dataclass(slots=True)
class Report:
    """What a seed came to."""

    seed: int
    acked: int = 0
    frames: int = 0
    boots: int = 0
    was_cut: bool = False
    trace: str = ""
    notes: list[str] = field(default_factory=list)


class Actor:
    """One life of one process: writers that state facts, make claims and store blobs, and a reader that follows."""

    def __init__(self, name: str, plan: Plan, history: History) -> None:
        self.name = name
        self.plan = plan
        self.history = history
        self.random = random.Random(f"actor-{plan.seed}-{name}")
        self.number = 0
        self.is_leaving = False

    async def main(self, ports: Ports) -> None:
        try:
            log = await open_segment_log(LOG, ports, self.plan.settings)
        except (Unavailable, NotDurable):
            return
        except Corrupt as error:
            self.history.alarms.append(f"{self.name} could not open the log: {error}")
            return
        store = LocalArtifactStore(BLOBS, ports)
        try:
            await self._work(log, store, ports)
        except* (NotDurable, Fenced, Closed, Unavailable):
            pass
        except* Corrupt as errors:
            self.history.alarms.append(f"{self.name}: {errors.exceptions[0]}")
        self.is_leaving = True
        if self.random.random() < 0.7:
            await log.aclose()
            await store.aclose()

    async def _work(self, log: SegmentEventLog, store: LocalArtifactStore, ports: Ports) -> None:
        async with anyio.create_task_group() as group:
            self.history.living[await log.own()] = lambda: not self.is_leaving and ports.disk.is_alive  # type: ignore[attr-defined]
            group.start_soon(self._follow, log)
            async with anyio.create_task_group() as writers:
                for number in range(self.plan.writers):
                    writers.start_soon(self._write, f"w{number}", log, store, ports)
            group.cancel_scope.cancel()

    async def _follow(self, log: SegmentEventLog) -> None:
        async for frame in log.follow():
            self.history.show(frame)

    async def _write(self, writer: str, log: SegmentEventLog, store: LocalArtifactStore, ports: Ports) -> None:
        deeds = (self._state, self._state, self._state_blob, self._count, self._arrive, self._ask, self._adopt, self._look)
        topic = f"{self.name}.{writer}".encode()
        for _ in range(self.plan.steps):
            try:
                await self.random.choice(deeds)(topic, log, store)
            except Unavailable:  # the disk is full, or a write failed: nothing was written; whoever reads again may go on
                await ports.clock.sleep(0.1)
                await log.about(topic)
            if self.random.random() < 0.3:
                await ports.clock.sleep(self.random.choice((0.0, 0.001, 0.1)))

    # What a writer does.

    async def _state(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """Facts, one or a few at once; perhaps wait until the last is durable."""
        for _ in range(self.random.choice((1, 1, 3))):
            submission = self._submit(topic)
            submission.ticket = log.queue(submission.batch)
        if self.random.random() < 0.6:
            await self._settle(submission, log)

    async def _state_blob(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """A blob, and then the frame that names it."""
        content = self._content()
        digest = digest_of(content)

        def produce(sink: Sink) -> None:
            for start in range(0, len(content), 700):
                sink.write(content[start : start + 700])

        blob = await store.put(produce)
        if blob.digest != digest:
            raise Violation("I3", f"{len(content)} bytes were stored as {blob.digest}, not {digest}")
        self.history.blobs[digest] = content
        submission = self._submit(topic, blobs=(digest,))
        submission.ticket = log.queue(submission.batch)
        if self.random.random() < 0.7:
            await self._settle(submission, log)

    async def _count(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """Count a register up from what this process knows."""
        key = b"n%d" % self.random.randrange(2)
        held = log.register(COUNTERS, key)
        await self._claim(topic, log, COUNTERS, key, held, b"%d" % (int(held or b"0") + 1))

    async def _arrive(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """A file arrived; any number of watchers see it, one of them records it."""
        await self._claim(topic, log, ARRIVALS, b"inbox/%d.csv@v1" % self.random.randrange(PATHS), None, topic)

    async def _ask(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """A keyed start."""
        await self._claim(topic, log, KEYED, b"key-%d" % self.random.randrange(PATHS), None, topic)

    async def _adopt(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """Take over from a dead owner; once in a while from one that lives."""
        await log.refresh()
        owners = sorted(owner for owner, state in log.registers(Space.OWNERS).items() if state == b"live" and owner != log.owner)
        for owner in owners[:2]:
            is_alive = await log.is_alive(owner)
            if not is_alive:
                self.history.judge_dead(owner)
            if not is_alive or self.random.random() < 0.1:
                await self._claim(topic, log, Space.OWNERS, owner, b"live", FENCED)

    async def _look(self, topic: bytes, log: SegmentEventLog, store: LocalArtifactStore) -> None:
        """Read what there is."""
        self.history.see_durable(await log.refresh())
        async for frame in log.read():
            self.history.show(frame)
        for frame in await log.about(topic):
            if frame.batch.body not in self.history.submitted:
                raise Violation("I2", f"nobody handed in {frame.batch.body!r}")

    async def _claim(
        self, topic: bytes, log: SegmentEventLog, space: int, key: bytes, expected: bytes | None, value: bytes
    ) -> None:
        submission = self._submit(topic, Entry(space, key, value), expected=expected)
        assert submission.claim is not None
        judged = (await log.append([submission.claim]))[0]
        if judged.position is None:
            submission.is_lost = True
            if judged.current == expected:
                raise Violation("I33", f"{submission.batch.body!r} lost against {judged.current!r}, which it expected")
            return
        await log.durable(judged.position)
        self.history.ack(submission, judged.position)

    async def _settle(self, submission: Submission, log: SegmentEventLog) -> None:
        assert submission.ticket is not None
        self.history.see_durable(await log.durable(submission.ticket))
        assert submission.ticket.position is not None
        self.history.ack(submission, submission.ticket.position)

    def _submit(
        self,
        topic: bytes,
        *entries: Entry,
        expected: bytes | None = None,
        blobs: tuple[Digest, ...] = (),
        is_fact: bool = False,
    ) -> Submission:
        """What is handed in with entries is a claim, unless it is said to be a fact."""
        self.number += 1
        body = b"%s#%d %s%s" % (topic, self.number, ",".join(blobs).encode(), b"." * self.random.choice((0, 5, 700)))
        batch = Batch(body, self.random.choice((1, 1, 4)), b"", entries, (topic,))
        claim = None if is_fact or not entries else Claim(entries[0].space, entries[0].key, expected, batch)
        submission = Submission(batch, self.name, claim, blobs)
        self.history.submit(submission)
        return submission

    def _content(self) -> bytes:
        if self.random.random() < 0.4:
            return b"shared %d " % self.random.randrange(3) * 200
        return self.random.randbytes(self.random.choice((0, 10, 600, 3000)))


class WatermarkGauge:
    """Watches that the watermark is never lowered."""

    def __init__(self, disk: SimDisk, history: History) -> None:
        self._disk = disk.for_process("gauge")
        self._history = history
        self._highest = (0, 0)

    def see(self, what: str, path: str) -> None:
        if what not in ("written", "forgotten") or path != f"{LOG}/watermark":
            return
        state = read_watermark(self._disk.open(path))
        place = state.place.key
        if what == "forgotten":
            self._highest = place  # the cache lost it, nobody lowered it
        if place < self._highest:
            self._history.alarms.append(f"the watermark went back from {self._highest} to {place} (segment, offset)")
        if place > self._highest:
            self._history.published.append(state.place.position)
        self._highest = max(self._highest, place)


async def live(plan: Plan, disk: SimDisk, history: History) -> None:
    """All processes, each for all its lives; after that the power fails in any case."""
    async with anyio.create_task_group() as group:
        for number in range(plan.processes):
            group.start_soon(_live_on, plan, disk, history, number)
        if plan.faults.room is not None:
            group.start_soon(_make_room, disk)


async def _live_on(plan: Plan, disk: SimDisk, history: History, number: int) -> None:
    for life in range(plan.lives):
        name = f"{'abc'[number]}{life}"
        process = SimProcess(disk.for_process(name), plan.seed, preempt=plan.preempt)
        kill = plan.kills[number] if life == 0 else None
        process.disk.kill_at = kill if isinstance(kill, int) else None
        process.disk.kill_after = kill if isinstance(kill, tuple) else None
        process.start(Actor(name, plan, history).main)
        await process.ended()


async def _make_room(disk: SimDisk) -> None:
    await anyio.sleep(3)
    disk.set_faults(room=None)


async def read_all(log: SegmentEventLog) -> list[Frame]:
    return [frame async for frame in log.read()]


async def recover(plan: Plan, disk: SimDisk, history: History, name: str) -> tuple[list[Frame], list[str]]:
    """A machine that comes up again: read, write something, check every promise, close. Returns the whole log."""
    ports = sim_ports(plan.seed, disk=disk, preempt=plan.preempt)
    log = await open_segment_log(LOG, ports, plan.settings)
    store = LocalArtifactStore(BLOBS, ports)
    await log.own()
    await log.refresh()
    for frame in await read_all(log):
        history.show(frame)
    submission = Submission(Batch(f"{name} is up".encode(), 1), name)
    history.submit(submission)
    submission.ticket = log.queue(submission.batch)
    await log.durable(submission.ticket)
    assert submission.ticket.position is not None
    history.ack(submission, submission.ticket.position)
    frames = await read_all(log)
    history.check(frames)
    await _check_rest(frames, log, store, history)
    notes = list(log.statistics().notes)
    await log.aclose()
    await store.aclose()
    return frames, notes


async def _check_rest(frames: list[Frame], log: SegmentEventLog, store: LocalArtifactStore, history: History) -> None:
    """Registers, blobs and look-ups agree with the frames; who ran before the power failed is dead."""
    for owner in log.registers(Space.OWNERS):
        if owner != log.owner and await log.is_alive(owner):
            raise Violation("I9", f"owner {owner.hex()} of an earlier boot is called alive: nobody can ever take over from it")
    _check_registers(log, history.fold(frames))
    named = {digest for frame in frames for digest in history.submitted[frame.batch.body].blobs}
    for digest in sorted(named | set(history.blobs)):
        try:
            content = bytes(await store.load(digest))
        except StoreError as error:
            raise Violation("I3", f"{digest} was stored{' and is named' if digest in named else ''}: {error}") from error
        if content != history.blobs[digest]:
            raise Violation("I3", f"{digest} came back as {len(content)} other bytes")


def _check_registers(log: SegmentEventLog, registers: dict[tuple[int, bytes], bytes]) -> None:
    for space in (COUNTERS, ARRIVALS):
        expected = {key: value for (in_space, key), value in registers.items() if in_space == space}
        if dict(log.registers(space)) != expected:
            raise Violation("I6", f"registers of space {space} are {log.registers(space)}, by the log {expected}")
    for number in range(PATHS):
        key = b"key-%d" % number
        if log.register(KEYED, key) != registers.get((KEYED, key)):
            raise Violation("I6", f"{key!r} is {log.register(KEYED, key)!r}, by the log {registers.get((KEYED, key))!r}")


async def damage_and_read(plan: Plan, disk: SimDisk, truth: list[bytes], history: History) -> None:
    """Harm one file of stores that are at rest: the truth or a typed error, never anything else."""
    ports = sim_ports(plan.seed, disk=disk.for_process("reader"))
    if damages := verify_log(LOG, ports):
        raise Violation("I31", f"a sound log was called damaged: {damages[0]}")
    harmed = harm(disk.for_process("vandal"), random.Random(f"damage-{plan.seed}"))
    await _load_damaged(LocalArtifactStore(BLOBS, ports), history, harmed)
    is_sound = not verify_log(LOG, ports)
    try:
        before, after = await _read_and_write(ports, plan)
    except StoreError as error:
        if is_sound:
            raise Violation("I31", f"{harmed}: the look through the log saw nothing, but {error}") from error
        return
    # With a damaged watermark less is known to be durable until somebody writes; what is there is never taken for lost.
    if before != truth and not ("watermark" in harmed and before == truth[: len(before)]):
        raise Violation("I16", f"{harmed}: read as {len(before)} frames of {len(truth)}, without an error")
    if after != [*truth, b"mended"]:
        raise Violation("I16", f"{harmed}: read as {len(after)} frames of {len(truth)} + 1 after a write, without an error")


async def damage_the_crashed(plan: Plan, disk: SimDisk, truth: list[bytes], history: History) -> None:
    """A bit flips in a segment while the power is off: an error, or no more than the last flushed batch is taken for torn."""
    chance = random.Random(f"damage-{plan.seed}")
    tree = disk.tree()
    segments = [path for path in tree if path.startswith(f"{LOG}/segments/") and tree[path] and not path.endswith(".new")]
    if not segments:
        return
    path = max(segments)
    at = chance.randrange(len(tree[path]))
    disk.damage(path, at, 1 << chance.randrange(8))
    try:
        _, after = await _read_and_write(sim_ports(plan.seed, disk=disk), plan)
    except StoreError:
        return
    safe = history.published[-2] if len(history.published) > 1 else 0
    left = [body for body in after if body != b"mended"]
    lost = [body for body, position in history.acked.items() if position <= safe and body not in left]
    if left != truth[: len(left)] or lost:
        raise Violation("I17", f"bit flipped at {at} of {len(tree[path])} in {path}: {lost or 'another log'} was cut as torn")


async def _load_damaged(store: LocalArtifactStore, history: History, harmed: str) -> None:
    for digest, content in history.blobs.items():
        try:
            if bytes(await store.load(digest)) != content:
                raise Violation("I16", f"{harmed}: other bytes under {digest}")
        except StoreError:
            continue


async def _read_and_write(ports: Ports, plan: Plan) -> tuple[list[bytes], list[bytes]]:
    """The bodies of all frames, before and after one more was written."""
    log = await open_segment_log(LOG, ports, plan.settings)
    await log.refresh()
    before = await read_all(log)
    await log.durable(log.queue(Batch(b"mended", 1)))
    after = await read_all(log)
    await log.aclose()
    return [frame.batch.body for frame in before], [frame.batch.body for frame in after]


def harm(disk: SimDisk, chance: random.Random) -> str:
    """Damage one file; says how."""
    files = [path for path, content in disk.tree().items() if content and "/tmp/" not in path]
    path = chance.choice(files)
    content = disk.tree()[path]
    manner = chance.choice(("flip", "flip", "cut", "zero", "remove"))
    at = chance.randrange(len(content))
    if manner == "flip":
        disk.damage(path, at, 1 << chance.randrange(8))
    elif manner == "cut":
        disk.open(path, write=True).truncate(at)
    elif manner == "zero":
        start = at - at % SECTOR
        disk.open(path, write=True).write(bytes(len(content[start : start + SECTOR])), start)
    else:
        disk.remove(path)
    return f"{manner} {path} at {at} of {len(content)}"


def run_seed(seed: int, plan: Plan | None = None) -> Report:
    """One seed from start to end. Raises `Violation`."""
    plan = plan or plan_for(seed)
    history, report = History(), Report(seed)
    disk = _machine(plan)
    if plan.cut_after_ack is not None:
        history.on_ack = lambda count: _cut_after(disk, count == plan.cut_after_ack)
    disk.machine.hints.append(WatermarkGauge(disk, history).see)
    report.was_cut = _until_cut(lambda: live(plan, disk, history), seed) is None
    report.acked = len(history.acked)
    straight, first_history = disk.after_crash(seed), history.copy()
    frames, report.notes = _whole(lambda: recover(plan, straight, first_history, "r"), seed + 1)
    whole = [frame.batch.body for frame in frames]
    report.frames = len(whole)
    report.trace = digest_of(*(line.encode() for line in [*disk.machine.operations, *straight.machine.operations]))
    again = _recover_again(plan, disk.after_crash(seed), history.copy(), report)
    kept, kept_again = [[body for body in bodies if body in history.submitted] for bodies in (whole, again)]
    if kept_again != kept:
        raise Violation(
            "I30", f"recovered at once the log has {len(kept)} frames, after crashes while recovering {len(kept_again)}"
        )
    _whole(lambda: damage_and_read(plan, straight, whole, first_history), seed + 2)
    if plan.processes == 1:
        _whole(lambda: damage_the_crashed(plan, disk.after_crash(seed), kept, history), seed + 3)
    return report


def _cut_after(disk: SimDisk, is_due: bool) -> None:
    if is_due and disk.machine.is_on:
        disk.machine.cut("just after an acknowledgement")


def _machine(plan: Plan) -> SimDisk:
    """A machine with an empty home, at whose k-th operation from here on something goes wrong."""
    disk = SimDisk(plan.seed, plan.faults)
    disk.machine.medium.add_folder(disk.machine.medium.root, "home")
    disk.machine.medium.flush_folder(disk.machine.medium.root)
    return disk


def _recover_again(plan: Plan, disk: SimDisk, history: History, report: Report) -> list[bytes]:
    """Recover with the power failing in between; what is found in the end."""
    for number, crash_at in enumerate(plan.recovery_crashes):
        disk.set_faults(crash_at=crash_at)
        there, name = disk, f"x{number}"
        _until_cut(lambda: recover(plan, there, history, name), plan.seed + number)  # noqa: B023
        disk = disk.after_crash(plan.seed + number)
        report.boots += 1
    frames, _ = _whole(lambda: recover(plan, disk, history, "z"), plan.seed + 9)
    return [frame.batch.body for frame in frames]


def _until_cut(main: Callable[[], Coroutine[Any, Any, T]], seed: int) -> T | None:
    """None if the power failed first."""
    try:
        return _whole(main, seed)
    except PowerCut:
        return None


def _whole(main: Callable[[], Coroutine[Any, Any, T]], seed: int) -> T:
    try:
        return simulate(main, seed)
    except (Deadlock, Runaway) as error:
        raise Violation("I9", str(error)) from error
    except Violation:
        raise
    except StoreError as error:
        raise Violation("I1", f"what was acknowledged cannot be reached: {type(error).__name__}: {error}") from error
    except Exception as error:
        raise _violation_in(error) or Violation("error", f"{type(error).__name__}: {error}") from error


def _violation_in(error: BaseException) -> Violation | None:
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _violation_in(each)) is not None), None)
    return error if isinstance(error, Violation) else None


def try_seed(seed: int) -> Report | None:
    """Run a seed; a broken promise is one line that says how to see it again."""
    try:
        return run_seed(seed)
    except Violation as error:
        print(f"python -m tests.scenarios.sim_stores {seed}   # {error}")
        return None


def main(arguments: list[str]) -> int:
    seeds = range(int(arguments[1])) if arguments[:1] == ["--count"] else [int(argument) for argument in arguments]
    began = time.process_time()
    reports = [try_seed(seed) for seed in seeds]
    good = [report for report in reports if report is not None]
    acked = sum(1 for report in good if report.acked and report.was_cut)
    print(
        f"{len(good)} of {len(reports)} seeds kept every promise; {acked} had acknowledged something before the power failed; "
        f"{sum(report.acked for report in good)} acknowledgements, {sum(report.boots + 1 for report in good)} boots, "
        f"{time.process_time() - began:.1f} CPU seconds"
    )
    return 0 if len(good) == len(reports) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
