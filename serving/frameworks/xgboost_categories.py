"""XGBoost's columns of categories: what a booster has learnt of them, and a request's cells as such categories.

A booster of XGBoost 3.1 or newer holds the categories themselves. They are words or numbers; it takes a DataFrame whose
categories are of the same kind, in any order.
"""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

_CATEGORIES = b"\4cats{"
_ENCODER = re.compile(rb"\{L\0{7}[\4\7](offsets|type)")


def kinds_of(booster: Any, categorical: Sequence[int]) -> tuple[str, ...]:
    """Text, where categories are words: in a UBJSON file these have offsets, and numbers have a type. The categories of
    all columns are what its gradient booster begins with; as JSON, a large model would take seconds."""
    content = bytes(booster.save_raw("ubj"))
    encoders = islice(_ENCODER.finditer(content, max(0, content.find(_CATEGORIES))), booster.num_features())
    words = {at for at, found in enumerate(encoders) if found[1] == b"offsets"}
    return tuple("text" if at in words.intersection(categorical) else "any" for at in range(booster.num_features()))


def as_category(column: "pd.Series[Any]") -> Any:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.array
    codes, found = pd.factorize(column)
    values = (
        np.asarray(found) if len(found) else np.array(["?"])
    )  # XGBoost fails on a column that is missing throughout
    if values.dtype.kind == "f" and (values == np.trunc(values)).all():
        values = values.astype(np.int64)  # whole numbers that a missing value beside them made floats
    return pd.Categorical.from_codes(codes, pd.Index(values))
