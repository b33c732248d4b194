"""CatBoost: models in its .cbm and .json files, and its estimators in pickles.

    model_fn(path) -> CatBoostClassifier | Regressor | Ranker        predict_fn(data, model, method)

A file does not say which of CatBoost's classes saved it; its loss function does: a classifier answers with classes.
Columns of categories are text or whole numbers, as CatBoost itself demands; anything else, a missing one too, is
refused with its row and column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serving.codecs import Data
from serving.codecs.words import place, quoted
from serving.errors import BadInput, InvalidModel, OutOfMemory
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check, made_by, offered
from serving.frameworks.pickles import not_a, pickled_class, unpickle
from serving.frameworks.sklearn import on_one_thread
from serving.kinds import number_column, numbers
from serving.signature import Signature, conform

NAME = "catboost"
LIBRARY = "catboost"
DISTRIBUTIONS: tuple[str, ...] = ("catboost",)
METHODS: tuple[str, ...] = ("predict", "predict_proba", "predict_log_proba", "margin")
PRELOAD: tuple[str, ...] = ("catboost",)
READS_OLDER = True

_MAGIC = b"CBM1"
_PEEK = 1 << 16
_RANKERS = ("YetiRank", "PairLogit", "StochasticFilter", "StochasticRank", "QueryCrossEntropy", "QuerySoftMax")
_CLASSIFIERS = ("Logloss", "CrossEntropy", "MultiClass", "MultiLogloss", "MultiCrossEntropy", "Focal")


@dataclass(frozen=True)
class _Traits:
    signature: Signature
    words: frozenset[int]  # columns of categories and of text


_KEPT = "_medley_traits"  # an attribute of the model: CatBoost's classes have no hash


def detect(path: Path) -> bool:
    if path.suffix in (".cbm", ".cb"):
        return True
    with path.open("rb") as file:
        start = file.read(_PEEK)
    if start.startswith(_MAGIC) or _is_json(start):
        return True
    return (pickled_class(path) or "").partition(".")[0] in ("catboost", "_catboost")


def _is_json(start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and b'"features_info"' in start


def saved_by(_path: Path) -> str | None:
    return None


def model_fn(path: Path, loading: Loading = DEFAULT) -> Any:
    """The estimator in a file or a pickle. Raises InvalidModel, OutOfMemory."""
    if pickled_class(path) is not None:
        return on_one_thread(unpickle(path, loading))
    import catboost

    with path.open("rb") as file:
        start = file.read(_PEEK)
    format_ = "cbm" if start.startswith(_MAGIC) else "json"
    if format_ == "json" and not _is_json(start):
        raise not_a(path, "CatBoost model")
    try:
        model = catboost.CatBoost().load_model(str(path), format=format_)
        kind = _named(loading.estimator or _class_of(model))
        return kind().load_model(str(path), format=format_) if kind is not catboost.CatBoost else model
    except catboost.CatBoostError as error:
        if "bad_alloc" in str(error):
            raise OutOfMemory("There was not enough memory to load the model.") from error
        raise not_a(path, "CatBoost model that this version reads") from error


def _named(name: str) -> Any:
    import catboost

    kind = getattr(catboost, name, None)
    if not (isinstance(kind, type) and issubclass(kind, catboost.CatBoost)):
        raise InvalidModel(f'"estimator" is "{name}", which is none of CatBoost\'s: CatBoostClassifier, say.')
    return kind


def _class_of(model: Any) -> str:
    loss = str(model.get_all_params().get("loss_function", ""))
    if loss.startswith(_CLASSIFIERS):
        return "CatBoostClassifier"
    return "CatBoostRanker" if loss.startswith(_RANKERS) else "CatBoostRegressor"


def owns(model: Any) -> bool:
    return made_by(model, NAME) and hasattr(model, "predict")


def signature(model: Any) -> Signature:
    """The features that it was trained on; without names where CatBoost has made them up from their places."""
    return _traits(model).signature


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel where the model has no such method."""
    check(model, method, methods(model))


def methods(model: Any) -> tuple[str, ...]:
    return offered(model, METHODS)


def input_fn(data: Data) -> Any:
    """What a user's predict_fn is given: the rows as they were sent."""
    return data


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """One row for each row of `data` (which may be a Pool, from a user's input_fn). Raises BadInput."""
    rows = _rows(data, _traits(model)) if getattr(data, "ndim", 0) == 2 else data
    if method == "margin":
        return np.asarray(model.predict(rows, prediction_type="RawFormulaVal", thread_count=1))
    return np.asarray(getattr(model, method or "predict")(rows, thread_count=1))


def _traits(model: Any) -> _Traits:
    found: _Traits | None = vars(model).get(_KEPT)
    if found is None:
        names: Sequence[str] = model.feature_names_
        unnamed = list(names) == [str(at) for at in range(len(names))]
        words = {*model.get_cat_feature_indices(), *model.get_text_feature_indices()}
        vars(model)[_KEPT] = found = _Traits(
            Signature(None if unnamed else tuple(names), len(names), verbatim=frozenset(map(int, words))),
            frozenset(map(int, words)),
        )
    return found


def _rows(data: Any, traits: _Traits) -> Any:
    data = conform(data, traits.signature)
    if not traits.words:
        return numbers(data) if isinstance(data, pd.DataFrame) else data
    frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
    names = None if traits.signature.names is None else list(traits.signature.names)
    columns = {}
    for at, name in enumerate(frame.columns):
        column = frame.iloc[:, at]
        columns[name] = _words(column.tolist(), at + 1, names) if at in traits.words else number_column(frame, at)
    return pd.DataFrame(columns, index=frame.index)


def _words(cells: Sequence[Any], column: int, names: Sequence[str] | None) -> np.ndarray:
    """Text and whole numbers, as CatBoost takes them; a whole number that a missing one beside it made a float, too."""
    found = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        if isinstance(cell, float):
            if cell != cell:
                raise BadInput(f"{place(row + 1, column, names)}: a category is missing, and CatBoost needs one.")
            if not cell.is_integer():
                shown = quoted(repr(cell))
                raise BadInput(f"{place(row + 1, column, names)}: {shown} is no category. Send text or a whole number.")
            cell = int(cell)
        found[row] = str(cell)
    return found
