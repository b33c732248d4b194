"""How good a packed model is on rows whose answers are known, asked as the container would ask it.

    python -m container evaluate ARTIFACT --data PLACE [--target COLUMN] [--output FILE] [--sample FILE]

The artifact is loaded in a model process (check.py), so that what is scored is what will be served: its own code and
codecs, these versions. It prints `evaluation:accuracy=0.97` lines, which SageMaker's metric definitions can match, and
writes JSON that a pipeline's condition can read: {"metrics": {"accuracy": {"value": 0.97}}, "rows": 150}; and a
request with its answer, which the model must give wherever it is deployed (smoke.py). The exit status is 1 where the
model cannot be loaded, or does not answer; --message then has the sentence, for SageMaker to show.
"""

import argparse
import base64
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from container.channels import Table, as_wide_as, batches, read
from container.check import Quiet, unpacked
from container.probe import Model
from container.reason import failed
from container.scores import of_answers, scores
from container.settings import Settings
from container.zygote import preload
from serving.errors import MedleyError, PredictionFailed

_ROWS = 1_000  # in one request
_SAMPLE_ROWS = 3


def main(settings: Settings, arguments: Sequence[str]) -> int:
    """The exit status. The environment is what model processes may have."""
    parser = argparse.ArgumentParser("container evaluate", description="Score a packed model.")
    parser.add_argument("artifact", type=Path, help="a .tar.gz, or the folder of an unpacked one")
    parser.add_argument("--data", type=Path, required=True, help="a folder with files of rows, as a channel has them")
    parser.add_argument("--content-type", default="", help="text/csv, text/libsvm, application/x-parquet")
    parser.add_argument(
        "--target", default="0", help="the column with the answers, by name or place (default: the first)"
    )
    parser.add_argument("--output", type=Path, help="where the JSON is written")
    parser.add_argument("--sample", type=Path, help="where a request of a few rows is written, and its answer, as JSON")
    parser.add_argument("--message", type=Path, help="where it is written why it was not evaluated, where it was not")
    words = parser.parse_args(arguments)
    try:
        preload(Quiet())
        table = read(words.data, words.content_type, words.target)
        with unpacked(words.artifact) as folder:
            found, sample = evaluate(folder, settings, table)
    except (MedleyError, OSError) as error:
        return failed(f"Not evaluated: {error}", words.message)
    for name, value in found["metrics"].items():
        print(f"evaluation:{name}={value['value']}")
    for place, told in ((words.output, found), (words.sample, sample)):
        if place:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(told) + "\n")
    return 0


def evaluate(folder: Path, settings: Settings, table: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics, and of how many rows; and a request with its answer. Raises the error of a load or of an answer."""
    model = Model(folder, settings)
    try:
        model.load()
        described = model.describe()
        rows = _as_trained(table, described["count"]).rows
        answers = _together([_ask(model, some) for some in batches(rows, _ROWS)])
        sample = _sample(model, next(batches(rows, _SAMPLE_ROWS)))
    finally:
        model.end()
    found = scores(table.answers, of_answers(table.answers, answers, *_known(described, answers)))
    if not found:
        raise PredictionFailed("The model's answers cannot be scored: they are of another kind than what is true.")
    return {"metrics": {name: {"value": value} for name, value in found.items()}, "rows": len(answers)}, sample


def _sample(model: Model, rows: Any) -> dict[str, str]:
    """A request as an endpoint takes it; bodies in base64, since some are no text."""
    body, content_type = _request(rows)
    answer = _answer(model, body, content_type)
    texts = {name: base64.b64encode(part).decode() for name, part in (("body", body), ("answer", answer))}
    return {"content_type": content_type, "accept": "application/json", **texts}


def _as_trained(table: Table, count: int | None) -> Table:
    """Sparse rows do not say how many columns they stand for. Those that no row of the training had are left out."""
    if count is not None and scipy.sparse.issparse(table.rows) and table.rows.shape[1] > count:
        print(f"Columns from {count} on are left out: the model was trained without them.", file=sys.stderr)
    return as_wide_as(table, count)


def _known(described: dict[str, Any], answers: np.ndarray) -> tuple[np.ndarray | None, bool | None]:
    """The model's classes, and whether it answers with classes: where it says so, and answers as its kind does."""
    if described["predict_method"] not in (None, "predict", "predict_proba") or described["functions"]:
        return _classes(described, answers), None
    return _classes(described, answers), described["classifies"]


def _classes(described: dict[str, Any], answers: np.ndarray) -> np.ndarray | None:
    if described["classes"] is not None:
        return np.array(described["classes"])
    if described["model"] == "Booster" and answers.ndim == 2 and answers.shape[1] > 1:
        return np.arange(answers.shape[1])  # XGBoost's and LightGBM's know no others
    return None


def _ask(model: Model, rows: Any) -> np.ndarray:
    """An answer for each row. Raises PredictionFailed."""
    body, content_type = _request(rows)
    found = answers_of(_answer(model, body, content_type))
    if len(found) != rows.shape[0]:
        raise PredictionFailed(f"The model gave {len(found)} answers to {rows.shape[0]} rows.")
    return found


def _answer(model: Model, body: bytes, content_type: str) -> bytes:
    answer, _ = model.ask(body, content_type, "application/json")
    if answer.status >= 400:
        raise PredictionFailed(f"The model does not answer: {bytes(answer.body).decode(errors='replace')[:500]}")
    return bytes(answer.body)


def answers_of(body: bytes) -> np.ndarray:
    """The answers in a body, as rows, or rows of columns. Raises PredictionFailed."""
    try:
        said = json.loads(body)
        found = np.asarray(said["predictions"] if isinstance(said, dict) and "predictions" in said else said)
    except (ValueError, RecursionError) as error:
        raise PredictionFailed(f"The model answers with what is no table in JSON: {_shown(body)}") from error
    if found.ndim not in (1, 2) or found.dtype.kind not in "biufU":
        raise PredictionFailed(f"The model answers with other things than numbers or classes: {_shown(body)}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise PredictionFailed(f"The model answers with a NaN, or an infinite number: {_shown(body)}")
    return found


def _shown(body: bytes) -> str:
    return body[:100].decode(errors="replace")


def _together(answers: list[np.ndarray]) -> np.ndarray:
    try:
        return np.concatenate(answers)
    except (ValueError, TypeError) as error:
        raise PredictionFailed("The model answers some rows with other columns than the rest.") from error


def _request(rows: Any) -> tuple[bytes, str]:
    file = io.BytesIO()
    if scipy.sparse.issparse(rows):
        scipy.sparse.save_npz(file, rows)
        return file.getvalue(), "application/x-npz"
    if isinstance(rows, pd.DataFrame):
        return str(rows.to_json(orient="records", date_format="iso")).encode(), "application/json"
    np.save(file, rows, allow_pickle=False)
    return file.getvalue(), "application/x-npy"
