"""A prediction as bytes: JSON, JSON lines, CSV, npy.

What comes is whatever a model, or a user's predict_fn, returned: an array, DataFrame, Series, sparse matrix, list,
tuple, dict, text or number. JSON is the plain nested list, as sagemaker-inference writes it; a DataFrame with column
names is a list of records. CSV has no header; the first dimension is the rows. Floats are written so that reading them
as float64 gives the same bits (a float32's too). JSON has neither NaN nor infinity: both are null. CSV writes nan, inf.

What a type has no form for (text in npy, a cube in CSV) is NotAcceptable, and says what to ask for; what has no form in
any type is PredictionFailed.
"""

import datetime
import decimal
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.errors import NotAcceptable, PredictionFailed

_JSON_TYPES = (str, int, float, bool, list, tuple, dict)
_NEEDS_QUOTES = ("\n", "\r", ",", '"')


def encode_json(prediction: Any) -> bytes:
    return _json(prediction).encode()


def encode_jsonlines(prediction: Any) -> bytes:
    return "".join(f"{_json(row)}\n" for row in _rows(prediction, named=True)).encode()


def encode_csv(prediction: Any) -> bytes:
    if isinstance(prediction, np.ndarray) and prediction.dtype.kind in "fiub" and prediction.ndim in (1, 2):
        rows = prediction.tolist()
        lines = map(repr, rows) if prediction.ndim == 1 else (",".join(map(repr, row)) for row in rows)
        return "".join(f"{line}\n" for line in lines).encode()
    return "".join(f"{_csv_line(row)}\n" for row in _rows(prediction, named=False)).encode("utf-8", "replace")


def encode_npy(prediction: Any) -> bytes:
    if isinstance(prediction, pd.DataFrame):
        prediction = prediction.to_numpy()
    elif scipy.sparse.issparse(prediction):
        prediction = prediction.toarray()
    try:
        array = np.asarray(prediction)
    except ValueError:
        raise _no_form("rows of unequal lengths", "application/x-npy") from None
    if array.dtype == object:
        if not all(isinstance(value, str) for value in array.flat):
            raise _no_form("other values than numbers", "application/x-npy")
        array = array.astype(np.str_)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _json(value: Any) -> str:
    try:
        try:
            return _STRICT(value)
        except ValueError:  # NaN or infinity; or a list that holds itself, which raises again
            return _STRICT(json.loads(_LENIENT(value), parse_constant=_null))
    except (TypeError, ValueError, RecursionError):
        raise PredictionFailed("The model answered with something that cannot be written as JSON.") from None


def _null(token: str) -> None:
    return None


def _plain(value: Any) -> Any:
    """What json asks for when it meets a type that it does not know. Exported types first, `tolist` is most of them."""
    if isinstance(value, pd.DataFrame):
        return _records(value)
    if scipy.sparse.issparse(value):
        return value.toarray().tolist()
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | np.floating):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(type(value).__name__)


_STRICT: Callable[[Any], str] = json.JSONEncoder(allow_nan=False, default=_plain).encode
_LENIENT: Callable[[Any], str] = json.JSONEncoder(default=_plain).encode


def _records(data: pd.DataFrame) -> list[Any]:
    """Records where the columns have names of their own, else lists."""
    rows = _lists(data)
    names = [str(name) for name in data.columns]
    if len(set(names)) < len(names) or data.columns.equals(pd.RangeIndex(len(names))):
        return rows
    return [dict(zip(names, row, strict=True)) for row in rows]


def _lists(data: pd.DataFrame) -> list[Any]:
    if not data.shape[1]:
        return [[] for _ in range(len(data))]
    columns = (data.iloc[:, at].tolist() for at in range(data.shape[1]))
    return [list(row) for row in zip(*columns, strict=True)]


def _rows(prediction: Any, named: bool) -> list[Any]:
    if isinstance(prediction, pd.DataFrame):
        return _records(prediction) if named else _lists(prediction)
    if isinstance(prediction, list | tuple):
        return list(prediction)
    plain = _plain_or_itself(prediction)
    return plain if isinstance(plain, list) else [plain]


def _plain_or_itself(value: Any) -> Any:
    if value is None or type(value) in _JSON_TYPES:
        return value
    try:
        return _plain(value)
    except TypeError:
        if isinstance(value, _JSON_TYPES):  # a subclass: a named tuple, an enumeration of text
            return value
        raise PredictionFailed("The model answered with something that has no written form.") from None


def _csv_line(row: Any) -> str:
    row = _plain_or_itself(row)
    cells = [_csv_cell(cell) for cell in row] if isinstance(row, list | tuple) else [_csv_cell(row)]
    return '""' if cells == [""] else ",".join(cells)


def _csv_cell(cell: Any) -> str:
    cell = _plain_or_itself(cell)
    if isinstance(cell, list | tuple | dict):
        raise _no_form("values within values", "text/csv")
    if cell is None:
        return "nan"
    if isinstance(cell, str) and any(mark in cell for mark in _NEEDS_QUOTES):
        return '"' + cell.replace('"', '""') + '"'
    return str(cell)


def _no_form(what: str, content_type: str) -> NotAcceptable:
    return NotAcceptable(f"The prediction has {what}, which {content_type} has no form for. Ask for application/json.")
