"""Rows and columns on their way to an array or DataFrame.

Flow: a decoder reads its format into rows of JSON values or of CSV cells; `from_values` and `from_cells` settle the
types. Numbers without names are a float64 ndarray. As soon as there are column names, or a cell that is not a number,
it is a DataFrame whose columns have the types that pandas would give them.

The types are those of this body alone: a column of 1 and 2 is int64 here and float64 where a cell of it is missing.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs.words import counted, place, quoted
from serving.errors import BadInput, TooLarge

Data: TypeAlias = np.ndarray | pd.DataFrame | scipy.sparse.csr_matrix  # always 2-D: rows x features
Names: TypeAlias = Sequence[str] | None

WIDEST = 2**31 - 1  # columns of a sparse matrix: its indices are int32 in every library that will read it
WIDEST_FRAME = 1 << 17  # each column of a DataFrame takes microseconds, however few its rows: millions take minutes


class OpenWidth(scipy.sparse.csr_matrix):  # type: ignore[misc]
    """A matrix at least this wide: libsvm says the largest index and no width. `conform` makes it the model's."""


# What pandas.read_csv takes for a missing value, so that a model sees in a request what it saw in its training file.
MISSING = frozenset(
    {
        *("", "nan", "NaN", "-nan", "-NaN", "NA", "<NA>", "N/A", "n/a", "#N/A", "#NA", "#N/A N/A", "null", "NULL"),
        *("None", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
    }
)
_BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}

_NEVER_FIRST = frozenset("abcdefghjklmopqrstuvwxyzABCDEFGHJKLMOPQRSTUVWXYZ")  # tells most text, without the exception
_NUMBERS = {int, float, type(None)}
_SCALARS = {*_NUMBERS, bool, str}


def check_names(names: Sequence[str]) -> None:
    """BadInput for a column name that is empty, there twice, or no text that could be written down again."""
    if _broken(names):
        raise BadInput("A column name holds half of a surrogate pair, which is not a character.")
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name:
            hint = " If it is a DataFrame's index, write the file with index=False." if number == 1 else ""
            raise BadInput(f"Column {number} has no name. Every column needs one.{hint}")
        if name in seen:
            raise BadInput(f"The column name {quoted(name)} is there twice. Every column needs its own.")
        seen.add(name)


def check_widths(rows: Sequence[Sequence[Any]], names: Names) -> None:
    """BadInput, with both numbers, unless every row is as wide as there are names (or as the first row is)."""
    expected = len(rows[0]) if names is None else len(names)
    if not expected:
        raise BadInput("Row 1 has no columns.")
    if set(map(len, rows)) == {expected}:
        return
    number, row = next((number, row) for number, row in enumerate(rows, 1) if len(row) != expected)
    other = f" and row 1 has {expected}" if names is None else f", for {counted(expected, 'column name')}"
    raise BadInput(f"Row {number} has {counted(len(row), 'column')}{other}.")


def from_values(rows: Sequence[list[Any]], names: Names) -> Data:
    """Rows of JSON values (number, text, true, false, null) as Data. Null is NaN; text is never read as a number."""
    check_widths(rows, names)
    kinds = {type(value) for row in rows for value in row}
    if names is None and kinds <= _NUMBERS:
        try:
            return np.array(rows, dtype=np.float64)
        except OverflowError:
            pass  # looked at by column, below, the number that is too large gets its place
    check_frame_width(len(rows[0]))
    return _frame([_values(column, at, names) for at, column in enumerate(zip(*rows, strict=True), 1)], names)


def from_cells(rows: Sequence[list[str]], names: Names, texts: frozenset[str | int] = frozenset()) -> Data:
    """Rows of CSV cells as Data. A cell is missing when pandas would say so, or when it is blank. `texts`: names of
    columns that are text whatever they look like, or places where there are no names."""
    check_widths(rows, names)
    columns = list(zip(*rows, strict=True))
    if names is None and not texts and may_be_numbers(rows[0]):
        try:
            return np.column_stack([_floats(cells) for cells in columns])
        except ValueError:
            pass  # there is text, so it is a DataFrame
    kinds = [_text if key in texts else _natural for key in (range(len(columns)) if names is None else names)]
    return _frame([kind(cells) for kind, cells in zip(kinds, columns, strict=True)], names)


