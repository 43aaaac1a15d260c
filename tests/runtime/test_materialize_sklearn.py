"""Estimators: predict the same, have a stable content digest; hostile skops files."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any

import pytest

from ashore.materialize import Unloadable, Unserialisable, check_loads_back, dump_value, load_value, may_share

pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io")

import numpy as np  # noqa: E402  # scikit-learn brings it
from sklearn.base import BaseEstimator  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from tests.runtime.samples import sklearn as sample  # noqa: E402  # needs scikit-learn

LARGE = 1 << 30
X = np.round(np.random.default_rng(0).normal(size=(40, 3)))


def stored(value: Any) -> tuple[str, bytes]:
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    return dumped.format, dumped.data


@pytest.mark.parametrize("name", ["linear", "forest", "boosted", "neighbours", "pipeline"])
def test_loaded_estimators_predict_the_same(name: str) -> None:
    model = sample.samples()[name]
    check_loads_back(model, *stored(model))
    loaded = load_value(*stored(model))
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert not may_share("skops/1", loaded)


def test_the_content_is_that_of_the_model_not_of_the_dump() -> None:
    one, equal = (dump_value(sample.samples()["forest"], limit=LARGE) for _ in range(2))
    assert one.content == equal.content
    assert len(one.content) == 32
    assert one.data != equal.data  # which is why there is a content digest
    y = (X[:, 0] > 0).astype(int)
    fits = [LogisticRegression(C=c).fit(X, y) for c in (1.0, 1.0, 2.0)]
    contents = [dump_value(fit, limit=LARGE).content for fit in fits]
    assert contents[0] == contents[1] != contents[2]
    fits[1].coef_ = fits[1].coef_.astype("f4")
    assert dump_value(fits[1], limit=LARGE).content != contents[0]


def test_a_change_that_the_dump_does_not_keep_is_found() -> None:
    model = LinearRegression().fit(X, X[:, 0])
    form, data = stored(model)
    check_loads_back(model, form, data)
    dumped = dump_value(LinearRegression().fit(X, X[:, 1]), limit=LARGE)
    assert dumped.content != dump_value(model, limit=LARGE).content


class Mine(BaseEstimator):  # type: ignore[misc]
    def __init__(self, inner: Any = None) -> None:
        self.inner = inner


def shift(x: Any) -> Any:
    return x + 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Mine(LinearRegression()), r"an estimator with .*Mine inside"),
        (FunctionTransformer(shift), r"an estimator with .*shift inside"),
        (FunctionTransformer(lambda x: x), "cannot be stored|inside"),
        (LinearRegression(n_jobs=iter([1])), "cannot be stored"),
    ],
)
def test_what_is_not_scikit_learns_own_is_refused(model: Any, message: str) -> None:
    with pytest.raises(Unserialisable, match=message):
        dump_value(model, limit=LARGE)


def node(loader: str, module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}


def archive(schema: Any, compression: int = zipfile.ZIP_STORED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as file:
        file.writestr("schema.json", json.dumps(schema))
    return sink.getvalue()


def forged(inner: dict[str, Any]) -> bytes:
    """A linear model in which something else sits."""
    with zipfile.ZipFile(io.BytesIO(skops.dumps(LinearRegression()))) as good:
        schema = json.loads(good.read("schema.json"))
    schema["content"]["content"]["n_jobs"] = inner
    return archive(schema)


EMPTY = node("TupleNode", "builtins", "tuple", content=[])
ARGS = node("TupleNode", "builtins", "tuple", content=[node("JsonNode", "builtins", "str", content='"true"', is_json=True)])
HOSTILE = [
    forged(node("FunctionNode", "os", "system")),
    forged(node("TypeNode", "subprocess", "Popen")),
    forged(node("ObjectNode", "not_imported_yet", "Evil")),
    forged(node("ConstructorFromReduceNode", "antigravity", "fly", content=ARGS)),
    forged(node("FunctionNode", "sklearn.utils._testing", "os")),
    forged(node("FunctionNode", "numpy", "load")),
    forged(node("ObjectNode", "sklearn.tree._tree.Tree.os", "system")),
    forged(node("NoSuchNode", "builtins", "dict")),
    archive({"protocol": 99}),
    archive({}),
    archive({"__class__": "x"} | {"protocol": 0}),
    archive(json.loads('{"protocol": 2}'), zipfile.ZIP_DEFLATED),
    b"PK\x03\x04",
    b"\x80\x04cos\nsystem\n.",
    b"",
]


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_files_are_refused_and_nothing_is_imported_or_run(data: bytes) -> None:
    load_value(*stored(LinearRegression()))  # what loading needs is there
    ran: list[str] = []
    armed = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if armed and event in ("import", "pickle.find_class", "os.system", "subprocess.Popen", "exec"):
            ran.append(f"{event} {args[:1]}")

    sys.addaudithook(hook)
    with pytest.raises(Unloadable):
        load_value("skops/1", data)
    armed = False
    assert ran == []
