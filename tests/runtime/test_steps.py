"""Steps and pipelines: decoration, binding, what is refused and in which words."""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.calls import Bound
from ashore.definitions import without_handles
from ashore.errors import GraphError, NotInThisVersion, WrongArgument
from ashore.files import File
from ashore.handles import Handle, Handles
from ashore.outputs import Outputs
from ashore.signatures import Binder
from ashore.steps import Pipeline, Step, Work, evaluator, new, pipeline, step, trainer

if TYPE_CHECKING:
    from collections import OrderedDict as OnlyForCheckers


class Parts(Outputs):
    train: int
    test: str


class Pair(NamedTuple):
    train: int
    test: str


@step
def fit(train: int, valid: int | None = None, *, lr: float = 0.1) -> float:
    """Fit it.

    Well.
    """
    return train * lr


@step
async def weather(day: str) -> dict[str, float]:
    return {}


@pipeline
def retrain(file: File, lr: float = 0.1) -> Handle[float]:
    return fit(1, lr=lr)


@dataclass(frozen=True)
class Trainer:
    depth: int

    @step
    def fit(self, train: int, *, lr: float = 0.1) -> float:
        return self.depth * train * lr


def bound(work: Work[Any, Any], *args: Any, **kwargs: Any) -> Bound:
    call = work(*args, **kwargs)
    call.claim()
    result: Bound = call.bound
    return result


# --- What a decorated function is.


def test_it_looks_like_the_function() -> None:
    assert str(inspect.signature(fit)) == str(inspect.signature(fit.fn))
    assert inspect.getdoc(fit) == fit.doc == "Fit it.\n\nWell."
    assert fit.__name__ == "fit"
    assert fit.__wrapped__ is fit.fn
    assert fit.__module__ == __name__
    assert repr(fit).startswith(f"<step fit(train, valid=None, *, lr=0.1) at {__file__}:")


def test_what_the_engine_asks_of_it() -> None:
    assert isinstance(fit, Step)
    assert isinstance(retrain, Pipeline)
    assert (fit.name, fit.role, fit.is_async, weather.is_async) == ("fit", "step", False, True)
    assert (trainer(fit.fn).role, evaluator(fit.fn).role, retrain.role) == ("trainer", "evaluator", "pipeline")
    assert inspect.getsourcelines(fit.fn)[1] == fit.line
    assert fit.file == __file__
    assert [p.name for p in fit.parameters] == ["train", "valid", "lr"]
    assert [p.annotation for p in fit.parameters] == [int, int | None, float]
    assert [p.is_required for p in fit.parameters] == [True, False, False]
    assert fit.returns is float
    assert retrain.returns is float


def test_fn_is_the_plain_function() -> None:
    assert fit.fn(3, lr=2.0) == 6.0


def test_steps_are_not_copied_by_copies() -> None:
    assert copy.deepcopy({"step": fit})["step"].name == "fit"


def test_local_functions_and_types_are_known_by_their_own_name() -> None:
    class Local: ...

    @step
    def made(of: Local) -> Local:
        return of

    assert made.name == "made"
    assert made.returns is Local
    assert made.parameters[0].annotation is Local


def test_a_type_that_is_defined_later_is_found() -> None:
    @step
    def made() -> LaterDefined:
        return LaterDefined()

    assert made.returns is LaterDefined


class LaterDefined: ...


def test_a_parameter_whose_type_cannot_be_read_is_not_checked() -> None:
    @step
    def taken(it: OnlyForCheckers[str, int], n: int) -> int:
        return n

    assert [p.annotation for p in taken.parameters] == [None, int]


def test_a_result_whose_type_cannot_be_read_is_one_clear_error() -> None:
    @step
    def made() -> OnlyForCheckers[str, int]:
        raise AssertionError

    with pytest.raises(GraphError, match=r"`OnlyForCheckers.*`, cannot be read at run time") as caught:
        _ = made.outputs
    assert caught.value.where == f"{__file__}:{made.line}"
    assert "TYPE_CHECKING" in caught.value.mend


# --- Outputs.


def test_several_outputs_come_from_tuples_and_outputs_classes_only() -> None:
    @step
    def pair() -> tuple[int, str]:
        return 1, "x"

    @step
    async def triple() -> tuple[int, str, float]:
        return 1, "x", 0.5

    @step
    def named() -> Parts:
        return Parts(1, "x")

    @step
    def vague() -> tuple[int, ...]:
        return (1,)

    @step
    def one() -> Pair:
        return Pair(1, "x")

    @step
    def untyped():  # type: ignore[no-untyped-def]
        return 1, 2

    @pipeline
    def wired() -> tuple[Handle[int], Handles[str]]:
        raise AssertionError

    assert [work.outputs for work in (pair, triple, named, wired)] == [2, 3, ("train", "test"), 2]
    assert [work.outputs for work in (vague, one, untyped)] == [None, None, None]
    assert [pair.produced(0), pair.produced(1), pair.produced(None)] == [int, str, tuple[int, str]]
    assert [named.produced(1), named.produced(None)] == [str, Parts]
    assert [wired.produced(0), wired.produced(1)] == [int, list[str]]
    assert untyped.produced(None) is None


