"""The frameworks: one module each, in one table.

A framework is what `Framework` says, offered by a module. Adding one costs the module and its place in FRAMEWORKS; the
order is that of asking, most particular first. No module imports its library before it must: where it is not installed,
the others still serve.

    detect(path) -> its name        load(folder, manifest) -> framework and model        of(model) -> framework
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serving.codecs import Data
from serving.errors import InvalidModel
from serving.frameworks import sklearn, xgboost
from serving.signature import Signature

if TYPE_CHECKING:
    from serving.manifest import Manifest


class Framework(Protocol):
    """What a framework's module offers. Shapes and errors are said in the modules."""

    NAME: str
    DISTRIBUTIONS: tuple[str, ...]  # any of these installs it
    METHODS: tuple[str, ...]  # what predict_method may be; the first is the default
    PRELOAD: tuple[str, ...]  # modules for the zygote to import; the first is the library itself

    def detect(self, path: Path) -> bool: ...
    def model_fn(self, path: Path) -> Any: ...
    def owns(self, model: Any) -> bool: ...
    def signature(self, model: Any) -> Signature: ...
    def check_method(self, model: Any, method: str | None) -> None: ...
    def input_fn(self, data: Data) -> Any: ...
    def predict_fn(self, data: Any, model: Any, method: str | None = None) -> np.ndarray: ...


FRAMEWORKS: dict[str, Framework] = {module.NAME: module for module in (xgboost, sklearn)}


def detect(path: Path) -> str | None:
    """The name of the framework whose model the file looks like."""
    return next((name for name, framework in FRAMEWORKS.items() if framework.detect(path)), None)


def of(model: Any) -> Framework | None:
    """The framework that predicts with a loaded model."""
    return next((framework for framework in FRAMEWORKS.values() if framework.owns(model)), None)


def load(folder: Path, manifest: "Manifest") -> tuple[Framework, Any]:
    """The model that the manifest names, and the framework that predicts with it: a pickle's may be another than was
    detected. Raises InvalidModel, OutOfMemory."""
    assert manifest.framework is not None, "manifest.find answers with both, or raises"
    assert manifest.model_file is not None
    framework = FRAMEWORKS[manifest.framework]
    _check_installed(framework)
    model = framework.model_fn(folder / manifest.model_file)
    if (owner := of(model)) is None:
        raise InvalidModel(
            f"The model file holds a {type(model).__name__}, which none of the frameworks here predicts with. "
            "Save the model itself, or write code/inference.py with model_fn and predict_fn."
        )
    return owner, model


def installed() -> dict[str, str]:
    """Name and version of the frameworks whose library is here."""
    return {name: version for name, framework in FRAMEWORKS.items() if (version := _version(framework))}


def _version(framework: Framework) -> str | None:
    for distribution in framework.DISTRIBUTIONS:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _check_installed(framework: Framework) -> None:
    library = framework.PRELOAD[0]
    if sys.modules.get(library) is None and importlib.util.find_spec(library) is None:
        raise InvalidModel(
            f"{framework.NAME} is not installed in this image; here are: {', '.join(installed()) or 'none'}. "
            f"Add {framework.DISTRIBUTIONS[0]} to the image, or to code/lib of the artifact."
        )
