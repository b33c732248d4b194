"""XGBoost: boosters in UBJSON, JSON and pickle files, and its scikit-learn estimators in pickles.

    model_fn(path) -> Booster | XGBModel        predict_fn(data, model, method) -> one row out for each row in

A booster's answer is that of `booster.predict(xgboost.DMatrix(data))`, to the last bit. Trees give it without the
DMatrix, in about half the time, by inplace_predict; dart would give other last bits, and gblinear nothing.
Both ways read an array of foreign byte order as if it were native, and the short one takes infinities: so rows become
native float32 here, as XGBoost's own would be, and are checked.

Columns of categories are given as their names or numbers, and handed on as what the model was trained on.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs import Data
from serving.errors import BadInput, InvalidModel, OutOfMemory
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check, made_by, offered
from serving.frameworks.pickles import pickled_class, unpickle
from serving.frameworks.sklearn import on_one_thread
from serving.frameworks.xgboost_categories import as_category, kinds_of
from serving.frameworks.xgboost_dense import Predict, matrix, predictor
from serving.signature import Signature, conform, numbers

NAME = "xgboost"
LIBRARY = "xgboost"
READS_OLDER = True
DISTRIBUTIONS: tuple[str, ...] = ("xgboost-cpu", "xgboost")
METHODS: tuple[str, ...] = ("predict", "predict_proba", "margin")
PRELOAD: tuple[str, ...] = ("xgboost", "xgboost.sklearn")

_SAGEMAKERS_NAME = "xgboost-model"
_SUFFIXES = (".ubj", ".xgb", ".bst")
_PEEK = 1 << 16
_UBJSON = re.compile(rb"\{[iUIlL].{1,8}learner\{", re.DOTALL)
_JSON = re.compile(rb'\s*\{.*?"learner"\s*:\s*\{', re.DOTALL)
# Up to XGBoost 3.0: 136 bytes of numbers, then the names of the objective and of the booster, each after its length.
_OLD_BINARY = re.compile(rb"(?:binf)?.{136}[\3-\x40]\0{7}[a-z0-9:_]+[\4-\x08]\0{7}(?:gbtree|gblinear|dart)", re.DOTALL)
_TAIL = 512
_JSON_VERSION = re.compile(rb'"version"\s*:\s*\[([\d,\s]+)\]\s*\}\s*$')
_UBJSON_VERSION = re.compile(rb"version\[#L.{8}((?:i.){3})\}$", re.DOTALL)
_UNKNOWN_CATEGORY = re.compile(r"category not in the training set for the (\d+)\w* .*?: `(.*)`")
_OTHER_CATEGORIES = re.compile(r"Invalid new DataFrame input for the: (\d+)\w* feature")
_SAVE_AGAIN = 'save it with booster.save_model("model.ubj") by the XGBoost that made it'


@dataclass(frozen=True)
class _Traits:
    """What of a booster decides how it is asked. Read from it once: it takes longer than a prediction."""

    signature: Signature
    in_place: bool
    categorical: tuple[int, ...]  # columns
    recodes: bool  # it holds the categories themselves, where older ones hold nothing but their numbers
    dense: Mapping[str, Predict]  # by predict_type; for float32 arrays of its width, where in_place


_traits_of: "WeakKeyDictionary[Any, _Traits]" = WeakKeyDictionary()


def detect(path: Path) -> bool:
    """By SageMaker's name for it, by suffix, or by how it starts. Not by the library."""
    if path.name == _SAGEMAKERS_NAME or path.suffix in _SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(_PEEK)
    if any(pattern.match(start) for pattern in (_UBJSON, _JSON, _OLD_BINARY)):
        return True
    return (pickled_class(path) or "").startswith("xgboost.")


def saved_by(path: Path) -> str | None:
    """The version of XGBoost, which is the last thing in its files."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        end = file.read()
    if found := _JSON_VERSION.search(end):
        return ".".join(part.strip() for part in found[1].decode().split(","))
    if found := _UBJSON_VERSION.search(end):
        return ".".join(str(number) for number in found[1][1::2])
    return None


def model_fn(path: Path, loading: Loading = DEFAULT) -> Any:
    """The booster in a UBJSON or JSON file, in `loading.estimator` where that is said, or whatever is in a pickle.
    Raises InvalidModel, OutOfMemory."""
    with path.open("rb") as file:
        start = file.read(_PEEK)
    if not start:
        raise InvalidModel("The model file is empty: 0 bytes.")
    if _OLD_BINARY.match(start):
        raise InvalidModel(f"The model file is in the binary format that XGBoost gave up in 3.1: {_SAVE_AGAIN}.")
    if not start.lstrip().startswith(b"{"):
        return on_one_thread(unpickle(path, loading))
    booster = _booster(path)
    return on_one_thread(booster if loading.estimator in (None, "Booster") else _estimator(booster, loading.estimator))


def owns(model: Any) -> bool:
    """Whether it is a booster or an estimator of XGBoost's: its own, or of a class made from one."""
    return made_by(model, NAME) and (hasattr(model, "inplace_predict") or hasattr(model, "get_booster"))


def signature(model: Any) -> Signature:
    """The features that the booster was trained on."""
    return _traits(_booster_of(model)).signature


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel where the model has no such method; margin is both kinds' own."""
    check(model, method, methods(model))


def methods(model: Any) -> tuple[str, ...]:
    return offered(model, METHODS)


