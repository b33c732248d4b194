"""scikit-learn: estimators and pipelines in joblib and pickle files, and whatever else has their predict or transform.

    model_fn(path) -> unpickle -> on_one_thread        predict_fn(data, model, method) -> one row out for each row in

scikit-learn takes what no other framework owns, so it is the last to be asked.

Rows reach the model as those did that it was fitted on: a DataFrame where it knows column names, an array where it
does not, a list of texts where its first step reads documents.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs import Data
from serving.codecs.words import place
from serving.errors import BadInput
from serving.frameworks.encoders import words
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check, offered
from serving.frameworks.pickles import DAMAGED, pickle_start, pickled_class, unpickle
from serving.kinds import by_place
from serving.signature import Signature

NAME = "sklearn"
LIBRARY = "sklearn"
READS_OLDER = False
DISTRIBUTIONS: tuple[str, ...] = ("scikit-learn",)
METHODS: tuple[str, ...] = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")

# The families that people's pickles are made of. `import sklearn` takes 0.9 s (scipy.stats, mostly), all these 0.15 s.
_FAMILIES = """calibration cluster compose cross_decomposition decomposition discriminant_analysis dummy ensemble
    feature_extraction.text feature_selection gaussian_process impute isotonic kernel_approximation kernel_ridge
    linear_model mixture model_selection multiclass multioutput naive_bayes neighbors neural_network pipeline
    preprocessing random_projection svm tree"""
PRELOAD: tuple[str, ...] = ("sklearn", *(f"sklearn.{family}" for family in _FAMILIES.split()))

_SUFFIXES = (".joblib", ".pkl", ".pickle", ".sav")
_PLAIN_DATA = ("", "builtins", "collections", "datetime", "joblib", "numpy", "pandas", "scipy")
_SCALARS = (str, int, float, np.generic)
_VOCABULARY = 1000  # as many plain values are words or bins, and need not be searched for estimators
_VERSION = re.compile(rb"_sklearn_version(?:\x94|q.)?(?:\x8c(.)|X(.)\0\0\0)", re.DOTALL)  # and a text of that length
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_REQUESTS_FAULT = re.compile("could not convert string|Input X contains|Found unknown categor")


def detect(path: Path) -> bool:
    """Whether it is a pickle, of more than plain data. The other frameworks have been asked before."""
    found = pickled_class(path)
    if found is None:
        return path.suffix in _SUFFIXES  # broken, or of a protocol from before Python 3: unpickling it will tell
    return found.partition(".")[0] not in _PLAIN_DATA


def saved_by(path: Path) -> str | None:
    """What an estimator near the pickle's start says; scikit-learn itself warns of the others as they load."""
    try:
        start = pickle_start(path)
    except DAMAGED:
        return None  # it will not load either
    if not (found := _VERSION.search(start)):
        return None
    return start[found.end() : found.end() + (found[1] or found[2])[0]].decode("ascii", "replace")


def model_fn(path: Path, loading: Loading = DEFAULT) -> Any:
    """The object in a joblib or pickle file. Raises InvalidModel."""
    return on_one_thread(unpickle(path, loading))


def owns(model: Any) -> bool:
    """Whether it is an object that predicts or transforms."""
    return not isinstance(model, type) and any(
        callable(getattr(model, name, None)) for name in ("predict", "transform")
    )


