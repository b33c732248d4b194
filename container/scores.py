"""What a model's answers are worth, against what is true: scikit-learn's metrics, by the kind of answer.

    scores(true, answers) -> {"accuracy": 0.97, ...}      classes, and their probabilities if any
                          -> {"rmse": 0.31, ...}          numbers

Names are those that SageMaker's metric definitions and model quality reports use. A metric that cannot be had of these
rows (one class alone, a NaN) is left out.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import PredictionFailed

_MOST_CLASSES = 1_000
_SMALL = 1e-3  # an error of small numbers is not rounded to none
_NUMBERS = "biuf"  # numpy's kinds of dtypes


@dataclass(frozen=True)
class Answers:
    """probabilities: a column for each class, in the order of `classes` (None: of the sorted truths). classifies: True
    where the model answers with classes, False where with numbers, None where that is to be guessed."""

    predicted: np.ndarray
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None
    classifies: bool | None = None


def scores(true: np.ndarray, answers: Answers) -> dict[str, float]:
    """Only finite numbers come back."""
    classifies = answers.classifies
    if classifies is None:
        classifies = answers.probabilities is not None or is_classes(true, answers.predicted)
    found = {}
    for name, metric in (_of_classes if classifies else _of_numbers)(true, answers).items():
        try:
            with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
                value = float(metric())
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            found[name] = round(value, 6 if abs(value) >= _SMALL else 12)
    return found


def is_classes(true: np.ndarray, predicted: np.ndarray) -> bool:
    """Words and truths are classes; so are whole numbers that were answered with none but those."""
    if true.dtype.kind not in "iuf" or predicted.dtype.kind not in _NUMBERS:
        return True
    known = np.unique(true)
    return bool(np.all(known == known.round()) and np.isin(predicted, known).all() and len(known) < _MOST_CLASSES)


def of_answers(
    true: np.ndarray, answered: np.ndarray, classes: np.ndarray | None = None, classifies: bool | None = None
) -> Answers:
    """What the answers say: classes and their probabilities, where they are rows of those, or those of the second of
    two classes, as a booster gives them; else the answers as they are. classes: the model's, where they are known.
    Raises PredictionFailed where it cannot be told which column is whose."""
    if answered.ndim == 2 and answered.shape[1] > 1:
        if classifies is False:
            raise PredictionFailed(
                f"The model answers a row with {answered.shape[1]} numbers, and one is known of each."
            )
        classes = _of_columns(true, answered.shape[1], classes)
        shares = answered.dtype.kind == "f" and bool(((answered >= 0) & (answered <= 1)).all())
        return Answers(classes[answered.argmax(axis=1)], answered if shares else None, classes, True)
    answered = answered.reshape(-1)
    two = _two_classes(true) if classes is None else classes
    if classifies is not False and len(two) == 2 and _are_shares(answered):
        return Answers(two[(answered > 0.5).astype(int)], np.column_stack([1 - answered, answered]), two, True)
    return Answers(answered, None, classes, classifies)


def _of_columns(true: np.ndarray, columns: int, classes: np.ndarray | None) -> np.ndarray:
    """The class of each column."""
    if classes is None:
        classes = np.unique(true)
        if len(classes) != columns:
            raise PredictionFailed(
                f"The model answers with {columns} columns and does not say of which classes; these rows have "
                f"{len(classes)}. Give rows of every class, or pack the estimator itself."
            )
    if len(classes) != columns:
        raise PredictionFailed(f"The model answers with {columns} columns and has {len(classes)} classes.")
    return classes


def _two_classes(true: np.ndarray) -> np.ndarray:
    """All that are true; 0 and 1, where it is one of those alone."""
    known = np.unique(true)
    is_one_of_two = true.dtype.kind in "iuf" and np.isin(known, (0, 1)).all()
    return np.array([0, 1]) if is_one_of_two else known


def _are_shares(answered: np.ndarray) -> bool:
    """Between 0 and 1, and not just those."""
    between = answered.dtype.kind == "f" and bool(((answered >= 0) & (answered <= 1)).all())
    return between and not np.isin(answered, (0.0, 1.0)).all()


def _of_classes(true: np.ndarray, answers: Answers) -> Mapping[str, Callable[[], Any]]:
    from sklearn import metrics

    classes = np.unique(true) if answers.classes is None else answers.classes
    truths, predicted, known = _alike(true, answers.predicted, classes)
    found: dict[str, Callable[[], Any]] = {
        "accuracy": lambda: metrics.accuracy_score(truths, predicted),
        "f1_macro": lambda: metrics.f1_score(truths, predicted, average="macro", zero_division=0),
    }
    if answers.probabilities is None or answers.probabilities.shape[1:] != known.shape:
        return found
    rows, order = answers.probabilities.astype(float), np.argsort(known)
    with np.errstate(all="ignore"):
        rows = (rows / rows.sum(axis=1, keepdims=True))[:, order]  # a library's float32 do not sum to one
    found["log_loss"] = lambda: metrics.log_loss(truths, rows, labels=known[order])
    if len(known) == 2:
        found["auc"] = lambda: metrics.roc_auc_score(truths == known[order][1], rows[:, 1])
    return found


def _alike(*values: np.ndarray) -> list[np.ndarray]:
    """In one type, so that 1, 1.0 and true are one class: numbers where all are, else words."""
    kind = float if all(value.dtype.kind in _NUMBERS for value in values) else str
    return [value.astype(kind) for value in values]


def _of_numbers(true: np.ndarray, answers: Answers) -> Mapping[str, Callable[[], Any]]:
    from sklearn import metrics

    predicted = answers.predicted
    return {
        "rmse": lambda: metrics.root_mean_squared_error(true, predicted),
        "mae": lambda: metrics.mean_absolute_error(true, predicted),
        "r2": lambda: metrics.r2_score(true, predicted) if len(true) > 1 else math.nan,
    }
