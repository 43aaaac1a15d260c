"""Resources, secrets and fakes: what a runtime gives to steps beside their arguments, and what it keeps to itself."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from ashore import (
    GraphError,
    Handle,
    NotSupplied,
    Resource,
    RunFailed,
    Runtime,
    Secret,
    StepError,
    WrongArgument,
    current,
    each,
    pipeline,
    resource,
    secret,
    step,
)
from ashore.engine.failures import failure_of
from ashore.events import StepDefined, StepFailed, StepRan, decode

pytestmark = pytest.mark.anyio

VALUE = "s3cr3t-5f1c9-value"
NAME = "ASHORE_TEST_TOKEN"


class Said(list[str]):
    """What was done. A class of its own: a plain list would be part of the code of the steps that write to it."""


class Pool:
    """What a resource is in these tests: it knows whether it is open."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said, self.is_open = name, said, False

    def query(self, text: str) -> str:
        assert self.is_open
        return f"{self.name}: {text}"

    async def __aenter__(self) -> Pool:
        self.said.append(f"open {self.name}")
        self.is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.said.append(f"close {self.name}")
        self.is_open = False


@step
def ask(text: str, db: Resource[Pool] = resource()) -> str:
    return db.query(text)


@step
async def aask(text: str, *, cache: Resource[Pool] = resource(), db: Resource[Pool] = resource()) -> str:
    return f"{cache.query(text)} {db.query(text)}"


@step
def bare(text: str, db: Resource[Pool]) -> str:  # what a notebook writes: checkers would ask the caller for it
    return db.query(text)


@step
def join(parts: list[str]) -> str:
    return " + ".join(parts)


@pipeline
def both(text: str) -> Handle[str]:
    return join([ask(text), aask(text)])


def pools(said: list[str]) -> dict[str, Any]:
    return {"db": lambda: Pool("db", said), "cache": Pool("cache", said)}


async def test_a_resource_is_opened_when_a_step_needs_it_and_closed_with_the_runtime_in_reverse_order(home: Path) -> None:
    said: list[str] = []
    async with Runtime(home=home, resources=pools(said)) as rt:
        assert said == []
        assert await (await rt.start(ask("a"))) == "db: a"
        assert said == ["open db"]
        assert await (await rt.start(both("b"))) == "db: b + cache: b db: b"
        assert said == ["open db", "open cache"]
    assert said == ["open db", "open cache", "close cache", "close db"]


async def test_it_is_opened_again_by_the_next_block(home: Path) -> None:
    said: list[str] = []
    rt = Runtime(home=home, resources=pools(said))
    for _ in range(2):
        async with rt:
            assert await (await rt.start(ask("a"))) == "db: a"
    assert said == ["open db", "close db"] * 2


async def test_what_is_given_may_be_a_value_or_any_kind_of_context_manager(home: Path) -> None:
    said: list[str] = []

    @step
    def look(a: Resource[Any] = resource(), b: Any = resource(), c: Any = resource("other"), *, n: int = 0) -> list[Any]:
        return [a, b, c, n]

    @contextlib.contextmanager
    def blocking() -> Iterator[str]:
        said.append("open")
        yield "from a with"
        said.append("close")

    async def asynchronous() -> str:
        await anyio.lowlevel.checkpoint()
        return "from an await"

    async with Runtime(home=home, resources={"a": blocking, "b": asynchronous, "other": 3}) as rt:
        assert await (await rt.start(look(n=1))) == ["from a with", "from an await", 3, 1]
    assert said == ["open", "close"]


