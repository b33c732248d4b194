"""What belongs in a cell: numbers where a model takes nothing else, and the kinds that a manifest says.

    numbers(data)            a float64 array; BadInput names the first cell that is no number
    of_kinds(data, kinds)    the same for each column by its kind; dates become datetime64, as pandas reads them

Missing values belong everywhere: whether a model can use one is for its library to say. Rows and columns are counted
from 1, a CSV header not being a row.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs.table import Data, Names, is_number
from serving.codecs.words import place, quoted
from serving.errors import BadInput

_NUMERIC = frozenset({"number", "integer", "boolean"})


def numbers(data: Data) -> Data:
    """A DataFrame as a float64 array, anything else as it is. BadInput names the first cell that is not a number."""
    if not isinstance(data, pd.DataFrame):
        return data
    if is_numeric(data):
        return values_of(data)
    names = None if by_place(data) else [str(name) for name in data.columns]
    for at in range(data.shape[1]):
        _check_numbers(data.iloc[:, at].tolist(), at + 1, names)
    return values_of(data)


def number_column(data: pd.DataFrame, at: int) -> np.ndarray:
    """One column as float64. BadInput names the first cell that is no number."""
    column = data.iloc[:, at]
    if column.dtype.kind not in "biuf":
        _check_numbers(column.tolist(), at + 1, None if by_place(data) else [str(name) for name in data.columns])
    return column.to_numpy(dtype=np.float64)


def of_kinds(data: Data, kinds: Sequence[str]) -> Data:
    """`data` has as many columns as there are kinds. Raises BadInput."""
    if scipy.sparse.issparse(data) or not isinstance(data, np.ndarray | pd.DataFrame):
        return data
    if isinstance(data, np.ndarray):
        for at, kind in enumerate(kinds):
            if kind in _CHECKED_NUMBERS:
                _CHECKED_NUMBERS[kind](data[:, at], at + 1, None)
        texts = [at for at, kind in enumerate(kinds) if kind == "text"]  # all missing, as below
        return pd.DataFrame(data).astype(dict.fromkeys(texts, object)) if texts else data
    names = None if by_place(data) else [str(name) for name in data.columns]
    changed = {at: column for at, kind in enumerate(kinds) if (column := _column(data, at, kind, names)) is not None}
    if not changed:
        return data
    columns = [changed.get(at, data.iloc[:, at]) for at in range(data.shape[1])]
    return pd.concat([pd.Series(column, index=data.index) for column in columns], axis=1, keys=list(data.columns))


def _column(data: pd.DataFrame, at: int, kind: str, names: Names) -> Any:
    """The column as its kind has it; None where it may stay."""
    column = data.iloc[:, at]
    numeric = column.dtype.kind in "biuf"
    if kind in _NUMERIC and not numeric:
        _check_numbers(column.tolist(), at + 1, names)
        column, numeric = pd.Series(column.to_numpy(dtype=np.float64), index=data.index), True
        changed = column
    else:
        changed = None
    if numeric and kind in _CHECKED_NUMBERS:
        _CHECKED_NUMBERS[kind](column.to_numpy(), at + 1, names)
    if kind == "text" and numeric and len(column):
        return column.astype(object)  # all missing: as numbers, an encoder of words fails on them
    if kind == "date" and column.dtype.kind != "M":
        return _dates(column, at + 1, names)
    return changed


def _check_whole(values: np.ndarray, column: int, names: Names) -> None:
    if values.dtype.kind == "f":
        _refuse_first(values, np.isfinite(values) & (values != np.trunc(values)), column, names, "not a whole number")


def _check_logical(values: np.ndarray, column: int, names: Names) -> None:
    if values.dtype.kind != "b":
        wrong = ~np.isnan(values.astype(np.float64)) & (values != 0) & (values != 1)
        _refuse_first(values, wrong, column, names, "neither true nor false")


def _refuse_numbers(values: np.ndarray, column: int, names: Names) -> None:
    present = ~np.isnan(values.astype(np.float64))
    _refuse_first(values, present, column, names, "a number where text belongs")


def _refuse_dates(values: np.ndarray, column: int, names: Names) -> None:
    present = ~np.isnan(values.astype(np.float64))
    _refuse_first(values, present, column, names, "no date: write it as 2026-01-31 or 2026-01-31T12:00:00")


def _refuse_first(values: np.ndarray, wrong: np.ndarray, column: int, names: Names, what: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadInput(f"{place(row + 1, column, names)}: {quoted(str(values[row].item()))} is {what}.")


_CHECKED_NUMBERS: dict[str, Callable[[np.ndarray, int, Names], None]] = {
    "integer": _check_whole,
    "boolean": _check_logical,
    "text": _refuse_numbers,
    "date": _refuse_dates,
}


def _dates(column: "pd.Series[Any]", at: int, names: Names) -> Any:
    texts = column.where(column.map(lambda cell: isinstance(cell, str)).astype(bool))  # a number is no date
    try:
        found = pd.to_datetime(texts, errors="coerce", format="ISO8601")
    except ValueError as error:  # of several time zones
        raise BadInput(f"{place(1, at, names)}: the dates of one request must be of one time zone.") from error
    wrong = (found.isna() & ~column.isna()).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = quoted(str(column.iloc[row]))
        raise BadInput(
            f"{place(row + 1, at, names)}: {shown} is no date: write it as 2026-01-31 or 2026-01-31T12:00:00."
        )
    return found


def by_place(data: pd.DataFrame) -> bool:
    """Whether the columns are called 0 to n-1, be it as text: so pandas writes a frame without names as records."""
    return [str(name) for name in data.columns] == [str(at) for at in range(data.shape[1])]


def is_numeric(data: pd.DataFrame) -> bool:
    return all(dtype.kind in "biuf" for dtype in data.dtypes)


def values_of(data: pd.DataFrame) -> np.ndarray:
    return np.ascontiguousarray(data.to_numpy(dtype=np.float64))


def _check_numbers(cells: Sequence[Any], column: int, names: Names) -> None:
    texts = [(row, cell) for row, cell in enumerate(cells, 1) if isinstance(cell, str)]
    for row, cell in texts:
        if not is_number(cell):
            raise BadInput(f"{place(row, column, names)}: {quoted(cell)} is not a number.")
    for row, cell in texts:
        raise BadInput(f"{place(row, column, names)}: {quoted(cell)} is text. Send the number without quotes.")
