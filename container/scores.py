"""What a model's answers are worth, against what is true: scikit-learn's metrics, by the kind of answer.

    scores(true, predicted, probabilities) -> {"accuracy": 0.97, ...}      classes, and their probabilities if any
                                           -> {"rmse": 0.31, ...}          numbers

Names are those that SageMaker's metric definitions and model quality reports use.
"""

import math
from typing import Any

import numpy as np


def scores(true: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None = None) -> dict[str, float]:
    """probabilities: a column for each class, in the order of the sorted classes. Only finite numbers come back."""
    found = _of_classes(true, predicted, probabilities) if is_classes(true, predicted) else _of_numbers(true, predicted)
    return {name: round(float(value), 6) for name, value in found.items() if math.isfinite(value)}


def is_classes(true: np.ndarray, predicted: np.ndarray) -> bool:
    """Words and truths are classes; so are whole numbers that were answered with none but those."""
    if true.dtype.kind in "OUSTb":
        return True
    if predicted.dtype.kind not in "iufb":
        return True
    known = np.unique(true)
    return bool(np.all(known == known.round()) and np.isin(predicted, known).all() and len(known) < _MOST_CLASSES)


def from_probabilities(true: np.ndarray, answered: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Classes and probabilities, where the answers are probabilities: rows of them, or those of the second of two
    classes, as a booster gives them. Else the answers as they are."""
    known = np.unique(true)
    if answered.ndim == 2 and answered.shape[1] == len(known):
        return known[answered.argmax(axis=1)], answered
    between = answered.ndim == 1 and answered.dtype.kind == "f" and bool(((answered >= 0) & (answered <= 1)).all())
    if between and len(known) == 2 and not np.isin(answered, (0.0, 1.0)).all():
        return known[(answered > 0.5).astype(int)], np.column_stack([1 - answered, answered])
    return answered, None


_MOST_CLASSES = 1_000


def _of_classes(true: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None) -> dict[str, float]:
    from sklearn import metrics

    alike: Any = (
        (true, predicted) if true.dtype.kind == predicted.dtype.kind else (true.astype(str), predicted.astype(str))
    )
    found = {
        "accuracy": metrics.accuracy_score(*alike),
        "f1_macro": metrics.f1_score(*alike, average="macro", zero_division=0),
    }
    known = np.unique(true)
    if probabilities is None or probabilities.shape[1] != len(known):
        return found
    rows = probabilities.astype(float)
    rows /= rows.sum(axis=1, keepdims=True)  # a library's float32 do not sum to one
    found["log_loss"] = metrics.log_loss(true, rows, labels=known)
    if len(known) == 2:
        found["auc"] = metrics.roc_auc_score(true, rows[:, 1])
    return found


def _of_numbers(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    return {
        "rmse": metrics.root_mean_squared_error(true, predicted),
        "mae": metrics.mean_absolute_error(true, predicted),
        "r2": metrics.r2_score(true, predicted) if len(true) > 1 else math.nan,
    }