async def test_what_is_entered_on_a_task_is_left_on_it(home: Path) -> None:
    """A manager with a task group inside breaks if another task leaves it."""
    events: list[str] = []

    async def pulse(task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            events.append("background ended")

    @contextlib.asynccontextmanager
    async def client() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            await group.start(pulse)
            yield "client"
            group.cancel_scope.cancel()

    @step
    def use(text: str, http: Resource[str] = resource()) -> str:
        return http + text

    async with Runtime(home=home, resources={"http": client}) as rt:
        assert await (await rt.start(use("!"))) == "client!"
        assert events == []
    assert events == ["background ended"]


async def test_a_fan_out_shares_one(home: Path) -> None:
    said: list[str] = []

    @pipeline
    def many(texts: list[str]) -> Handle[str]:
        return join(ask(each(texts)))

    async with Runtime(home=home, resources=pools(said)) as rt:
        assert await (await rt.start(many([str(n) for n in range(20)]))) == " + ".join(f"db: {n}" for n in range(20))
    assert said == ["open db", "close db"]


async def test_a_bare_annotation_is_enough_at_run_time(home: Path) -> None:
    async with Runtime(home=home, resources=pools([])) as rt:
        assert await (await rt.start(bare("a"))) == "db: a"  # type: ignore[call-overload]


async def test_all_that_is_missing_is_one_error_at_the_start_and_nothing_is_recorded(home: Path) -> None:
    @step
    def third(text: str, queue: Resource[Any] = resource(), token: Secret = secret("ASHORE_NO_SUCH")) -> str:
        return text

    @pipeline
    def needs(text: str) -> Handle[str]:
        return join([aask(text), ask(text), third(text)])

    async with Runtime(home=home, resources={"http": 1, "cache": 2}) as rt:
        with pytest.raises(NotSupplied) as caught:
            await rt.start(needs("a"))
        assert rt.stack.log.statistics().written == 0
    assert (caught.value.resources, caught.value.secrets) == (("db", "queue"), ("ASHORE_NO_SUCH",))
    assert "lacks the resource 'db' (of aask, ask), the resource 'queue' (of third), the secret 'ASHORE_NO_SUCH' (of third)" in str(
        caught.value
    )
    assert "it has the resources 'http', 'cache'" in str(caught.value)
    assert "Runtime(resources={'db': ...})" in caught.value.mend


async def test_one_that_cannot_be_opened_fails_the_attempt_and_is_tried_again(home: Path) -> None:
    tries: list[int] = []

    @contextlib.asynccontextmanager
    async def flaky() -> AsyncIterator[str]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no route")
        yield "up"

    @step
    def use(text: str, db: Resource[str] = resource()) -> str:
        return db + text

    async with Runtime(home=home, resources={"db": flaky}) as rt:
        with pytest.raises(RunFailed) as caught:
            await (await rt.start(use("a")))
        assert isinstance(caught.value.failures[0], OSError)
        assert "while the resource 'db' was opened" in caught.value.failures[0].__notes__
        assert await (await rt.start(use("b"))) == "upb"


async def test_what_closing_raises_is_raised_after_the_others_are_closed(home: Path) -> None:
    said: list[str] = []

    @contextlib.asynccontextmanager
    async def bad() -> AsyncIterator[Pool]:
        async with Pool("cache", said) as pool:
            yield pool
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        async with Runtime(home=home, resources={**pools(said), "cache": bad}) as rt:
            await (await rt.start(aask("a")))
    assert said == ["open cache", "open db", "close db", "close cache"]

    async def leave_by_another() -> None:
        async with Runtime(home=home, resources={**pools(said), "cache": bad}) as rt:
            await (await rt.start(aask("b")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # the block's own exception comes first
        await leave_by_another()


async def test_one_that_dies_by_itself_is_told_to_whoever_needs_it_then(home: Path) -> None:
    broke = anyio.Event()

    async def background() -> None:
        await broke.wait()
        raise OSError("connection lost")

    @contextlib.asynccontextmanager
    async def client() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(background)
            yield "up"

    @step
    def use(text: str, http: Resource[str] = resource()) -> str:
        return http + text

    @step
    def other(text: str, late: Resource[int] = resource()) -> int:
        return late

    async def main() -> None:
        async with Runtime(home=home, resources={"http": client, "late": 1}) as rt:
            assert await (await rt.start(use("a"))) == "upa"
            broke.set()
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RunFailed) as caught:
                await (await rt.start(other("b")))
            assert "'late' cannot be opened" in str(caught.value.failures[0])
            assert "connection lost" in str(caught.value.failures[0])

    with pytest.raises(ExceptionGroup) as caught:
        await main()
    assert [str(error) for error in caught.value.exceptions] == ["connection lost"]


async def test_one_that_does_not_close_is_given_up_after_the_grace_time(home: Path) -> None:
    @contextlib.asynccontextmanager
    async def sticky() -> AsyncIterator[str]:
        yield "here"
        await anyio.sleep_forever()

    @step
    def use(text: str, db: Resource[str] = resource()) -> str:
        return db + text

    with anyio.fail_after(20):
        async with Runtime(home=home, resources={"db": sticky}, grace=0.05) as rt:
            assert await (await rt.start(use("a"))) == "herea"


async def test_in_a_body_the_call_that_lacks_something_fails(home: Path) -> None:
    @pipeline
    async def decides(text: str) -> str:
        try:
            return await ask(text)
        except NotSupplied as lacking:
            return ", ".join(lacking.resources)

    async with Runtime(home=home) as rt:
        assert await (await rt.start(decides("a"))) == "db"
    async with Runtime(home=home, resources=pools([])) as rt:
        assert await (await rt.start(decides("a"))) == "db: a"


async def test_a_resource_is_in_no_key_and_a_caller_cannot_pass_it(home: Path) -> None:
    calls = Said()

    @step(cache=True)
    def count(text: str, db: Resource[Any] = resource()) -> int:
        calls.append(db)
        return len(calls)

    for value in ("one", "two"):
        async with Runtime(home=home, resources={"db": value}) as rt:
            assert await (await rt.start(count("a"))) == 1
    assert calls == ["one"]  # the second runtime found it
    with pytest.raises(WrongArgument, match=r"`db`, which the runtime fills"):
        ask("a", db=Pool("x", []))
    with pytest.raises(WrongArgument, match="takes 1 argument by position"):
        ask("a", Pool("x", []))
    pool = Pool("x", [])
    pool.is_open = True
    assert ask.fn("a", pool) == "x: a"
    with pytest.raises(NotSupplied, match="unit test"):
        ask.fn("a")


def test_signatures_that_cannot_be_filled_are_refused() -> None:
    def positional(db: Resource[Any] = resource(), /) -> None: ...
    def starred(db: Resource[Any] = resource(), *rest: int) -> None: ...
    def nameless(token: Secret) -> None: ...
    def defaulted(db: Resource[Any] = None) -> None: ...

    for fn in (positional, starred, nameless, defaulted):
        with pytest.raises(GraphError):
            step(fn)

    @step
    def fine(*rest: int, db: Resource[Any] = resource()) -> None: ...

    with pytest.raises(GraphError, match="go to steps"):

        @pipeline
        def wired(db: Resource[Any] = resource()) -> None: ...


# Secrets.


@step
def fetch(path: str, token: Secret = secret(NAME)) -> int:
    return len(token.value) + len(path)


@step
def leak(how: str, token: Secret = secret(NAME)) -> Any:
    return LEAKS[how](token)


def by_message(token: Secret) -> Any:
    raise ValueError(f"bad token {token.value}", {"auth": [token.value.encode()]})


def by_cause(token: Secret) -> Any:
    try:
        raise KeyError(token.value)
    except KeyError as error:
        raise RuntimeError("no luck") from error


def by_note(token: Secret) -> Any:
    problem = RuntimeError("no luck")
    problem.add_note(f"with {token.value}")
    raise problem


def by_class(token: Secret) -> Any:
    raise type(token.value, (Exception,), {})("odd")


def by_print(token: Secret) -> int:
    print("with", token.value, "of", [token.value])
    return 1


def by_logging(token: Secret) -> int:
    logging.getLogger("shop").warning("token %s", token.value)
    return 1


LEAKS: dict[str, Callable[[Secret], Any]] = {
    "message": by_message,
    "cause": by_cause,
    "note": by_note,
    "class": by_class,
    "print": by_print,
    "logging": by_logging,
    "checkpoint": lambda token: current().checkpoint([token.value]),
    "large": lambda token: ["x" * 40_000, token.value],
    "small": lambda token: {"headers": [f"Bearer {token.value}"]},
}


def holds(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_a_secret_has_its_value_inside_the_step_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, VALUE)
    async with Runtime(home=home) as rt:
        run = await rt.start(fetch("a"))
        assert await run == len(VALUE) + 1
        events = [frame async for frame in rt.stack.log.read()]
    assert events
    assert holds(home, VALUE) == []
    assert holds(home, NAME) != []  # its name is on record


@pytest.mark.parametrize("how", ["message", "cause", "note", "class", "large", "small", "checkpoint"])
async def test_no_way_out_puts_its_value_on_disk_or_into_what_is_raised(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    monkeypatch.setenv(NAME, VALUE)
    async with Runtime(home=home) as rt:
        run = await rt.start(leak(how))
        with pytest.raises(RunFailed) as caught:
            await run
        recorded = [happened.event async for happened in run.events()]
    assert holds(home, VALUE) == []
    live = failure_of(caught.value.failures[0])
    assert VALUE not in str(live)
    assert VALUE.encode() not in live.arguments
    assert any(isinstance(event, StepFailed) for event in recorded)
    assert VALUE not in "".join(capfd.readouterr())
    if how == "message":
        assert caught.value.failures[0].args == (f"bad token secret('{NAME}')", {"auth": [f"secret('{NAME}')".encode()]})
    if how in ("large", "small", "checkpoint"):
        assert isinstance(caught.value.failures[0], StepError)
        assert not any(isinstance(event, StepRan) for event in recorded)


@pytest.mark.parametrize("how", ["print", "logging"])
async def test_what_a_step_prints_is_kept_without_it(home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv(NAME, VALUE)
    async with Runtime(home=home) as rt:
        run = await rt.start(leak(how))
        assert await run == 1
        assert f"secret('{NAME}')" in str(await run.logs())
    assert holds(home, VALUE) == []


async def test_its_name_is_shown_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Secret("TOKEN", VALUE)
    assert {repr(held), str(held), f"{held}", f"{held!r}", "".join(map(str, [held]))} == {"secret('TOKEN')"}
    assert held.value == VALUE
    assert VALUE not in repr([held, vars(type(held))])
    assert fetch.fn("a", Secret("TOKEN", "xyz")) == 4
    with pytest.raises(NotSupplied, match="no value here"):
        fetch.fn("a")


@pytest.mark.parametrize("source", [{NAME: VALUE}, {NAME: VALUE}.get])
async def test_secrets_come_from_a_mapping_or_a_function(home: Path, source: Any) -> None:
    async with Runtime(home=home, secrets=source) as rt:
        assert await (await rt.start(fetch("a"))) == len(VALUE) + 1


async def test_a_secret_that_is_not_there_is_an_error_at_the_start(home: Path) -> None:
    assert NAME not in os.environ
    async with Runtime(home=home) as rt:
        with pytest.raises(NotSupplied, match="set it in the environment") as caught:
            await rt.start(fetch("a"))
        assert caught.value.secrets == (NAME,)


async def test_a_secret_is_in_no_key_but_its_name_is_part_of_the_code(home: Path) -> None:
    calls = Said()

    @step(cache=True)
    def count(text: str, token: Secret = secret(NAME)) -> int:
        calls.append(text)
        return len(calls)

    for value in (VALUE, VALUE + "2"):
        async with Runtime(home=home, secrets={NAME: value}) as rt:
            run = await rt.start(count("a"))
            assert await run == 1
            defined = [
                e
                for f in [f async for f in rt.stack.log.read()]
                for e in decode(f.batch.body, f.count)
                if isinstance(e, StepDefined)
            ]
            assert NAME in str(defined[0].parts)


# Fakes.

charged = Said()


@step
def charge(order: str, amount: float = 1.0, *, bank: Resource[Any] = resource()) -> str:
    charged.append(order)
    return f"paid {order}"


@step
def receipt(paid: str) -> str:
    return f"receipt: {paid}"


@pipeline
def shop(order: str) -> Handle[str]:
    return receipt(charge(order, 2.0))


async def test_a_fake_runs_in_the_place_of_a_step_and_needs_nothing_of_its_resources(home: Path) -> None:
    asked: list[Any] = []

    async def fake(order: str, amount: float) -> str:
        asked.append((order, amount))
        return "pretended"

    async with Runtime(home=home, replace={charge: fake}) as rt:
        assert await (await rt.start(shop("7"))) == "receipt: pretended"
        assert await (await rt.start(charge("8"))) == "pretended"
    assert asked == [("7", 2.0), ("8", 1.0)]
    assert charged == []


async def test_results_of_a_fake_and_of_the_step_do_not_mix(home: Path) -> None:
    @step(cache=True)
    def price(item: str) -> int:
        return 100

    for fake, wanted in ((lambda item: 1, 1), (None, 100), (lambda item: 2, 2), (lambda item: 1, 1)):
        async with Runtime(home=home, replace={price: fake} if fake else {}) as rt:
            assert await (await rt.start(price("tea"))) == wanted


async def test_a_fake_may_be_a_method_or_a_step_with_resources_of_its_own(home: Path) -> None:
    class Bank:
        def __init__(self) -> None:
            self.orders: list[str] = []

        def charge(self, order: str, amount: float) -> str:
            self.orders.append(order)
            return "by the bank"

    @step
    def other(order: str, amount: float, ledger: Resource[list[str]] = resource()) -> str:
        ledger.append(order)
        return "by a step"

    bank, ledger = Bank(), list[str]()
    async with Runtime(home=home, replace={charge: bank.charge}) as rt:
        assert await (await rt.start(shop("7"))) == "receipt: by the bank"
    async with Runtime(home=home, replace={charge: other}, resources={"ledger": ledger}) as rt:
        assert await (await rt.start(shop("8"))) == "receipt: by a step"
    assert (bank.orders, ledger, charged) == (["7"], ["8"], [])


def test_a_fake_that_cannot_be_called_as_the_step_is_refused_at_once() -> None:
    with pytest.raises(WrongArgument, match="amount"):
        Runtime(replace={charge: lambda order: "x"})
    with pytest.raises(WrongArgument, match="steps to replace"):
        Runtime(replace={shop: lambda order: "x"})  # type: ignore[dict-item]
    with pytest.raises(WrongArgument, match="no Python function"):
        Runtime(replace={charge: print})
