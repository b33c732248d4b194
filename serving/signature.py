"""What a model takes, and data brought into that form: the number of features, their names, their order.

Flow: decode -> conform -> the model. conform never drops, repeats or guesses a column: what does not fit is BadInput
with both numbers, or with the names. `numbers` is for a model that takes nothing but numbers, and names the first cell
that is none. Rows and columns are counted from 1, a CSV header not being a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs.table import Data, Names, OpenWidth, is_number
from serving.codecs.words import counted, listed, place, quoted
from serving.errors import BadInput


@dataclass(frozen=True)
class Signature:
    """The columns that a model was trained on, as far as it says: their names in its order, or how many they are."""

    names: tuple[str, ...] | None = None
    count: int | None = None

    @property
    def width(self) -> int | None:
        return self.count if self.names is None else len(self.names)


def conform(data: Data, signature: Signature) -> Data:
    """Data with the signature's width and, where it has names, a DataFrame of these names in this order.

    A DataFrame's columns are matched by name, or by place where they are called 0 to n-1. Where the signature has a
    count alone, a DataFrame of numbers and booleans is the float64 array of its values. A libsvm matrix is widened; a
    sparse matrix gets no names. An empty signature leaves the data as it is. Raises BadInput.
    """
    width = signature.width
    if width is None:
        return data
    if isinstance(data, np.ndarray):
        _check_width(data, width)
        return data if signature.names is None else pd.DataFrame(data, columns=_index_of(signature.names), copy=False)
    if isinstance(data, pd.DataFrame):
        return _counted_frame(data, width) if signature.names is None else _named_frame(data, signature.names)
    if isinstance(data, OpenWidth):
        shape = (data.shape[0], max(width, data.shape[1]))
        data = scipy.sparse.csr_matrix((data.data, data.indices, data.indptr), shape=shape)
    _check_width(data, width)
    return data


def numbers(data: Data) -> Data:
    """A DataFrame as a float64 array, anything else as it is. BadInput names the first cell that is not a number."""
    if not isinstance(data, pd.DataFrame):
        return data
    if _is_numeric(data):
        return _values(data)
    names = None if _by_place(data) else [str(name) for name in data.columns]
    for at in range(data.shape[1]):
        _check_numbers(data.iloc[:, at].tolist(), at + 1, names)
    return _values(data)


def _check_width(data: Data, width: int) -> None:
    rows, found = data.shape
    if found != width:
        these = "this row has" if rows == 1 else "these rows have"
        raise BadInput(f"The model takes {counted(width, 'feature')} and {these} {found}.")


def _counted_frame(data: pd.DataFrame, width: int) -> Data:
    _check_width(data, width)
    return _values(data) if _is_numeric(data) else data


def _named_frame(data: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    if list(data.columns) == list(names):
        return data
    given = [str(name) for name in data.columns]
    if set(given) == set(names) and len(given) == len(names):
        return data.set_axis(given, axis=1)[list(names)]
    if not _by_place(data):
        raise _wrong_names(given, names)
    _check_width(data, len(names))
    return data.set_axis(_index_of(names), axis=1)


def _wrong_names(given: Sequence[str], names: Sequence[str]) -> BadInput:
    missing, unknown = _without(names, given), _without(given, names)
    sentences = []
    if missing:
        sentences.append(f"The model needs the {_columns(missing)}, which the request has not.")
    if unknown:
        sentences.append(f"The request has the {_columns(unknown)}, which the model does not know.")
    return BadInput(" ".join(sentences) or "The request has a column twice.")


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _columns(names: Sequence[str]) -> str:
    return f"{'column' if len(names) == 1 else 'columns'} {listed(names)}"


def _by_place(data: pd.DataFrame) -> bool:
    """Whether the columns are called 0 to n-1, be it as text: so pandas writes a frame without names as records."""
    return [str(name) for name in data.columns] == [str(at) for at in range(data.shape[1])]


def _is_numeric(data: pd.DataFrame) -> bool:
    return all(dtype.kind in "biuf" for dtype in data.dtypes)


def _values(data: pd.DataFrame) -> np.ndarray:
    return np.ascontiguousarray(data.to_numpy(dtype=np.float64))


def _check_numbers(cells: Sequence[Any], column: int, names: Names) -> None:
    texts = [(row, cell) for row, cell in enumerate(cells, 1) if isinstance(cell, str)]
    for row, cell in texts:
        if not is_number(cell):
            raise BadInput(f"{place(row, column, names)}: {quoted(cell)} is not a number.")
    for row, cell in texts:
        raise BadInput(f"{place(row, column, names)}: {quoted(cell)} is text. Send the number without quotes.")


@lru_cache(maxsize=64)
def _index_of(names: tuple[str, ...]) -> "pd.Index[Any]":
    """Of the model's names, and so made once: it costs more than all else in a DataFrame of one row."""
    return pd.Index(names)
