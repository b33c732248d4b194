"""Whether a model predicts each row by itself: only then may rows of several callers go into one call.

Trees and boosters do, and so do scikit-learn's own estimators, with a few exceptions; a function or a class of somebody
else's, anywhere in a pipeline, may look at all rows it is given (a mean, a rank), and must see one caller's alone. What
is not known to be safe is not.
"""

import types
from collections.abc import Iterable
from typing import Any

import numpy as np

_BOOSTERS = frozenset({"xgboost", "lightgbm", "catboost"})
_PLAIN_DATA = frozenset({"builtins", "collections", "datetime", "numpy", "pandas", "re", "scipy"})
_FIT_A_CALL = frozenset({"NMF", "MiniBatchNMF"})  # all rows of a call together
_DRAWS = ("stratified", "uniform")  # what a DummyClassifier may do, from one row to the next
_FUNCTIONS = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_MANY = 1000  # as many plain values are words or bins, and need not be looked through


def predicts_rows_apart(model: Any) -> bool:
    """Looks into everything that the model is made of."""
    to_see, seen = [model], set()
    while to_see:
        item = to_see.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        inner = _parts(item)
        if inner is None:
            return False
        to_see.extend(inner)
    return True


def _parts(item: Any) -> Iterable[Any] | None:
    """What it is made of, as far as that must be looked at; None where it may look at several rows."""
    if isinstance(item, dict):
        return _values(list(item.values()))
    if isinstance(item, list | tuple | set | frozenset):
        return _values(list(item))
    if isinstance(item, np.ndarray):
        return _values(item.ravel().tolist()) if item.dtype == object else ()
    package = (item if isinstance(item, _FUNCTIONS) else type(item)).__module__.partition(".")[0]
    if package in _BOOSTERS or package in _PLAIN_DATA:
        return ()
    if package != "sklearn" or _looks_at_several(item):
        return None
    return list(getattr(item, "__dict__", {}).values())


def _looks_at_several(item: Any) -> bool:
    """Of scikit-learn's own."""
    match type(item).__name__:
        case "DummyClassifier":
            return item.strategy in _DRAWS
        case "FunctionTransformer":
            return not isinstance(item.func, np.ufunc | None)
        case kind:
            return kind in _FIT_A_CALL


def _values(values: list[Any]) -> list[Any]:
    return [] if len(values) >= _MANY and isinstance(values[0], str | int | float | np.generic) else values
