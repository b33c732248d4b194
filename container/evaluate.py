"""How good a packed model is on rows whose answers are known, asked as the container would ask it.

    python -m container evaluate ARTIFACT --data PLACE [--target COLUMN] [--output FILE]

The artifact is loaded in a model process (check.py), so that what is scored is what will be served: its own code and
codecs, these versions. It prints `evaluation:accuracy=0.97` lines, which SageMaker's metric definitions can match, and
writes JSON that a pipeline's condition can read: {"metrics": {"accuracy": {"value": 0.97}}, "rows": 150}. The exit
status is 1 where the model cannot be loaded, or does not answer.
"""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from container.channels import Table, batches, read
from container.check import Model, Quiet, unpacked
from container.scores import from_probabilities, scores
from container.settings import Settings
from container.zygote import preload
from serving.errors import MedleyError, PredictionFailed

_ROWS = 1_000  # in one request


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
    words = parser.parse_args(arguments)
    try:
        preload(Quiet())
        table = read(words.data, words.content_type, words.target)
        with unpacked(words.artifact) as folder:
            found = evaluate(folder, settings, table)
    except (MedleyError, OSError) as error:
        print(f"Not evaluated: {error}", file=sys.stderr)
        return 1
    for name, value in found["metrics"].items():
        print(f"evaluation:{name}={value['value']}")
    if words.output:
        words.output.parent.mkdir(parents=True, exist_ok=True)
        words.output.write_text(json.dumps(found) + "\n")
    return 0


def evaluate(folder: Path, settings: Settings, table: Table) -> dict[str, Any]:
    """The metrics, and of how many rows. Raises the error of a load or of an answer."""
    model = Model(folder, settings)
    try:
        model.load()
        answers = np.concatenate([np.asarray(_ask(model, rows)) for rows in batches(table.rows, _ROWS)])
    finally:
        model.end()
    if len(answers) != len(table.answers):
        raise PredictionFailed(f"The model gave {len(answers)} answers to {len(table.answers)} rows.")
    predicted, probabilities = from_probabilities(table.answers, answers)
    found = scores(table.answers, predicted.reshape(len(predicted), -1)[:, 0], probabilities)
    return {"metrics": {name: {"value": value} for name, value in found.items()}, "rows": len(answers)}


def _ask(model: Model, rows: Any) -> Any:
    body, content_type = _request(rows)
    answer, _ = model.ask(body, content_type, "application/json")
    if answer.status >= 400:
        raise PredictionFailed(f"The model does not answer: {answer.body.decode(errors='replace')[:500]}")
    found = json.loads(answer.body)
    return found["predictions"] if isinstance(found, dict) and "predictions" in found else found


def _request(rows: Any) -> tuple[bytes, str]:
    file = io.BytesIO()
    if scipy.sparse.issparse(rows):
        scipy.sparse.save_npz(file, rows)
        return file.getvalue(), "application/x-npz"
    if isinstance(rows, pd.DataFrame):
        return str(rows.to_json(orient="records", date_format="iso")).encode(), "application/json"
    np.save(file, rows, allow_pickle=False)
    return file.getvalue(), "application/x-npy"
