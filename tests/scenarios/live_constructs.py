"""What plain Python may do in a body, construct by construct."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import anyio
from tests.scenarios import live_world

import ashore
from ashore import Handle, Outputs, RunFailed, each, fixed, pipeline, step


def outside(what: str) -> None:
    live_world.OUTSIDE.receive(what)


@step
async def number(n: int) -> int:
    outside(f"number {n}")
    return n


@step
async def slow(n: int, pause: float) -> int:
    outside(f"slow {n}")
    await anyio.sleep(pause)
    return n


@step
def threaded(n: int) -> int:
    outside(f"threaded {n}")
    return n * 10


@step
async def double(n: int) -> int:
    outside(f"double {n}")
    return n * 2


@step
async def add(numbers: list[int]) -> int:
    outside(f"add {numbers}")
    return sum(numbers)


@step
async def fails(n: int, pause: float = 0.0) -> int:
    outside(f"fails {n}")
    await anyio.sleep(pause)
    raise ValueError(f"no {n}")


@step
async def parts(n: int) -> tuple[int, str]:
    outside(f"parts {n}")
    return n, "x" * n


class Halves(Outputs):
    low: int
    high: int


@step
async def halves(n: int) -> Halves:
    outside(f"halves {n}")
    return Halves(n // 2, n - n // 2)


@step
async def numbers(n: int) -> list[int]:
    outside(f"numbers {n}")
    return list(range(n))


@step
async def big(n: int) -> bytes:
    outside(f"big {n}")
    return bytes([n]) * 100_000


@step
async def size(data: bytes) -> int:
    outside(f"size {data[:1]!r}")
    return len(data)


@pipeline
async def branch() -> str:
    if await number(3) > 2:
        return f"more than {await number(2)}"
    return f"less than {await number(1)}"


@pipeline
async def loop() -> int:
    total = 0
    while total < 20:
        total += await double(total + 1)
    return total


@pipeline
async def comprehension() -> dict[int, int]:
    return {n: await double(n) for n in range(4) if await number(n) % 2}


@pipeline
async def handed_on() -> int:
    """Data that never passes through the body."""
    return await add([double(number(n)) for n in range(3)])


@pipeline
async def returned() -> tuple[Handle[int], list[Handle[int]]]:
    return double(number(1)), [number(2), double(2)]


@pipeline
async def recursion(n: int = 3) -> int:
    return 1 if n <= 1 else await add([await number(n), await recursion(n - 1)])


@pipeline
async def handled() -> str:
    try:
        await fails(1)
    except ValueError as error:
        return f"{error}, {await number(1)}"
    return "nothing failed"


@pipeline
async def handled_further_down() -> str:
    try:
        await double(double(fails(1)))
    except ValueError as error:
        return f"{error}, {await number(1)}"
    return "nothing failed"


@pipeline
async def again_after_failure() -> list[str]:
    said = []
    for _ in range(3):
        try:
            await fails(7)
        except ValueError as error:
            said.append(str(error))
    return said


@pipeline
async def unhandled() -> int:
    fails(1)
    return await number(1)


@pipeline
async def raised() -> int:
    await number(1)
    raise LookupError("the body's own")


@pipeline
async def failed() -> int:
    return await double(fails(2))


@pipeline
async def gathered() -> list[int]:
    one = slow(1, 0.3)
    several = await asyncio.gather(one, slow(2, 0.1), threaded(3), *(double(n) for n in range(3)))
    return [*several, await double(one)]


@pipeline
async def gathered_with_failures() -> list[str]:
    results = await asyncio.gather(number(1), fails(1, 0.2), fails(2, 0.1), return_exceptions=True)
    return [str(result) for result in results]


@pipeline
async def completed_first() -> list[int]:
    """Each result is acted upon as it comes: the order decides what is called next."""
    total, seen = 0, []
    for coming in asyncio.as_completed([slow(1, 0.3), slow(2, 0.1), slow(3, 0.2), threaded(4)]):
        total = total * 10 + await coming
        seen.append(await number(total))
    return seen


@pipeline
async def waited_for_first() -> list[int]:
    """Which are done, when the first is: as many after a crash as before it."""
    tasks = {asyncio.ensure_future(handle) for handle in (slow(1, 0.2), slow(2, 0.1), slow(3, 0.1), threaded(4))}
    seen = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen.append(await add([len(done), *sorted(task.result() for task in done)]))
    return seen


@pipeline
async def task_group() -> list[int]:
    async def work(n: int) -> int:
        first = await slow(n, 0.1 * (3 - n))
        return await double(first + 100)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(n)) for n in range(3)]
    return [task.result() for task in tasks]


@pipeline
async def task_group_that_fails() -> list[str]:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow(1, 0.1))
            group.create_task(fails(1, 0.2))
    except* ValueError as errors:
        said = [str(error) for error in errors.exceptions]
    return [*said, str(await number(9))]


@pipeline
async def anyio_group() -> list[int]:
    found: list[int] = []

    async def work(n: int) -> None:
        found.append(await slow(n, 0.1 * (3 - n)))
        found.append(await double(n + 100))

    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(work, n)
    return found


@pipeline
async def in_time() -> int:
    return await asyncio.wait_for(slow(1, 0.1), 60)


@pipeline
async def in_time_by_scope() -> int:
    with anyio.fail_after(60):
        return await slow(1, 0.1)


@pipeline
async def too_late_but_handed_on() -> int:
    """A time-out that gives up waiting; the step goes on, and is used."""
    handle = slow(1, 5.0)
    with suppress(TimeoutError):
        await asyncio.wait_for(handle, 0.1)
    return await double(handle)


@pipeline
async def racing() -> int:
    async def chain(n: int, pause: float) -> int:
        return await double(await slow(n, pause))

    tasks = [asyncio.create_task(chain(n, pause)) for n, pause in ((1, 0.2), (2, 0.1), (3, 0.3))]
    results = [await task for task in tasks]
    return await add(results)


@pipeline
async def unpacked() -> tuple[int, int]:
    count, text = parts(3)
    both = halves(7)
    return await add([count, both.low]), len(await text) + await both.high


@pipeline
async def equal_calls() -> list[int]:
    """Equal calls of a source: while it runs they are one, afterwards it runs again."""
    both = await asyncio.gather(slow(5, 0.1), slow(5, 0.1))
    return [*both, await slow(5, 0.1), await double(both[0])]


@pipeline
async def fanned_out() -> list[int]:
    doubled = double(each(numbers(4)))
    total = add(doubled)
    return [*await doubled, await total, *await double(each([10, 11])), await add(fixed([number(1), number(2)]))]


@pipeline
async def large_values() -> int:
    data = big(1)
    total = await size(data)
    return total + len(await data) + len(await big(2))


@pipeline
async def part(n: int, pause: float) -> int:
    return await double(await slow(n, pause)) + 1


@pipeline
def wired_part(n: int) -> Handle[int]:
    return double(number(n))


@pipeline
async def sub_runs() -> list[int]:
    several = await asyncio.gather(*(part(n, 0.3 - 0.1 * n) for n in range(3)), wired_part(4))
    return [*several, await double(part(5, 0.1)), await part(5, 0.1)]


@pipeline
async def part_that_fails(n: int) -> int:
    return await double(fails(n))


@pipeline
async def sub_run_that_fails() -> list[str]:
    try:
        await part_that_fails(1)
    except RunFailed as failed_run:
        return [*(str(error) for error in failed_run.failures), str(await number(1))]
    return []


@pipeline
async def sub_run_that_nobody_handles() -> int:
    part_that_fails(1)
    return await number(1)


@pipeline
def wired_around_a_body() -> Handle[int]:
    return double(part(1, 0.1))


@pipeline
async def shared() -> int:
    """One value that several tasks wait for."""
    handle = slow(2, 0.2)

    async def use(n: int) -> int:
        return await handle + n

    return sum(await asyncio.gather(*(use(n) for n in range(4))))


@pipeline
async def slept() -> str:
    await ashore.sleep("1h")
    await ashore.until(ashore.now() + timedelta(days=1))
    await ashore.sleep("1h")
    return f"slept {await number(1)}"


@pipeline
async def by_chance() -> list[str]:
    """What is drawn is on record as soon as somebody acts upon it: with all on record, nothing is drawn again."""
    ids = [str(ashore.uuid()), str(ashore.uuid())]
    many = [n for n in range(4) if ashore.random() < 0.5]
    return [*ids, *[str(await number(n)) for n in many], str(ashore.now())]


@pipeline
async def by_strands() -> list[str]:
    async def customer(name: str, pause: float) -> str:
        with ashore.strand(name):
            await slow(len(name), pause)
            order = str(ashore.uuid())
            await ashore.sleep("1s")
            return f"{name} {order} {await number(len(order))}"

    return list(await asyncio.gather(customer("ann", 0.2), customer("bob", 0.1)))


@pipeline
async def first_of() -> list[int]:
    place, value = await ashore.first(slow(1, 0.3), slow(2, 0.1), threaded(3))
    return [place, value, await number(place * 10 + value)]


@pipeline
async def in_time_on_record() -> list[int]:
    """Time-outs that decide a branch."""
    found = []
    for n, pause in ((1, 0.5), (2, 2.0), (3, 1.0)):
        try:
            found.append(await ashore.within("1s", slow(n, pause)))
        except TimeoutError:
            found.append(await number(-n))
    return found


@step(effects=True)
async def charge(order: str) -> str:
    outside(f"charge {order}")
    await anyio.sleep(0.1)
    return f"receipt of {order}"


@pipeline
async def charged() -> list[str]:
    receipts = [await charge(f"order {await number(n)}") for n in range(2)]
    return [*receipts, await charge("order last")]


@pipeline
async def charged_with_ids() -> list[str]:
    """Two helper tasks that each take an id, and then act with it."""

    async def helper(name: str, pause: float) -> str:
        with ashore.strand(name):
            await slow(len(name), pause)
            return await charge(f"{name} {ashore.uuid()}")

    return list(await asyncio.gather(helper("ann", 0.2), helper("robert", 0.1)))


@pipeline
async def charged_as_they_come() -> list[str]:
    """What is done first decides what is charged."""
    receipts, total = [], 0
    for coming in asyncio.as_completed([slow(1, 0.3), slow(2, 0.1), threaded(3)]):
        total = total * 10 + await coming
        receipts.append(await charge(f"total {total}"))
    return receipts


@pipeline
async def charged_if_in_time() -> str:
    try:
        found = await ashore.within("1s", slow(1, 1.0))
    except TimeoutError:
        return await charge("too late")
    return await charge(f"in time {found}")


@pipeline
async def charged_after_a_time_out() -> str:
    """A time-out of asyncio's own, which is on record only by what was done after it."""
    late = slow(1, 2.0)
    try:
        found = await asyncio.wait_for(late, 1.0)
    except TimeoutError:
        return await charge(f"too late, {await number(2)}")
    return await charge(f"in time {found}")


