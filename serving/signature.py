"""What a model takes, and data brought into that form: the number of features, their names, their order.

Flow: decode -> conform -> the model. conform never drops, repeats or guesses a column: what does not fit is BadInput
with both numbers, or with the names. What belongs in the cells is kinds.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs.table import Data, OpenWidth
from serving.codecs.words import counted, listed
from serving.errors import BadInput, InvalidModel
from serving.kinds import by_place, is_numeric, numbers, of_kinds, values_of

if TYPE_CHECKING:
    from serving.manifest import Manifest

__all__ = ["Signature", "completed", "conform", "numbers"]


@dataclass(frozen=True)
class Signature:
    """The columns that a model was trained on, as far as it says: their names in its order, or how many they are; and
    what belongs in each, where that is known (manifest.Kind). `verbatim`: places of columns that CSV leaves as they are
    written, as their categories are words, though they may be given as numbers too."""

    names: tuple[str, ...] | None = None
    count: int | None = None
    kinds: tuple[str, ...] | None = None
    verbatim: frozenset[int] = frozenset()

    @property
    def width(self) -> int | None:
        return self.count if self.names is None else len(self.names)

    @property
    def texts(self) -> frozenset[str | int]:
        """Names and places of the columns that hold text, whatever it looks like."""
        kinds = enumerate(self.kinds or ())
        places = sorted({at for at, kind in kinds if kind == "text"} | self.verbatim)
        return frozenset([*places, *(self.names[at] for at in places if self.names)])


def completed(signature: Signature, manifest: "Manifest") -> Signature:
    """What the model says of its columns, with what its manifest says. Raises InvalidModel where they contradict."""
    inputs = manifest.inputs
    count = manifest.input_count if inputs is None else len(inputs)
    if count is None:
        return signature
    if signature.width not in (None, count):
        raise InvalidModel(
            f"The artifact's description has {counted(count, 'input')}, and the model takes {signature.width}."
        )
    if inputs is None:
        return replace(signature, count=count)
    kinds: tuple[str, ...] = tuple(column.kind for column in inputs)
    said = [column.name for column in inputs]
    names = tuple(name for name in said if name is not None)
    if len(names) != len(said) or len(set(names)) != len(names):
        return replace(signature, count=count, kinds=_known(kinds, signature.kinds))
    if signature.names is not None and signature.names != names:
        kinds = _in_order(dict(zip(names, kinds, strict=True)), signature.names)
        names = signature.names
    return replace(signature, names=names, count=count, kinds=_known(kinds, signature.kinds))


def _known(said: tuple[str, ...], own: tuple[str, ...] | None) -> tuple[str, ...]:
    """What the model knows of a column of which the manifest says nothing."""
    return tuple(mine if kind == "any" else kind for kind, mine in zip(said, own or said, strict=True))


def _in_order(kinds: dict[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    spelled = {name.replace(" ", "_"): kind for name, kind in kinds.items()} | kinds
    if unknown := [name for name in names if name not in spelled]:
        raise InvalidModel(f"The model needs the {_columns(unknown)}, which the artifact's description has not.")
    return tuple(spelled[name] for name in names)


def conform(data: Data, signature: Signature) -> Data:
    """Data with the signature's width and, where it has names, a DataFrame of these names in this order.

    A DataFrame's columns are matched by name, or by place where they are called 0 to n-1. Where the signature has a
    count alone, a DataFrame of numbers and booleans is the float64 array of its values. A libsvm matrix is widened; a
    sparse matrix gets no names. An empty signature leaves the data as it is. Cells are held against the signature's
    kinds; dates become pandas' own. Raises BadInput.
    """
    fitted = _fit(data, signature)
    return fitted if signature.kinds is None else of_kinds(fitted, signature.kinds)


def _fit(data: Data, signature: Signature) -> Data:
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


def _check_width(data: Data, width: int) -> None:
    rows, found = data.shape
    if found != width:
        these = "this row has" if rows == 1 else "these rows have"
        raise BadInput(f"The model takes {counted(width, 'feature')} and {these} {found}.")


def _counted_frame(data: pd.DataFrame, width: int) -> Data:
    _check_width(data, width)
    return values_of(data) if is_numeric(data) else data


def _named_frame(data: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    if list(data.columns) == list(names):
        return data
    given = [str(name) for name in data.columns]
    if set(given) == set(names) and len(given) == len(names):
        return data.set_axis(given, axis=1)[list(names)]
    joined = [name.replace(" ", "_") for name in given]  # LightGBM writes blanks in names so
    if set(joined) == set(names) and len(joined) == len(names):
        return data.set_axis(joined, axis=1)[list(names)]
    if not by_place(data):
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


@lru_cache(maxsize=64)
def _index_of(names: tuple[str, ...]) -> "pd.Index[Any]":
    """Of the model's names, and so made once: it costs more than all else in a DataFrame of one row."""
    return pd.Index(names)
