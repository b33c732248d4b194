"""What kind of answer a model gives, by its own word: estimators say it, boosters and most of users' models do not."""

from typing import Any

import numpy as np


def classes_of(model: Any) -> np.ndarray | None:
    """The classes that it knows, in the order of its probabilities' columns; None where it says none."""
    try:
        found = np.asarray(model.classes_)
    except Exception:  # noqa: BLE001  a property of a class that anybody may have written
        return None
    return found if found.ndim == 1 and found.size and found.dtype.kind in "biufUSO" else None


def classifies(model: Any) -> bool | None:
    """Whether it answers with classes (True) or numbers (False); None where it does not say."""
    if classes_of(model) is not None:
        return True
    try:
        from sklearn.base import is_classifier, is_regressor

        return True if is_classifier(model) else False if is_regressor(model) else None
    except Exception:  # noqa: BLE001  as above; what is no estimator has no tags
        return None