def check_frame_width(width: int) -> None:
    """TooLarge for more columns than can be looked at one by one."""
    if width > WIDEST_FRAME:
        raise TooLarge(f"Rows of {width} columns are more than the {WIDEST_FRAME} that names, text or gaps allow.")


def _frame(columns: Iterable[Any], names: Names) -> pd.DataFrame:
    data = pd.DataFrame(dict(enumerate(columns)), copy=False)
    data.columns = pd.RangeIndex(data.shape[1]) if names is None else pd.Index(names)
    return data


def is_ordinary(text: str) -> bool:
    """Python also reads 1_000, and the digits of other scripts, as numbers; no body of numbers means that."""
    return text.isascii() and "_" not in text


def is_number(cell: str) -> bool:
    """Whether a CSV cell is a number, any spelling of NaN included."""
    if cell[:1] in _NEVER_FIRST:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return is_ordinary(cell)


def may_be_numbers(cells: Sequence[str]) -> bool:
    """Of a first row: whether it is worth reading all of them as numbers."""
    try:
        _floats(cells)
    except ValueError:
        return False
    return True


def _floats(cells: Sequence[str]) -> np.ndarray:
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        values = np.array([math.nan if cell.strip() in MISSING else float(cell) for cell in cells])
    if not is_ordinary("".join(cells)):
        raise ValueError
    return values


def _text(cells: Sequence[str]) -> Any:
    return np.array([math.nan if cell.strip() in MISSING else cell for cell in cells], dtype=object)


def _natural(cells: Sequence[str]) -> Any:
    """What pandas would make of the column: int64, else float64, else bool, else text; missing cells are NaN."""
    try:
        whole = np.array(list(map(int, cells)), dtype=np.int64)
        if is_ordinary("".join(cells)):
            return whole
    except (ValueError, OverflowError):
        pass
    try:
        return _floats(cells)
    except ValueError:
        present: list[Any] = [math.nan if cell.strip() in MISSING else cell for cell in cells]
        logical = {cell for cell in present if cell is not math.nan} <= _BOOLEANS.keys()
        return [_BOOLEANS.get(cell, cell) for cell in present] if logical else present


def _values(column: Sequence[Any], at: int, names: Names) -> Any:
    """JSON values as an array, or as a list in which pandas finds the type: text, booleans, or text and numbers."""
    kinds = set(map(type, column))
    if not kinds <= _SCALARS:
        row, value = next((row, value) for row, value in enumerate(column, 1) if type(value) not in _SCALARS)
        found = "a list" if type(value) is list else "an object"
        raise BadInput(f"{place(row, at, names)}: {found} where a number, text, true, false or null belongs.")
    if str in kinds and _broken(value for value in column if type(value) is str):
        raise BadInput(f"Column {at} holds half of a surrogate pair, which is not a character.")
    if kinds <= _NUMBERS:
        return _measures(column, at, names)
    return [math.nan if value is None else value for value in column]


def _measures(column: Sequence[Any], at: int, names: Names) -> np.ndarray:
    """Whole numbers are int64 while they fit, like pandas'; all others, and with null among them, are float64."""
    try:
        if set(map(type, column)) == {int}:
            return np.array(column, dtype=np.int64)
    except OverflowError:
        pass
    for row, value in enumerate(column, 1):
        try:
            float(value or 0)
        except OverflowError:
            raise BadInput(f"{place(row, at, names)}: the number is too large to be a float.") from None
    return np.array(column, dtype=np.float64)


def _broken(texts: Iterable[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return True
    return False