@pipeline
async def charged_equally() -> list[str]:
    """Two charges that look the same are two charges."""
    return [await charge("the same"), await charge("the same")]


class Version:
    """Which version of a body runs: a class, so that it is no constant of anybody's code."""

    is_new = False


@pipeline
async def changed() -> list[str]:
    if Version.is_new:
        return [await charge("order 9 in EUR")]
    return [await charge("order 9")]


@pipeline
async def changed_in_order() -> list[str]:
    if Version.is_new:
        return list(await asyncio.gather(charge("order 10"), charge("order 9")))
    return [await charge("order 9")]


CHARGING = (charged, charged_with_ids, charged_as_they_come, charged_if_in_time, charged_after_a_time_out, charged_equally)

RACING = (completed_first, waited_for_first, anyio_group, by_chance, by_strands, first_of, in_time_on_record)
"""Those whose result depends on what is done first: it is open as long as that is not on record."""

CONSTRUCTS = (
    branch,
    loop,
    comprehension,
    handed_on,
    returned,
    recursion,
    handled,
    handled_further_down,
    again_after_failure,
    unhandled,
    raised,
    failed,
    gathered,
    gathered_with_failures,
    completed_first,
    waited_for_first,
    task_group,
    task_group_that_fails,
    anyio_group,
    in_time,
    in_time_by_scope,
    too_late_but_handed_on,
    racing,
    unpacked,
    equal_calls,
    fanned_out,
    large_values,
    sub_runs,
    sub_run_that_fails,
    sub_run_that_nobody_handles,
    wired_around_a_body,
    shared,
    slept,
    by_chance,
    by_strands,
    first_of,
    in_time_on_record,
)