def signature(model: Any) -> Signature:
    """The columns that the model was fitted on, and which of them hold words; one, where it reads documents."""
    if _reads_documents(model):
        return Signature(None, 1, verbatim=frozenset({0}))
    fitted_on, width = getattr(model, "feature_names_in_", None), getattr(model, "n_features_in_", None)
    names = None if fitted_on is None else tuple(map(str, fitted_on))
    count = None if width is None else int(width)
    held = words(model, names) if count else ()
    kinds = tuple("text" if at in held else "any" for at in range(count or 0)) if held else None
    return Signature(names, count, kinds)


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel where the model has no such method."""
    check(model, method, methods(model))


def methods(model: Any) -> tuple[str, ...]:
    return offered(model, METHODS)


def input_fn(data: Data) -> Any:
    """What AWS's image hands to a user's predict_fn: float32, where everything is a number."""
    dtypes = list(data.dtypes) if isinstance(data, pd.DataFrame) else [data.dtype]
    if scipy.sparse.issparse(data) or any(dtype.kind not in "biuf" for dtype in dtypes):
        return data
    with np.errstate(over="ignore"):
        return np.asarray(data, dtype=np.float32)


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """The method's answer, one row for each row of `data`, several outputs side by side. Raises BadInput.

    What is not rows x features (a user's input_fn may make anything) reaches the model as it is.
    """
    predict = getattr(model, method or ("predict" if hasattr(model, "predict") else "transform"))
    try:
        output = predict(_as_fitted(data, model) if getattr(data, "ndim", 0) == 2 else data)
    except ValueError as error:
        if _REQUESTS_FAULT.search(str(error)):
            reason = str(error).partition("\n")[0][:200]
            raise BadInput(f"{_place_of(data, str(error))}The model cannot use a value: {reason}") from error
        raise
    return _as_rows(output)


def _place_of(data: Any, reason: str) -> str:
    """Where the value stands that scikit-learn speaks of, where it can be found: `Row 2, column 1 ("age"): `."""
    if not isinstance(data, np.ndarray | pd.DataFrame) or data.ndim != 2:
        return ""
    if "contains NaN" in reason:
        wrong = pd.isna(data) if isinstance(data, np.ndarray) else data.isna().to_numpy()
    else:
        quoted = {word for pair in _QUOTED.findall(reason) for word in pair if word}
        wrong = np.vectorize(lambda cell: str(cell) in quoted, otypes=[bool])(np.asarray(data, dtype=object))
    if not wrong.any():
        return ""
    row, column = (int(at) for at in np.argwhere(wrong)[0])
    names = [str(name) for name in data.columns] if isinstance(data, pd.DataFrame) and not by_place(data) else None
    return f"{place(row + 1, column + 1, names)}: "


def _reads_documents(model: Any) -> bool:
    """Whether its first step is a text vectorizer: that would take a DataFrame for the list of its column names."""
    while inner := getattr(model, "best_estimator_", None) or next(iter(getattr(model, "steps", ())), (None, None))[1]:
        model = inner
    return hasattr(model, "build_analyzer")


def _documents(data: Data) -> list[str]:
    if data.shape[1] != 1:
        raise BadInput(f"The model reads one text in each row; the request has {data.shape[1]} columns.")
    column = pd.DataFrame(data).iloc[:, 0]
    return ["" if missing else str(text) for text, missing in zip(column, column.isna(), strict=True)]


def _as_fitted(data: Any, model: Any) -> Any:
    """A DataFrame for a model that was fitted on one, an array for one that was not: both would warn otherwise."""
    if _reads_documents(model):
        return _documents(data)
    names = getattr(model, "feature_names_in_", None)
    if isinstance(data, np.ndarray) and names is not None and data.shape[1:] == (len(names),):
        return pd.DataFrame(data, columns=list(names))
    if isinstance(data, pd.DataFrame) and names is None and hasattr(model, "n_features_in_"):
        return data.to_numpy()
    return data


def _as_rows(output: Any) -> np.ndarray:
    if scipy.sparse.issparse(output):
        output = output.toarray()
    if isinstance(output, list) and output and all(np.ndim(part) == 2 for part in output):
        output = np.hstack(output)  # predict_proba of a model with several outputs
    return np.asarray(output)


def on_one_thread(model: Any) -> Any:
    """The model, with every n_jobs in it 1. Its process shares the machine with many others: threads of its own would
    fight with theirs, and joblib's processes would escape the watch that is kept on it.

    Looks into fitted attributes, where get_params does not: `estimators_`, `best_estimator_`, `transformers_`.
    """
    to_see, seen = [model], set()
    while to_see:
        item = to_see.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict | list | tuple):
            values = list(item.values()) if isinstance(item, dict) else item
            to_see.extend(values if len(values) < _VOCABULARY or not isinstance(values[0], _SCALARS) else ())
        elif type(item).__module__ == "xgboost.core" and hasattr(item, "set_param"):
            item.set_param({"nthread": 1})  # a booster, alone or inside an estimator
        elif not isinstance(item, type) and type(item).__module__.partition(".")[0] not in _PLAIN_DATA:
            attributes = getattr(item, "__dict__", {})
            if "n_jobs" in attributes:
                item.n_jobs = 1
            to_see.extend(attributes.values())
    return model
