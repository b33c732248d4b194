"""Which columns of a scikit-learn model hold words: those that its encoders have learnt words of.

    words(model, names) -> places of columns

Such a column is text whatever it looks like: read as a number, `0042` would be another category, or none. Looked for
where columns are still the request's own: through searches, the first steps of pipelines, the parts of a
ColumnTransformer or FeatureUnion. A model that hides its encoders elsewhere has none here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_NOTHING: frozenset[int] = frozenset()


def words(model: Any, names: Sequence[str] | None = None) -> frozenset[int]:
    """`names`: of the columns that the model is given, where it knows them."""
    if (best := getattr(model, "best_estimator_", None)) is not None:
        return words(best, names)
    if (steps := getattr(model, "steps", None)) is not None:
        return _of_steps(steps, names)
    if (parts := getattr(model, "transformers_", None)) is not None:
        return _of_parts(parts, names)
    if (union := getattr(model, "transformer_list", None)) is not None:
        return frozenset[int]().union(*(words(part, names) for _, part in union))
    if hasattr(model, "build_analyzer"):
        return frozenset({0})
    return frozenset(at for at, known in enumerate(getattr(model, "categories_", ())) if _are_words(known))


def _of_steps(steps: Iterable[tuple[str, Any]], names: Sequence[str] | None) -> frozenset[int]:
    """Of the first step that encodes. Before it, what fills gaps leaves columns where they are."""
    for _, step in steps:
        if found := words(step, names):
            return found
        if not _fills_gaps(step):
            break
    return _NOTHING


def _fills_gaps(step: Any) -> bool:
    """A column that was empty throughout in training is dropped, and those after it move up."""
    if step is None or isinstance(step, str):
        return True
    filled = getattr(step, "statistics_", None)
    return filled is not None and not step.add_indicator and not any(value != value for value in filled)


def _of_parts(parts: Iterable[tuple[Any, ...]], names: Sequence[str] | None) -> frozenset[int]:
    found: set[int] = set()
    for _, part, columns, *_ in parts:
        places = _places(columns, names)
        found.update(places[at] for at in words(part) if at < len(places))
    return frozenset(found)


def _places(columns: Any, names: Sequence[str] | None) -> list[int]:
    """Of a ColumnTransformer's columns: names, numbers, or a mask. None of what is said in another way."""
    if isinstance(columns, str | int):
        columns = [columns]
    if isinstance(columns, slice) or callable(columns):
        return []
    if len(columns) and all(isinstance(column, bool | np.bool_) for column in columns):
        return [int(at) for at in np.flatnonzero(columns)]
    known = {name: at for at, name in enumerate(names or ())}
    places = [known.get(column) if isinstance(column, str) else int(column) for column in columns]
    return [] if None in places else [at for at in places if at is not None]


def _are_words(known: Any) -> bool:
    return any(isinstance(category, str) for category in known)
