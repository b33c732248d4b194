"""skops: scikit-learn's estimators in files that are no pickles.

    model_fn(path) -> the estimator, which scikit-learn (or whoever owns it) then predicts with

A .skops file names the types that it is made of, and nothing of it runs but these. Those that skops does not know as
harmless are taken where pickles are allowed too, as a pickle could hold them as well, and refused where pickles are,
but for those that the container has been told to trust.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from serving.codecs import Data
from serving.errors import InvalidModel
from serving.frameworks import sklearn
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.pickles import not_a
from serving.signature import Signature
from serving.typed import shown

NAME = "skops"
LIBRARY = "skops"
DISTRIBUTIONS: tuple[str, ...] = ("skops",)
METHODS: tuple[str, ...] = sklearn.METHODS
PRELOAD: tuple[str, ...] = ()  # importing it looks at every module of scikit-learn: up to a second of the start
READS_OLDER = True


def detect(path: Path) -> bool:
    return path.suffix == ".skops"


def saved_by(path: Path) -> str | None:
    """The version of skops."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = json.loads(archive.read("schema.json")).get("_skops_version")
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError):
        return None  # it will not load either
    return said if isinstance(said, str) else None


def model_fn(path: Path, loading: Loading = DEFAULT) -> Any:
    """The object in the file. Raises InvalidModel."""
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=path)
        if not loading.pickles and (refused := set(unknown).difference(loading.skops_types)):
            types = ", ".join(map(shown, sorted(refused)[:5]))
            raise InvalidModel(
                f"The model file holds {types}, which skops does not know as harmless, and this container takes no "
                "others (MEDLEY_PICKLE=refuse). MEDLEY_SKOPS_TYPES can name types to be trusted."
            )
        return sklearn.on_one_thread(skops.io.load(path, trusted=unknown))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise not_a(path, "skops file that this version reads") from error


def owns(_model: Any) -> bool:
    return False  # it is a format: what comes out of it is another framework's


def signature(model: Any) -> Signature:
    return sklearn.signature(model)


def check_method(model: Any, method: str | None) -> None:
    sklearn.check_method(model, method)


def methods(model: Any) -> tuple[str, ...]:
    return sklearn.methods(model)


def input_fn(data: Data) -> Any:
    return sklearn.input_fn(data)


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    return sklearn.predict_fn(data, model, method)
