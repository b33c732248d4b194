"""text/libsvm in: `label? index:value index:value ...`, one row a line, as a sparse matrix.

An index is the column as it stands, and column 0 is the first, as XGBoost reads the format (and AWS's image of it). Who
trained on a file whose indices start at 1 has an empty first column in that model, and so sends the same file here.
A label, qid:n and what follows a # are passed over, as are blank lines; a row without entries is a label alone.
The width is the largest index plus one, which says how wide the rows are at least: see table.OpenWidth.

Flow: a pattern tells a good line from a bad one, Python's own int() and float() read it, and only a body in which
something is wrong is looked at entry by entry, for the sentence.
"""

import re
from array import array
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from serving.codecs.table import WIDEST, Data, Names, OpenWidth
from serving.codecs.text import text_of
from serving.codecs.words import quoted
from serving.errors import BadInput

# Printable ASCII but for the colon, and the underscore that Python would take for part of a number.
_WORD = "[!-9;-^`-~]+"
_LINE = re.compile(
    rf"(?:(?P<label>{_WORD})(?:\s+|$))?(?:qid:\d+(?:\s+|$))?(?P<entries>(?:\d{{1,10}}:{_WORD}(?:\s+|$))*)", re.A
)
_ENTRY = re.compile(r"(\d+):([^:]+)", re.A)


def decode_libsvm(body: bytes, parameters: dict[str, str], names: Names) -> Data:
    """A csr_matrix of float64, indices sorted."""
    text = text_of(body, parameters)
    indices, values, starts = array("q"), array("d"), array("q", [0])
    try:
        for line in _lines(text):
            _read(line, indices, values)
            starts.append(len(indices))
        if indices and max(indices) >= WIDEST:
            raise ValueError
    except ValueError:
        raise _wrong_entry(text) from None
    return _matrix(np.array(indices), np.array(values), np.array(starts))


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if entries := line.partition("#")[0].strip():
            yield entries


def _read(line: str, indices: "array[int]", values: "array[float]") -> None:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError
    label, entries = match["label"], match["entries"].replace(":", " ").split()
    if label is not None:
        float(label)
    indices.extend(map(int, entries[::2]))
    values.extend(map(float, entries[1::2]))


def _matrix(indices: np.ndarray, values: np.ndarray, starts: np.ndarray) -> OpenWidth:
    if len(starts) == 1:
        raise BadInput("There are no rows. Send at least one.")
    matrix = OpenWidth((values, indices, starts), shape=(len(starts) - 1, int(indices.max(initial=-1)) + 1))
    matrix.sort_indices()
    if not matrix.has_canonical_format:
        raise _index_twice(matrix)
    return matrix


def _index_twice(matrix: OpenWidth) -> BadInput:
    for row, (start, end) in enumerate(pairwise(matrix.indptr), 1):
        again = np.flatnonzero(np.diff(matrix.indices[start:end]) == 0)
        if again.size:
            return BadInput(f"Row {row}: the index {matrix.indices[start + again[0]]} is there twice.")
    return BadInput("An index is there twice in one row.")


def _wrong_entry(text: str) -> BadInput:
    """The first entry, in the order of the body, that cannot be read."""
    for row, line in enumerate(_lines(text), 1):
        for at, token in enumerate(line.split(), 1):
            if at == 1 and ":" not in token:
                if not _is_float(token):
                    return BadInput(f"Row {row}: the label {quoted(token)} is not a number.")
            elif not (entry := _ENTRY.fullmatch(token)):
                if not re.fullmatch(r"qid:\d+", token):
                    return BadInput(f"Row {row}, entry {at}: {quoted(token)} is not index:value.")
            elif not _is_float(entry[2]):
                return BadInput(f"Row {row}, index {entry[1][:40]}: {quoted(entry[2])} is not a number.")
            elif int(entry[1][:20]) >= WIDEST:
                return BadInput(
                    f"Row {row}, entry {at}: the index is larger than {WIDEST - 1}, the largest that is read."
                )
    return BadInput("The body is not libsvm: label index:value index:value ..., one row a line.")


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