def test_what_handles_in_annotations_stand_for() -> None:
    assert without_handles(Handle[int]) is int
    assert without_handles(Handles[int]) == list[int]
    assert without_handles(tuple[Handle[int], str]) == tuple[int, str]
    assert without_handles(dict[str, int]) == dict[str, int]
    assert without_handles(Handle) is None


def test_an_output_named_like_something_of_handles_is_refused() -> None:
    class Bad(Outputs):
        send: int

    @step
    def bad() -> Bad:
        return Bad(1)

    with pytest.raises(GraphError, match=r"bad has an output named `send`.*another name"):
        _ = bad.outputs


# --- Methods.


def test_a_method_is_a_step_whose_first_input_is_self() -> None:
    it = Trainer(2)
    call = bound(it.fit, 3, lr=0.5)
    assert call.arguments == {"self": it, "train": 3, "lr": 0.5}
    assert call.work is Trainer.fit
    assert it.fit.name == "Trainer.fit"
    assert it.fit.fn(3, lr=0.5) == 3.0
    assert bound(Trainer.fit, it, 3).arguments == {"self": it, "train": 3, "lr": 0.1}
    assert str(inspect.signature(it.fit)) == "(train: 'int', *, lr: 'float' = 0.1) -> 'float'"


# --- Calls: arguments by name, in order, with defaults.


def test_arguments_stand_in_the_order_of_the_parameters() -> None:
    assert list(bound(fit, lr=1.0, train=2).arguments.items()) == [("train", 2), ("valid", None), ("lr", 1.0)]
    assert list(bound(fit, 2, 3).arguments.items()) == [("train", 2), ("valid", 3), ("lr", 0.1)]
    assert repr(bound(fit, lr=1.0, train=2)) == "fit(train=2, lr=1.0)"


@pytest.mark.parametrize(
    ("call", "what", "mend"),
    [
        (lambda f: f(1, lrr=2), "fit has no parameter `lrr`", "Did you mean `lr`?"),
        (lambda f: f(1, zzz=2), "fit has no parameter `zzz`", "It takes (train, valid=None, *, lr=0.1)"),
        (lambda f: f(), "fit(...) lacks `train`", "It takes (train"),
        (lambda f: f(lr=1), "fit(...) lacks `train`", "It takes (train"),
        (lambda f: f(1, 2, 3), "fit takes 2 arguments by position, 3 were given", "It takes (train"),
        (lambda f: f(1, train=2), "fit was given `train` twice", "It takes (train"),
    ],
)
def test_wrong_arguments_say_what_where_and_how_to_mend_it(call: Any, what: str, mend: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        call(fit)
    error = caught.value
    assert what in error.what
    assert mend in error.mend
    assert error.where.startswith(f"{__file__}:")
    assert all(part in str(error) for part in (error.what, error.where, error.mend))
    assert isinstance(error, TypeError)


def test_stars_and_positional_only_parameters() -> None:
    @step
    def odd(a: int, /, b: int = 2, *rest: int, c: int = 3, **more: int) -> int:
        return a

    assert not odd.is_simple
    assert fit.is_simple
    call = bound(odd, 1, 5, 6, 7, c=9, z=10)
    assert call.arguments == {"a": 1, "b": 5, "rest": (6, 7), "c": 9, "more": {"z": 10}}
    assert bound(odd, 1).arguments == {"a": 1, "b": 2, "rest": (), "c": 3, "more": {}}
    with pytest.raises(WrongArgument, match="lacks `a`"):
        odd(b=1)  # type: ignore[call-overload]


SIGNATURES: list[Any] = [
    lambda a, b=2, *, c=3, d: ...,
    lambda a, b, c: ...,
    lambda a=1, b=2: ...,
    lambda *, a, b=2: ...,
    lambda a, /, b, *, c=3: ...,
    lambda a, *b, c=3, **d: ...,
    lambda a, /, a2=2, **kw: ...,
    lambda: ...,
]


@given(
    st.sampled_from(SIGNATURES),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(), max_size=4),
)
def test_binding_is_python_s_own(fn: Any, args: list[int], kwargs: dict[str, int]) -> None:
    binder = Binder("f", fn)
    try:
        fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(WrongArgument):
            binder.bind(args, kwargs)
        return
    wanted = inspect.signature(fn).bind(*args, **kwargs)
    wanted.apply_defaults()
    assert list(binder.bind(args, kwargs).items()) == list(wanted.arguments.items())


# --- Options.


