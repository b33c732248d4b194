"""The channels of a training: the files of one, as rows and what is to be predicted of each.

    text/csv               with a header or without: `text/csv; header=present` says it, else the first line does (it
                           has no number, and the next line has one)
    text/libsvm            a label, then index:value; an index is the column as it stands, as in requests
    application/x-parquet  columns with names

`target` is a column, by name or by place; the first where nothing is said, as in SageMaker's own algorithms. Several
files of a channel are one table. What cannot be read is BadInput, whose sentence names channel and file.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs import media_type
from serving.errors import BadInput

_HIDDEN = (".", "_")  # how files and folders begin that are no data, such as _SUCCESS and .ipynb_checkpoints
_TYPES = {
    "csv": "csv",
    "libsvm": "libsvm",
    "svmlight": "libsvm",
    "svm": "libsvm",
    "x-libsvm": "libsvm",
    "parquet": "parquet",
    "x-parquet": "parquet",
}


@dataclass(frozen=True)
class Table:
    """rows: a DataFrame where columns have names or words, else an array, or a sparse matrix. answers: one for each."""

    rows: Any
    answers: np.ndarray

    @property
    def columns(self) -> list[str] | None:
        return [str(name) for name in self.rows.columns] if isinstance(self.rows, pd.DataFrame) else None


def read(folder: Path, content_type: str, target: str) -> Table:
    """All files below `folder`. Raises BadInput."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path, folder)]
    if not files:
        raise BadInput(f"The channel {folder.name} has no file.")
    kind = _kind(content_type, files[0])
    try:
        table = _READERS[kind](files, content_type, target)
    except BadInput as error:
        raise BadInput(f"The channel {folder.name}: {error}") from error
    except (ValueError, OSError) as error:
        raise BadInput(f"The channel {folder.name} cannot be read as {kind}: {error}") from error
    if not len(table.answers):
        raise BadInput(f"The channel {folder.name} has no row.")
    return table


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(_HIDDEN) for part in path.relative_to(folder).parts)


def _kind(content_type: str, file: Path) -> str:
    said = content_type.partition(";")[0].strip().rpartition("/")[2].lower()
    if found := _TYPES.get(said or file.suffix.removeprefix(".").lower()):
        return found
    raise BadInput(
        f"The channel {file.parent.name} holds {content_type or file.name}. "
        "Training reads text/csv, text/libsvm and application/x-parquet: say which as the channel's ContentType."
    )


def _csv(files: list[Path], content_type: str, target: str) -> Table:
    said = {"present": True, "absent": False}.get(media_type(content_type)[1].get("header", "").lower())
    tables = [pd.read_csv(file, header=0 if _has_header(file, said) else None) for file in files]
    return _of_frames(files, tables, target)


def _has_header(file: Path, said: bool | None) -> bool:
    if said is not None:
        return said
    head = pd.read_csv(file, header=None, nrows=2, dtype=str, keep_default_na=False).to_numpy().tolist()
    first, later = (head[0], head[1]) if len(head) > 1 else (head[0], [])
    return not any(map(_is_number, first)) and "" not in first and any(map(_is_number, later))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(files: list[Path], _content_type: str, target: str) -> Table:
    """By DuckDB: where pyarrow is installed pandas imports it, and its threads would be in every model's parent."""
    if importlib.util.find_spec("duckdb") is None:
        raise BadInput('Parquet needs DuckDB: build the image with "parquet" in FRAMEWORKS, or give CSV.')
    import duckdb

    try:
        with duckdb.connect() as connection:
            tables = [connection.read_parquet(str(file)).df() for file in files]
    except duckdb.Error as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    return _of_frames(files, tables, target)


def _of_frames(files: list[Path], tables: list[pd.DataFrame], target: str) -> Table:
    for file, table in zip(files, tables, strict=True):
        if list(table.columns) != list(tables[0].columns):
            raise BadInput(f"{file.name} has other columns than {files[0].name}.")
    table = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    has_names = any(isinstance(name, str) for name in table.columns)
    wanted = _column(table, target)
    if table[wanted].isna().any():
        raise BadInput(f"{_in_words(wanted, has_names)}, which is to be predicted, has missing values.")
    rows = table.drop(columns=wanted)
    if rows.shape[1] == 0:
        raise BadInput(f"There is no column beside {target!r}, which is to be predicted.")
    only_numbers = all(kind.kind in "iufb" for kind in rows.dtypes)
    return Table(rows if has_names or not only_numbers else rows.to_numpy(dtype=float), table[wanted].to_numpy())


def _column(table: pd.DataFrame, target: str) -> Any:
    if target in table.columns:
        return target
    place = int(target) if target.removeprefix("-").isdecimal() else None
    if place is None or not -table.shape[1] <= place < table.shape[1]:
        names = ", ".join(map(str, table.columns[:20]))
        raise BadInput(f"there is no column {target!r} to predict; there are: {names}.")
    return table.columns[place]


def _in_words(column: Any, has_name: bool) -> str:
    return f"the column {column!r}" if has_name else f"column {column}"


def _libsvm(files: list[Path], _content_type: str, _target: str) -> Table:
    from sklearn.datasets import load_svmlight_file

    parts = [load_svmlight_file(str(file), zero_based=True) for file in files]
    width = max(rows.shape[1] for rows, _ in parts)
    rows = scipy.sparse.vstack([_widened(rows, width) for rows, _ in parts], format="csr")
    return Table(rows, np.concatenate([answers for _, answers in parts]))


def _widened(rows: Any, width: int) -> Any:
    return scipy.sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=(rows.shape[0], width))


def as_wide_as(table: Table, count: int | None) -> Table:
    """Sparse rows with so many columns, where that is known; any others as they are."""
    if count is None or not scipy.sparse.issparse(table.rows) or table.rows.shape[1] == count:
        return table
    if table.rows.shape[1] > count:
        return Table(table.rows[:, :count], table.answers)
    return Table(_widened(table.rows, count), table.answers)


def alike(table: Table, other: Table) -> tuple[Table, Table]:
    """`table` with the columns of `other`, in their order, and `other`; where they are sparse, both with as many as the
    wider. Raises BadInput where one has others."""
    if scipy.sparse.issparse(table.rows) and scipy.sparse.issparse(other.rows):
        width = max(table.rows.shape[1], other.rows.shape[1])
        return as_wide_as(table, width), as_wide_as(other, width)
    if table.columns and other.columns and set(table.columns) == set(other.columns):
        return Table(table.rows[other.rows.columns], table.answers), other
    if table.rows.shape[1] != other.rows.shape[1] or table.columns != other.columns:
        raise BadInput(
            f"the channels have different columns: {table.rows.shape[1]} in one, {other.rows.shape[1]} in the other, "
            "or other names."
        )
    return table, other


def batches(rows: Any, size: int) -> Iterator[Any]:
    """`size` rows at a time."""
    for start in range(0, rows.shape[0], size):
        yield rows.iloc[start : start + size] if isinstance(rows, pd.DataFrame) else rows[start : start + size]


_READERS: dict[str, Callable[[list[Path], str, str], Table]] = {"csv": _csv, "libsvm": _libsvm, "parquet": _parquet}
