"""The frameworks: one module each, in one table.

A framework is what `Framework` says, offered by a module. Adding one costs the module and its place in FRAMEWORKS; the
order is that of asking, most particular first. No module imports its library before it must: where it is not installed,
the others still serve.

    detect(path) -> its name        load(folder, manifest) -> framework and model        of(model) -> framework

Others may add theirs, by an entry point of the group `medley.frameworks` that names such a module.
"""

import functools
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serving.codecs import Data
from serving.errors import InvalidModel
from serving.frameworks import catboost, lightgbm, onnx, sklearn, skops, torchscript, xgboost
from serving.frameworks.loading import Loading
from serving.frameworks.versions import Watch
from serving.signature import Signature

if TYPE_CHECKING:
    from serving.manifest import Manifest


class Framework(Protocol):
    """What a framework's module offers. Shapes and errors are said in the modules."""

    NAME: str
    LIBRARY: str  # the module that must be there
    DISTRIBUTIONS: tuple[str, ...]  # any of these installs it
    METHODS: tuple[str, ...]  # what predict_method may be; the first is the default
    PRELOAD: tuple[str, ...]  # modules for the zygote to import: none that start threads
    READS_OLDER: bool  # whether a newer version promises to read an older one's files

    def detect(self, path: Path, /) -> bool: ...
    def saved_by(self, path: Path, /) -> str | None: ...
    def model_fn(self, path: Path, loading: Loading, /) -> Any: ...
    def owns(self, model: Any, /) -> bool: ...
    def signature(self, model: Any, /) -> Signature: ...
    def methods(self, model: Any, /) -> tuple[str, ...]: ...
    def check_method(self, model: Any, method: str | None, /) -> None: ...
    def input_fn(self, data: Data, /) -> Any: ...
    def predict_fn(self, data: Any, model: Any, method: str | None = None, /) -> np.ndarray: ...


def _table() -> dict[str, Framework]:
    """Ours, then others', then scikit-learn, which takes what nobody else does."""
    ours: list[Framework] = [xgboost, lightgbm, catboost, onnx, torchscript, skops]
    last: list[Framework] = [sklearn]
    return {framework.NAME: framework for framework in ours + _others() + last}


def _others() -> list[Framework]:
    found = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            found.append(point.load())
        except Exception as error:  # noqa: BLE001  others' code may raise anything; ours serves without it
            BROKEN[point.name] = f"{type(error).__name__}: {error}"
    return found


ENTRY_POINTS = "medley.frameworks"
BROKEN: dict[str, str] = {}  # others' frameworks that cannot be imported, and why
FRAMEWORKS: dict[str, Framework] = _table()
EXTRAS = frozenset({"lightgbm", "catboost", "onnx", "torchscript", "skops"})  # pip install 'medley[NAME]'


def detect(path: Path) -> str | None:
    """The name of the framework whose model the file looks like."""
    return next((name for name, framework in FRAMEWORKS.items() if framework.detect(path)), None)


def of(model: Any) -> Framework | None:
    """The framework that predicts with a loaded model."""
    return next((framework for framework in FRAMEWORKS.values() if framework.owns(model)), None)


def load(folder: Path, manifest: "Manifest", loading: Loading | None = None) -> tuple[Framework, Any]:
    """The model that the manifest names, and the framework that predicts with it: a pickle's may be another than was
    detected. loading: what the container allows. Raises InvalidModel, OutOfMemory."""
    loading = loading or Loading(manifest.estimator)
    assert manifest.framework is not None, "manifest.find answers with both, or raises"
    assert manifest.model_file is not None
    framework = FRAMEWORKS[manifest.framework]
    _check_installed(framework)
    path = folder / manifest.model_file
    if not path.stat().st_size:
        raise InvalidModel("The model file is empty: 0 bytes.")
    with Watch(loading.version_skew) as watch:
        for saved in (manifest.framework_version, framework.saved_by(path)):
            watch.saw(framework.DISTRIBUTIONS[-1], saved, version(framework), framework.READS_OLDER)
        model = framework.model_fn(path, loading)
    if (owner := of(model)) is None:
        raise InvalidModel(
            f"The model file holds a {type(model).__name__}, which none of the frameworks here predicts with. "
            "Save the model itself, or write code/inference.py with model_fn and predict_fn."
        )
    if not _is_fitted(model):
        raise InvalidModel(
            f"The model file holds a {type(model).__name__} that has not been fitted. Save it after fit()."
        )
    return owner, model


def _is_fitted(model: Any) -> bool:
    """By the libraries' own word, of their own classes: whoever makes an estimator may do without such attributes."""
    library = type(model).__module__.partition(".")[0]
    if library == "catboost":
        return bool(model.is_fitted())
    if library not in _ESTIMATORS or not (hasattr(model, "fit") and hasattr(model, "get_params")):
        return True
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


_ESTIMATORS = frozenset({"sklearn", "xgboost", "lightgbm"})


def installed() -> dict[str, str]:
    """Name and version of the frameworks whose library is here."""
    return {name: found for name, framework in FRAMEWORKS.items() if (found := version(framework))}


def version(framework: Framework) -> str | None:
    """Of the library that is here; None where there is none."""
    find = _version if framework.LIBRARY in sys.modules else importlib.metadata.version
    for distribution in framework.DISTRIBUTIONS:
        try:
            return find(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


@functools.cache  # it reads a file, which takes longer than most of a load; what is imported can be no other any more
def _version(distribution: str) -> str:
    return importlib.metadata.version(distribution)


def is_installed(framework: Framework) -> bool:
    """Without importing it."""
    if framework.LIBRARY in sys.modules:
        return sys.modules[framework.LIBRARY] is not None
    return importlib.util.find_spec(framework.LIBRARY) is not None


def _check_installed(framework: Framework) -> None:
    if is_installed(framework):
        return
    command = f"pip install 'medley[{framework.NAME}]'"
    how = f"Install it ({command})" if framework.NAME in EXTRAS else f"Add {framework.DISTRIBUTIONS[0]}"
    raise InvalidModel(
        f"{framework.NAME} is not installed in this image; here are: {', '.join(installed()) or 'none'}. "
        f"{how} in the image, or put it into code/lib of the artifact."
    )
