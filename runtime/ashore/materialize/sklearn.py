"""scikit-learn estimators: the skops format, with a closed list of what may be in it.

A skops file names the classes that it is made of. What skops itself holds safe is loaded, and beside that only the parts of
estimators that are listed here; an estimator with a class or function of a user inside is refused when it is dumped. Dumps of equal
estimators differ in the names of their members, so a content digest is taken over what they say.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import skops.io
from sklearn.base import BaseEstimator
from skops.io.exceptions import UnsupportedTypeException

from ashore.materialize.base import Materializer, Unloadable, Unserialisable
from ashore.materialize.numpy import NumpyMaterializer
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

_SCHEMA: Final = "schema.json"
_UNSTABLE: Final = frozenset({"__id__", "_skops_version", "protocol"})

_SAFE: Final = re.compile(
    r"""
    sklearn\.tree\._tree\.Tree
    | sklearn\.metrics\._dist_metrics\.[A-Z]\w*Distance(32|64)?
    | sklearn\.neighbors\._(kd|ball)_tree\.(KD|Ball)Tree(32|64)?
    | sklearn\.gaussian_process\.kernels\.
        (CompoundKernel|ConstantKernel|DotProduct|ExpSineSquared|Exponentiation|Matern|PairwiseKernel|Product|RBF|RationalQuadratic|Sum|WhiteKernel)
    | sklearn\.gaussian_process\._gpc\._BinaryGaussianProcessClassifierLaplace
    | sklearn\.ensemble\._hist_gradient_boosting\.(binning\._BinMapper|predictor\.TreePredictor)
    | sklearn\.neural_network\._stochastic_optimizers\.(Adam|SGD)Optimizer
    | sklearn\.calibration\._(CalibratedClassifier|SigmoidCalibration)
    | sklearn\.cluster\._bisect_k_means\._BisectingTree
    | sklearn\.cluster\._kmeans\._kmeans_single_(elkan|lloyd)
    | sklearn\.feature_selection\._univariate_selection\.(chi2|f_classif|f_oneway|f_regression|r_regression)
    | sklearn\.feature_selection\._mutual_info\.mutual_info_(classif|regression)
    | sklearn\._loss\.(loss|link)\.[A-Z]\w*(Loss|Error|Identity|Link|Logit|Interval)
    | sklearn\._loss\._loss\.Cy[A-Z]\w*
    | numpy\.(dtype|mean|median)
    | scipy\.sparse\._(csr|csc|coo)\.(csr|csc|coo)_(matrix|array)
    """,
    re.VERBOSE,
)
"""Parts of estimators: classes without code of their own in what is stored, and functions that are only kept, not called."""


class SkopsMaterializer:
    """Estimators of scikit-learn, fitted or not, pipelines of them included."""

    format = "skops/1"

    def dump(self, value: Any, sink: Sink) -> None:
        try:
            data = skops.io.dumps(value)
        except UnsupportedTypeException as error:
            raise Unserialisable(
                f"skops cannot store it: {str(error).rstrip('.')}", mend="Return another estimator, or what it predicts"
            ) from error
        unsafe = _unsafe(data)
        if unsafe:
            raise Unserialisable(
                f"an estimator with {', '.join(unsafe)} inside, which is not among what is loaded without question",
                mend="Use estimators of scikit-learn itself, or register a materializer for your class",
            )
        sink.write(data)

    def load(self, data: Buffer) -> Any:
        raw = bytes(data)
        unsafe = _unsafe(raw)
        if unsafe:
            raise Unloadable(f"a skops file with {', '.join(unsafe)} inside: nothing of it was loaded")
        return skops.io.loads(raw, trusted=skops.io.get_untrusted_types(data=raw))

    def content(self, value: Any) -> bytes:
        return self.content_of(skops.io.dumps(value))

    def content_of(self, data: Buffer) -> bytes:
        """SHA-256 of the schema, with the digests of members in the place of their names and sets in order."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: _member(name, archive.read(name)) for name in archive.namelist() if name != _SCHEMA}
            schema = json.loads(archive.read(_SCHEMA))
        return hashlib.sha256(json.dumps(_stable(schema, members), separators=(",", ":")).encode()).digest()

    def shares(self, value: Any) -> bool:
        return False


def _unsafe(data: bytes) -> list[str]:
    """Names in the file that are not allowed. Imports and builds nothing. Raises `Unloadable` if it is no skops file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            packed = [member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
        names = [] if packed else skops.io.get_untrusted_types(data=data)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, RecursionError, NotImplementedError) as error:
        raise Unloadable(f"not a skops file: {error}") from error
    if packed:
        raise Unloadable("a skops file with compressed members: none of ours has any")
    return [name for name in names if not _SAFE.fullmatch(name)]


def _member(name: str, data: bytes) -> str:
    """The digest of a member; of an array without what lies in the gaps between the fields of its records (trees have such)."""
    sink = _Hashing()
    if name.endswith(".npy"):
        _arrays.dump(_arrays.load(data), sink)
    else:
        sink.write(data)
    return sink.hexdigest()


class _Hashing:
    """A sink that takes the digest."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: Buffer, /) -> int:
        self._hash.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _stable(node: Any, members: Mapping[str, str]) -> Any:
    """A node of the schema without what differs between dumps of equal objects."""
    if isinstance(node, list):
        return [_stable(item, members) for item in node]
    if not isinstance(node, dict):
        return node
    if "__loader__" not in node:
        return {key: _stable(item, members) for key, item in node.items()}
    stable = {key: _stable(item, members) for key, item in node.items() if key not in _UNSTABLE}
    if isinstance(node.get("file"), str):
        stable["file"] = members.get(node["file"], "")
    if node["__loader__"] == "SetNode":
        stable["content"] = sorted(stable["content"], key=json.dumps)
    return stable


_arrays: Final = NumpyMaterializer()

MATERIALIZERS: Mapping[type, Materializer] = {BaseEstimator: SkopsMaterializer()}
