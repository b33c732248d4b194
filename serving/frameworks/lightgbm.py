"""LightGBM: boosters in its text files, and its scikit-learn estimators (or boosters) in pickles.

    model_fn(path) -> Booster | LGBMModel        predict_fn(data, model, method) -> one row out for each row in

A booster's answer is that of `booster.predict(data)`: probabilities where its objective gives them. Its text file knows
the categories of a DataFrame that it was trained on, by place; a request gives them by their names, and one that it has
not seen is missing, as in LightGBM itself. LightGBM writes blanks in names as underscores: either is understood.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from serving.codecs import Data
from serving.errors import BadInput, InvalidModel
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check, made_by, offered
from serving.frameworks.pickles import not_a, pickled_class, unpickle
from serving.frameworks.sklearn import on_one_thread
from serving.kinds import number_column, numbers
from serving.signature import Signature, conform

NAME = "lightgbm"
LIBRARY = "lightgbm"
DISTRIBUTIONS: tuple[str, ...] = ("lightgbm",)
METHODS: tuple[str, ...] = ("predict", "predict_proba", "margin")
PRELOAD: tuple[str, ...] = ("lightgbm",)
READS_OLDER = True

_START = re.compile(rb"tree\r?\nversion=v")
_UNNAMED = re.compile(r"Column_\d+")
_FEATURE_INFOS = re.compile(r"^feature_infos=(.*)$", re.MULTILINE)
_CATEGORICAL = re.compile(r"^\[categorical_feature: ([\d,]*)\]$", re.MULTILINE)


@dataclass(frozen=True)
class _Traits:
    signature: Signature
    categories: dict[int, list[Any]]  # by column: what a DataFrame's categories were when it was trained


_traits_of: "WeakKeyDictionary[Any, _Traits]" = WeakKeyDictionary()


def detect(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(64)
    return bool(_START.match(start)) or (pickled_class(path) or "").startswith("lightgbm.")


def saved_by(_path: Path) -> str | None:
    return None  # the file has the version of its format alone


def model_fn(path: Path, loading: Loading = DEFAULT) -> Any:
    """The booster in a text file, or whatever is in a pickle. Raises InvalidModel."""
    if pickled_class(path) is not None:
        return on_one_thread(unpickle(path, loading))
    if loading.estimator not in (None, "Booster"):
        raise InvalidModel(
            f'"estimator" is "{loading.estimator}", and a text file holds a Booster: save it with joblib.'
        )
    import lightgbm

    with path.open("rb") as file:
        content = file.read()
    # A file that is cut has fewer trees than it says, which LightGBM takes for what there is.
    if not _START.match(content) or b"\nend of trees" not in content:
        raise not_a(path, "LightGBM model, or it is cut short")
    try:
        return lightgbm.Booster(model_str=content.decode())
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise not_a(path, "LightGBM model that this version reads") from error


def owns(model: Any) -> bool:
    return made_by(model, NAME) and hasattr(model, "predict")


def signature(model: Any) -> Signature:
    """The features that the booster was trained on."""
    return _traits(_booster_of(model)).signature


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel where the model has no such method; margin is both kinds' own."""
    check(model, method, methods(model))


def methods(model: Any) -> tuple[str, ...]:
    return offered(model, METHODS)


def input_fn(data: Data) -> Any:
    """What a user's predict_fn is given: the rows as they were sent."""
    return data


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """One row for each row of `data`. Raises BadInput."""
    rows = _rows(data, _traits(_booster_of(model))) if getattr(data, "ndim", 0) == 2 else data
    predict = getattr(model, "predict" if method == "margin" else method or "predict")
    return np.asarray(predict(rows, raw_score=method == "margin", num_threads=1))


def _booster_of(model: Any) -> Any:
    if not hasattr(type(model), "booster_"):
        return model
    try:
        return model.booster_
    except AttributeError as error:  # scikit-learn's NotFittedError is one
        raise InvalidModel(f"This {type(model).__name__} has not been fitted.") from error


def _traits(booster: Any) -> _Traits:
    if (found := _traits_of.get(booster)) is None:
        names = tuple(booster.feature_name())
        unnamed = all(map(_UNNAMED.fullmatch, names))
        categories = _categories(booster)
        words = frozenset(at for at, known in categories.items() if any(isinstance(word, str) for word in known))
        _traits_of[booster] = found = _Traits(
            Signature(None if unnamed else names, booster.num_feature(), verbatim=words), categories
        )
    return found


def _categories(booster: Any) -> dict[int, list[Any]]:
    """LightGBM keeps a list for each column of categories, and the columns' places among its parameters."""
    known = booster.pandas_categorical
    if not known:
        return {}
    text = booster.model_to_string(num_iteration=1)
    said = _CATEGORICAL.search(text)
    columns = [int(at) for at in said[1].split(",") if at] if said else []
    if len(columns) != len(known):
        infos = found[1].split() if (found := _FEATURE_INFOS.search(text)) else []
        columns = [at for at, info in enumerate(infos) if ":" in info and not info.startswith("[")]
    if len(columns) != len(known):
        raise InvalidModel("The model was trained with categories, and does not say of which columns. Save it again.")
    return dict(zip(columns, known, strict=True))


def _rows(data: Any, traits: _Traits) -> Any:
    """An array, a sparse matrix, or a DataFrame whose columns of categories are what the model was trained on."""
    data = conform(data, traits.signature)
    if not traits.categories:
        return numbers(data) if traits.signature.names is None else _numeric(data)
    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
    if len(frame.columns) <= max(traits.categories):
        raise BadInput("The request has fewer columns than the model was trained on.")
    columns = {}
    for at, name in enumerate(frame.columns):
        known = traits.categories.get(at)
        columns[name] = number_column(frame, at) if known is None else _category(frame.iloc[:, at], known)
    return pd.DataFrame(columns, index=frame.index)


def _category(column: "pd.Series[Any]", known: list[Any]) -> pd.Categorical:
    """What the model has not seen is missing."""
    return pd.Categorical(column.where(column.isin(known)), categories=known)


def _numeric(data: Data) -> Data:
    """A DataFrame as one of float64: LightGBM refuses text without naming it."""
    return pd.DataFrame(numbers(data), columns=data.columns) if isinstance(data, pd.DataFrame) else data