def test_options_are_read_and_changed_for_one_call() -> None:
    @step(cache=False)
    def noted(a: int) -> int:
        return a

    @pipeline(on=new("inbox/*.csv"), limit=2)
    def triggered(file: File) -> Handle[int]:
        return noted(1)

    assert (noted.options.cache, fit.options.cache) == (False, None)
    assert (triggered.options.limit, triggered.options.on) == (2, new("inbox/*.csv"))
    keyed = noted.options(key="a")
    call = bound(keyed, 1)
    assert call.options.key == "a"
    assert call.options.cache is False
    assert call.work is noted
    assert noted.options.key == ""


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"process": 1}, "process=1 is neither True nor False"),
        ({"seed": -1}, "seed=-1 is no seed"),
        ({"seed": True}, "seed=True is no seed"),
        ({"seed": "0"}, "seed='0' is no seed"),
    ],
)
def test_a_process_and_a_seed_are_checked_at_decoration(asked: dict[str, Any], what: str) -> None:
    with pytest.raises(GraphError, match=what):
        step(**asked)(fit.fn)


@pytest.mark.parametrize("asked", [{"process": True}, {"seed": 0}], ids=lambda asked: next(iter(asked)))
def test_what_runs_on_the_loop_has_no_process_of_its_own(asked: dict[str, Any]) -> None:
    async def act() -> None: ...

    with pytest.raises(GraphError, match=r"act is an `async def` with .*=: it runs on the loop"):
        step(**asked)(act)


def test_options_that_ask_for_nothing_pass() -> None:
    assert step(retry=0, timeout=None, effects=False, process=False, gpus=0, seed=None, store=True)(fit.fn).name == "fit"


def test_options_combine_and_unknown_ones_are_named() -> None:
    assert step(cache=True)(fit.fn).options.cache is True
    wrong: Any = step
    with pytest.raises(WrongArgument, match=r"@step has no option `cach`\. Did you mean `cache`\?") as caught:
        wrong(cach=True)
    assert caught.value.where.startswith(__file__)
    wrong = pipeline
    with pytest.raises(WrongArgument, match="@pipeline has no option `gpus`"):
        wrong(gpus=1)


@pytest.mark.parametrize("limit", [0, -1, True, "four", 1.5])
def test_a_limit_is_a_number_of_runs_or_a_rate(limit: Any) -> None:
    with pytest.raises(GraphError, match=r"is no limit.*limit=4"):
        pipeline(limit=limit)(retrain.fn)


def test_a_trigger_is_made_by_new() -> None:
    wrong: Any = "inbox/*.csv"
    with pytest.raises(GraphError, match=r'is no trigger.*Write on=new\("inbox/\*\.csv"\)'):
        pipeline(on=wrong)(retrain.fn)
    with pytest.raises(GraphError, match="names no files"):
        new("  ")


# --- Triggers: where arrivals go.


def test_arrivals_go_to_the_one_parameter_of_files() -> None:
    @pipeline
    def grow(files: list[File], lr: float = 0.1) -> Handle[float]:
        return fit(1)

    assert (retrain.arrival[0].name, retrain.arrival[1]) == ("file", False)
    assert (grow.arrival[0].name, grow.arrival[1]) == ("files", True)


def test_a_triggered_pipeline_without_one_is_refused_at_decoration() -> None:
    on = pipeline(on=new("inbox/*.csv"))
    with pytest.raises(GraphError, match=r"none_ is triggered by files.*: none\. Annotate one: file: File") as caught:

        @on
        def none_(path: str) -> None: ...

    assert __file__ in caught.value.where
    with pytest.raises(GraphError, match="`a`, `b`"):

        @on
        def two(a: File, b: list[File]) -> None: ...

    with pytest.raises(GraphError, match=r"nobody gives it `lr`.*default"):

        @on
        def needy(file: File, lr: float) -> None: ...


# --- What cannot be decorated.


def anything(*args: Any) -> Any: ...


class Called:
    def __call__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("thing", "mend"),
    [
        (Called, "Wrap it"),
        (Called(), "Wrap it"),
        (len, "Wrap it"),
        (partial(print, 1), "Wrap it"),
        (lambda: 1, "Wrap it in a `def` with a name"),
        (fit, "Decorate it once"),
        (staticmethod(len), "Put @staticmethod above @step"),
        (classmethod(anything), "Write a plain function"),
        (3, "Wrap it"),
        ("inbox/*.csv", "Options go by name"),
    ],
    ids=str,
)
def test_only_functions_made_by_def_are_decorated(thing: Any, mend: str) -> None:
    decorate: Any = step
    with pytest.raises(GraphError, match="@step takes a function made by `def`") as caught:
        decorate(thing)
    assert mend in caught.value.mend
    assert caught.value.where.startswith(__file__)


def test_staticmethod_above_the_step_works() -> None:
    class Space:
        @staticmethod
        @step
        def inner(a: int) -> int:
            return a

    assert bound(Space.inner, 1).arguments == {"a": 1}


def test_generators_come_later() -> None:
    def rows(path: str) -> Iterator[int]:
        yield 1

    async def batches(path: str) -> AsyncIterator[int]:
        yield 1

    for fn in (rows, batches):
        with pytest.raises(NotInThisVersion, match=f"{fn.__name__} is a generator.*Return a list") as caught:
            step(fn)
        assert caught.value.where == f"{__file__}:{fn.__code__.co_firstlineno}"
