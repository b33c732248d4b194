"""text/csv in. One format, three speeds, one result to the last bit.

Flow: plain numbers in a small body are split and read with float(), in a few microseconds. Plain numbers in a large
body go to pandas' C parser. Whatever these two will not take (quotes, text, odd spellings, ragged rows) goes through
the csv module, whose rows also make the sentence for what is wrong.

Rows end with LF, CRLF or CR. Line ends before the first and after the last row are passed over; a blank line between
rows is refused, since in a body of one column it could as well be a missing value.

The header: header=present or header=absent in the Content-Type decides (RFC 4180). Else, with the model's names known,
the first row is one when its cells are these names in any order, or half of its cells are and none is a number. Else it
is one when it has no blank cell and no number and a later row has a number. Numbers alone are never taken for a header.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from serving.codecs.table import (
    MISSING,
    Data,
    Names,
    check_frame_width,
    check_names,
    from_cells,
    is_number,
    may_be_numbers,
)
from serving.codecs.text import text_of
from serving.codecs.words import quoted
from serving.errors import BadInput

LARGE = 1 << 16  # characters, from which on pandas' parser takes less time than float()

# Floats are rounded correctly by float(), by pandas from 3.1 on, and by the pandas before it when it is asked to.
_PANDAS = tuple(map(int, pd.__version__.split(".")[:2]))
_EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
_HEADER = {"present": True, "absent": False}


def decode_csv(
    body: bytes, parameters: dict[str, str], names: Names, texts: frozenset[str | int] = frozenset()
) -> Data:
    """Numbers without a header are a float64 array; with names or text it is a DataFrame.

    A cell that is empty, or one of the words that pandas reads so (nan, NaN, NA, null, None, ...), is missing: NaN.
    `names` are the model's own and serve to recognise a header, nothing else. The columns in `texts` stay text.
    """
    text = text_of(body, parameters).strip("\r\n")
    header = _header_parameter(parameters)
    if texts:
        return _any_cells(text, header, names, texts)
    for read in (_numbers, _named_numbers):
        try:
            return read(text, header, names)
        except ValueError:
            continue  # not this one's kind of body
    return _any_cells(text, header, names)


def _header_parameter(parameters: dict[str, str]) -> bool | None:
    if "header" not in parameters:
        return None
    try:
        return _HEADER[parameters["header"].lower()]
    except KeyError:
        raise BadInput(f"header={quoted(parameters['header'])} is neither present nor absent.") from None


def _numbers(text: str, header: bool | None, names: Names) -> np.ndarray:
    """ValueError for a body that is anything but rows of equally many numbers."""
    if header:
        raise ValueError
    plain = _plain(text)
    if len(plain) >= LARGE and 0 < plain.find("\n") < LARGE:  # a row of millions of columns is not for pandas
        if not may_be_numbers(plain.partition("\n")[0].split(",")):
            raise ValueError
        return np.ascontiguousarray(_parsed(plain, np.float64).to_numpy())
    return np.array([list(map(float, line.split(","))) for line in plain.split("\n")])


def _named_numbers(text: str, header: bool | None, names: Names) -> pd.DataFrame:
    """ValueError for a body that is anything but a header and many rows of numbers."""
    first, _, rest = text.partition("\n")
    if len(rest) < LARGE or len(first) > LARGE or '"' in first:
        raise ValueError
    cells, second = first.split(","), rest.partition("\n")[0].split(",")
    if not _is_header(cells, [second], header, names) or not may_be_numbers(second):
        raise ValueError
    data = _parsed(_plain(rest), None)
    if data.shape[1] != len(cells) or not set(data.dtypes) <= {np.dtype(np.int64), np.dtype(np.float64)}:
        raise ValueError
    data.columns = pd.Index(_column_names(cells))
    return data


def _plain(text: str) -> str:
    """The text with LF line ends. ValueError where Python's, pandas' and the csv module's readings may differ."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if "\r" in text or '"' in text or "_" in text or not text.isascii():
        raise ValueError
    return text


def _parsed(plain: str, dtype: Any) -> pd.DataFrame:
    """By pandas' C parser. It refuses a long row; that it filled a short or skipped a blank one, the counts tell."""
    data: pd.DataFrame = pd.read_csv(
        io.StringIO(plain), header=None, dtype=dtype, low_memory=False, quoting=csv.QUOTE_NONE, **_EXACT
    )
    rows, width = data.shape
    if rows != plain.count("\n") + 1 or plain.count(",") != rows * (width - 1):
        raise ValueError
    return data


def _any_cells(text: str, header: bool | None, names: Names, texts: frozenset[str | int] = frozenset()) -> Data:
    rows = _rows(text)
    check_frame_width(len(rows[0]))
    columns = None
    if _is_header(rows[0], rows[1:], header, names):
        columns, rows = _column_names(rows[0]), rows[1:]
    if not rows:
        raise BadInput("The body has a header and no rows. Send at least one row.")
    if [] in rows:
        raise BadInput(f"Row {rows.index([]) + 1} is a blank line. Leave it out, or write nan for a missing value.")
    return from_cells(rows, columns, texts)


def _rows(text: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return list(reader)
    except csv.Error as error:
        raise BadInput(f"Line {reader.line_num} is not CSV: {error}.") from None


def _is_header(first: list[str], later: Iterable[list[str]], header: bool | None, names: Names) -> bool:
    """The rule of the module's docstring."""
    if header is not None:
        return header
    cells = [cell.strip() for cell in first]
    numbers = sum(map(is_number, cells))
    if names:
        spelled = {*names, *(cell for cell in cells if cell.replace(" ", "_") in names)}  # as LightGBM writes names
        known = sum(map(spelled.__contains__, cells))
        return (set(cells) == set(names) and numbers < len(cells)) or (not numbers and 2 * known >= len(cells) > 0)
    if numbers or not MISSING.isdisjoint(cells):
        return False
    return any(is_number(cell) and not math.isnan(float(cell)) for row in later for cell in row)


def _column_names(first: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in first]
    check_names(names)
    return names
