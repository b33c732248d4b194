"""Every framework, by every content type that it can take, with every predict method: the library's own bits.

The model is loaded from its artifact by the handler that serves it, asked in one form, answered in another, and held
against the library called directly. Text forms carry floats whole: Python writes the shortest digits that read back.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from serving.frames import Request
from serving.handler import Handler, Options
from tests.golden.models import MAKERS, cases, manifest_of


def _cell(value: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(value, float) and np.isnan(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _json_rows(rows: Any) -> list[list[Any]]:
    return [[_cell(cell) for cell in row] for row in (rows.to_numpy(dtype=object) if _named(rows) else rows.tolist())]


def _records(rows: Any) -> list[dict[str, Any]]:
    turned = list(rows.columns[::-1])  # names may come in any order
    return [{name: _cell(row[name]) for name in turned} for _, row in rows.astype(object).iterrows()]


def _npy(rows: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def _npz(rows: Any) -> bytes:
    file = io.BytesIO()
    scipy.sparse.save_npz(file, scipy.sparse.csr_matrix(rows))
    return file.getvalue()


def _libsvm(rows: Any) -> bytes:
    lines = [" ".join(f"{at}:{cell!r}" for at, cell in enumerate(row)) for row in rows.tolist()]
    return "\n".join(f"0 {line}" for line in lines).encode()


def _named(rows: Any) -> bool:
    return isinstance(rows, pd.DataFrame)


FORMS: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "csv": ("text/csv", lambda rows: pd.DataFrame(rows).to_csv(index=False, header=False).encode()),
    "csv with names": ("text/csv", lambda rows: rows[rows.columns[::-1]].to_csv(index=False).encode()),
    "json": ("application/json", lambda rows: json.dumps(_json_rows(rows)).encode()),
    "records": ("application/json", lambda rows: json.dumps(_records(rows)).encode()),
    "instances": ("application/json", lambda rows: json.dumps({"instances": _json_rows(rows)}).encode()),
    "jsonlines": ("application/jsonlines", lambda rows: "\n".join(map(json.dumps, _json_rows(rows))).encode()),
    "npy": ("application/x-npy", _npy),
    "npz": ("application/x-npz", _npz),
    "libsvm": ("text/libsvm", _libsvm),
}
ACCEPTS = ("application/json", "application/x-npy", "text/csv")
_SPARSE = ("npz", "libsvm")


def _takes(name: str, form: str) -> bool:
    """Names need columns, arrays need numbers; a scaler centres, and a zero is missing to XGBoost: no sparse rows."""
    case = cases()[name]
    numeric = not _named(case.rows)
    if form in ("csv with names", "records"):
        return not numeric
    if form in ("npy", *_SPARSE) and not numeric:
        return False
    return form not in _SPARSE or name in ("lightgbm_text", "sklearn_forest", "onnx_classifier")


COMBINATIONS = [
    pytest.param(name, form, id=f"{name}-{form}")
    for name in MAKERS
    for form in FORMS
    if _takes(name, form)
]  # fmt: skip


def _handler(folder: Path, name: str, method: str | None) -> Handler:
    case = cases()[name]
    folder.mkdir()
    case.save(folder)
    (folder / "medley.json").write_text(manifest_of(case, method))
    return Handler(name, folder, Options())


def _read(body: bytes, accept: str) -> Any:
    if accept == "application/x-npy":
        return np.load(io.BytesIO(body), allow_pickle=False)
    if accept == "application/json":
        return json.loads(body)
    return [[_number(cell) for cell in line.split(",")] for line in body.decode().splitlines()]


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def _same(found: Any, expected: Any, accept: str) -> bool:
    expected = np.asarray(expected)
    if accept == "application/x-npy":
        return bool(found.dtype == expected.dtype and found.tobytes() == expected.tobytes())
    shape = (len(expected), -1) if accept == "text/csv" else expected.shape
    return bool(np.array_equal(np.asarray(found), expected.reshape(shape)))


@pytest.mark.parametrize(("name", "form"), COMBINATIONS)
def test_the_answer_is_the_librarys_own(tmp_path: Path, name: str, form: str) -> None:
    case = cases()[name]
    content_type, write = FORMS[form]
    for number, (method, predict) in enumerate(case.answers.items()):
        handler = _handler(tmp_path / str(number), name, method)
        expected = predict(case.rows)
        for accept in ACCEPTS:
            if accept == "application/x-npy" and np.asarray(expected).dtype.kind == "O":
                continue
            response = handler.respond(Request("1", {"accept": accept}, content_type, write(case.rows)))
            assert (response.status, response.content_type) == (200, accept)
            assert _same(_read(response.body, accept), expected, accept), (
                method,
                accept,
                response.body[:300],
                expected,
            )
