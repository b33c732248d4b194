"""Content type <-> array or DataFrame: what a request body says, and how an answer is written.

Flow: decode looks the Content-Type up and hands the body to one of the decode_*.py; serving.signature then fits what
came to the model. negotiate picks the answer's type by the Accept header, and encode writes it (encode.py).
Here: the two tables, and the headers.

Invariant: whatever the bytes, decode returns Data or raises a MedleyError whose sentence names the row and the column,
where there is one. Rows are counted from 1 and are data rows (a CSV header is not one); columns are counted from 1.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from serving.codecs.decode_csv import decode_csv
from serving.codecs.decode_json import decode_json, decode_jsonlines
from serving.codecs.decode_libsvm import decode_libsvm
from serving.codecs.decode_npy import decode_npy, decode_npz
from serving.codecs.encode import encode_csv, encode_json, encode_jsonlines, encode_npy
from serving.codecs.table import Data, Names
from serving.codecs.words import quoted
from serving.errors import NotAcceptable, UnsupportedContentType

__all__ = ["DECODABLE", "ENCODABLE", "Data", "decode", "encode", "media_type", "negotiate"]

_DECODERS: dict[str, Callable[[bytes, dict[str, str], Names], Data]] = {
    "text/csv": decode_csv,
    "application/json": decode_json,
    "application/jsonlines": decode_jsonlines,
    "application/x-jsonlines": decode_jsonlines,
    "application/x-ndjson": decode_jsonlines,
    "application/x-npy": decode_npy,
    "application/x-npz": decode_npz,
    "text/libsvm": decode_libsvm,
    "text/x-libsvm": decode_libsvm,
}
_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "application/json": encode_json,
    "text/csv": encode_csv,
    "application/jsonlines": encode_jsonlines,
    "application/x-npy": encode_npy,
    "application/x-jsonlines": encode_jsonlines,
    "application/x-ndjson": encode_jsonlines,
}
DECODABLE = tuple(_DECODERS)
ENCODABLE = tuple(_ENCODERS)

# What stands between two separators, where one within quotes is none. An open quote ends with the header, and each
# branch moves on, so that no header takes more than linear time.
_PARTS = {mark: re.compile(rf'(?:[^"{mark}]|"(?:[^"\\]|\\.?)*(?:"|$))+', re.DOTALL) for mark in ",;"}


def media_type(header: str | None) -> tuple[str, dict[str, str]]:
    """`text/csv; Header="present"` -> `("text/csv", {"header": "present"})`. Type and parameter names in lower case."""
    kind, parameters = _media_type(header or "")
    return kind, dict(parameters)


def decode(
    body: bytes,
    content_type: str | None,
    names: Sequence[str] | None = None,
    texts: frozenset[str | int] = frozenset(),
) -> Data:
    """The body as an array or DataFrame, always rows x features (RFC 9110 8.3).

    Numbers without names: a C-contiguous float64 array (npy keeps its numeric dtype). With names, or any text: a
    DataFrame with pandas' natural dtypes, empty cells and nulls NaN; without names its columns are 0 to n-1.
    npz and libsvm: a csr_matrix. `names` are the model's own, where known, to recognise a CSV header; `texts` are names
    and places of columns that hold text, which CSV cannot tell from numbers.
    Raises UnsupportedContentType, BadInput, TooLarge.
    """
    kind, parameters = _media_type(content_type or "")
    try:
        decoder = _DECODERS[kind]
    except KeyError:
        found = f"The Content-Type {quoted(kind)} cannot be read here." if kind else "The request has no Content-Type."
        raise UnsupportedContentType(f"{found} Send one of: {', '.join(DECODABLE)}.") from None
    if texts and decoder is decode_csv:
        return decode_csv(body, parameters, names, texts)
    return decoder(body, parameters, names)


def negotiate(accept: str | None, default: str) -> str:
    """The type to answer in, of `default` and ENCODABLE, by an Accept header (RFC 9110 12.5.1).

    Highest q first; among equals the type named outright, then the one named first, then `default`. q=0 excludes. An
    element that is no media range is passed over. Nothing asked for, or */*, is `default`. Raises NotAcceptable.
    """
    return default if not accept or accept == "*/*" else _negotiated(accept, default)


def encode(prediction: Any, content_type: str) -> bytes:
    """The prediction (array, DataFrame, Series, sparse matrix, list, tuple, scalar) in one of ENCODABLE.

    Raises NotAcceptable for another type, or where the type has no form for this prediction; PredictionFailed.
    """
    try:
        encoder = _ENCODERS[_media_type(content_type)[0]]
    except KeyError:
        raise _nothing_acceptable() from None
    return encoder(prediction)


@lru_cache(maxsize=256)
def _media_type(header: str) -> tuple[str, dict[str, str]]:
    """Shared by all who ask with the same header: not to be changed."""
    kind, *rest = _PARTS[";"].findall(header) or [""]
    parameters: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if equals:
            parameters.setdefault(name.strip().lower(), _unquoted(value.strip()))
    return kind.strip().lower(), parameters


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if len(value) > 1 and value[0] == value[-1] == '"' else value


@lru_cache(maxsize=256)
def _negotiated(accept: str, default: str) -> str:
    elements = [element for element in _PARTS[","].findall(accept) if not element.isspace()]
    if not elements:
        return default
    ranges = [found for found in map(_range, elements) if found is not None]
    best, chosen = (0.0, 0, 0), ""
    for candidate in (default, *ENCODABLE):
        rank = _rank(_media_type(candidate)[0], ranges)
        if rank > best:
            best, chosen = rank, candidate
    if not chosen:
        raise _nothing_acceptable()
    return chosen


def _range(element: str) -> tuple[str, float] | None:
    kind, parameters = _media_type(element)
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return None
    kind = "*/*" if kind == "*" else kind  # as some old clients write it
    return (kind, quality) if "/" in kind and 0 <= quality <= 1 else None


def _rank(kind: str, ranges: list[tuple[str, float]]) -> tuple[float, int, int]:
    """(q, precision, earliness) of a type, by the most precise of the ranges that it falls under; all 0 for none."""
    patterns = ("*/*", f"{kind.partition('/')[0]}/*", kind)
    found = [(patterns.index(given), quality, -at) for at, (given, quality) in enumerate(ranges) if given in patterns]
    precision, quality, earliness = max(found, default=(0, 0.0, 0))
    return (quality, precision, earliness) if quality else (0.0, 0, 0)


def _nothing_acceptable() -> NotAcceptable:
    return NotAcceptable(f"No type that is accepted can be produced. These can: {', '.join(ENCODABLE)}.")