def input_fn(data: Data) -> Any:
    """What AWS's image hands to a user's predict_fn: a DMatrix, with the names that a DataFrame has."""
    import xgboost

    names = [str(name) for name in data.columns] if isinstance(data, pd.DataFrame) else None
    rows = _floats(data)
    if names is None and isinstance(rows, np.ndarray) and rows.ndim == 2:
        return matrix(rows)
    return xgboost.DMatrix(rows, feature_names=names, nthread=1)


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """One row for each row of `data` (which may be a DMatrix, from a user's input_fn). Raises BadInput."""
    booster = _booster_of(model)
    rows = _rows(data, _traits(booster))
    try:
        if booster is model:
            return _predict(rows, booster, method == "margin")
        options = {"validate_features": isinstance(rows, pd.DataFrame)}
        if method == "margin":
            return np.asarray(model.predict(rows, output_margin=True, **options))
        return np.asarray(getattr(model, method or "predict")(rows, **options))
    except ValueError as error:  # XGBoostError is one
        if found := _UNKNOWN_CATEGORY.search(str(error)):
            raise BadInput(f"Column {int(found[1]) + 1}: the model knows no category {found[2]!r}.") from error
        if found := _OTHER_CATEGORIES.search(str(error)):
            raise BadInput(f"Column {int(found[1]) + 1}: the model's categories there are of another kind.") from error
        raise


def _booster(path: Path) -> Any:
    """From its bytes: given a path, XGBoost goes by the suffix, warns where there is none, and quotes it in errors."""
    import xgboost

    content = bytearray(path.stat().st_size)
    with path.open("rb") as file:
        file.readinto(content)
    # Where a file is cut, XGBoost may take what follows for a length, and ask for that much memory.
    if not content[-_PEEK:].rstrip().endswith(b"}"):
        raise InvalidModel("The model file is cut short: it does not end as an XGBoost model does.")
    booster = xgboost.Booster()
    try:
        booster.load_model(content)
    except (xgboost.core.XGBoostError, UnicodeDecodeError) as error:  # its messages quote the file, whatever is in it
        if "bad_alloc" in str(error):
            raise OutOfMemory("There was not enough memory to load the model.") from error
        raise InvalidModel(
            f"The model file is damaged, or of a newer XGBoost than {xgboost.__version__}, which is here."
        ) from error
    return booster


def _estimator(booster: Any, name: str | None) -> Any:
    """One of XGBoost's scikit-learn classes, around a booster that one of them has saved."""
    import xgboost

    kind = getattr(xgboost, name or "", None)
    if not (isinstance(kind, type) and issubclass(kind, xgboost.XGBModel)):
        raise InvalidModel(f'"estimator" is "{name}", which is none of XGBoost\'s: XGBClassifier or XGBRegressor, say.')
    model = kind()
    try:
        model.load_model(booster.save_raw("ubj"))
    except (TypeError, ValueError) as error:  # a regressor's file for a classifier
        raise InvalidModel(f'"estimator" is "{name}", and the model file is of another kind.') from error
    return model


def _booster_of(model: Any) -> Any:
    return model.get_booster() if hasattr(model, "get_booster") else model


def _traits(booster: Any) -> _Traits:
    if (found := _traits_of.get(booster)) is not None:
        return found
    kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    names, types = booster.feature_names, booster.feature_types or ()
    categorical = tuple(at for at, type_ in enumerate(types) if type_ == "c")
    recodes = bool(categorical) and hasattr(booster, "get_categories") and not booster.get_categories().empty()
    kinds = kinds_of(booster, categorical) if recodes else None
    _traits_of[booster] = traits = _Traits(
        signature=Signature(tuple(names) if names else None, booster.num_features(), kinds),
        in_place=kind == "gbtree",
        categorical=categorical,
        dense={kind: predictor(booster, kind) for kind in ("value", "margin")},
        recodes=recodes,
    )
    return traits


def _predict(rows: Any, booster: Any, margin: bool) -> np.ndarray:
    import xgboost

    traits = _traits(booster)
    named = isinstance(rows, pd.DataFrame)
    if isinstance(rows, xgboost.DMatrix):
        named = rows.feature_names is not None
    elif traits.in_place and getattr(rows, "shape", ())[1:] == (traits.signature.count,):
        kind = "margin" if margin else "value"
        if isinstance(rows, np.ndarray) and not traits.categorical:
            return traits.dense[kind](np.ascontiguousarray(rows))
        return np.asarray(booster.inplace_predict(rows, predict_type=kind, validate_features=named))
    else:
        rows = xgboost.DMatrix(rows, enable_categorical=True, nthread=1)
    return np.asarray(booster.predict(rows, output_margin=margin, validate_features=named))


# Rows.


def _rows(data: Any, traits: _Traits) -> Any:
    """A float32 array or csr_matrix; a DataFrame where there are categories; what is not rows x features as it is."""
    if isinstance(data, list):
        data = np.array(data)
    if getattr(data, "ndim", 0) != 2:
        return data
    if isinstance(data, pd.DataFrame) or traits.recodes:
        data = conform(data, traits.signature)
    return _with_categories(data, traits) if traits.recodes and isinstance(data, pd.DataFrame) else _floats(data)


def _floats(data: Any) -> Any:
    values = data.to_numpy() if isinstance(data, pd.DataFrame) else data
    if values.dtype.kind not in "biuf":
        values = numbers(pd.DataFrame(data))  # raises where a cell is text
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    stored = values.data if scipy.sparse.issparse(values) else values
    if np.isinf(stored).any():
        raise BadInput("The request holds a number that is infinite, or too large for XGBoost's 32 bits.")
    return values


def _with_categories(data: pd.DataFrame, traits: _Traits) -> pd.DataFrame:
    numeric = [at for at in range(data.shape[1]) if at not in traits.categorical]
    rows = pd.DataFrame(_floats(data.iloc[:, numeric]), columns=data.columns[numeric], index=data.index)
    for at in traits.categorical:
        rows.insert(at, data.columns[at], as_category(data.iloc[:, at]))
    return rows
