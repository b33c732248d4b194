"""A packed model scored by the real processes, and by what it answers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from container.evaluate import answers_of
from serving.errors import PredictionFailed

Evaluate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    def run(name: str, text: str, model: Any = None, code: str = "", **said: str) -> subprocess.CompletedProcess[str]:
        """name, text: the file of rows. model, code, said: what the artifact holds."""
        artifact, data = tmp_path / "model", tmp_path / "test"
        for folder in (artifact, data):
            folder.mkdir()
        if model is not None:
            joblib.dump(model, artifact / "model.joblib")
        if code:
            (artifact / "code").mkdir()
            (artifact / "code" / "inference.py").write_text(code)
        if said:
            (artifact / "medley.json").write_text(json.dumps(said))
        (data / name).write_text(text)
        command = [sys.executable, "-m", "container", "evaluate", artifact, "--data", data]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_as_many_rows_as_there_are(evaluate: Evaluate) -> None:
    """A thousand in a request, and the board of a model process has 64 slots for connections."""
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    done = evaluate("rows.csv", "1,0.5\n" * 65_001, model)
    assert done.returncode == 0, done.stderr
    assert "evaluation:rmse=0.0" in done.stdout


@pytest.mark.parametrize("line", ["2 0:1", "2 0:1 1:0 3:0 4:9"])
def test_sparse_rows_are_as_wide_as_the_model(evaluate: Evaluate, line: str) -> None:
    model = LinearRegression().fit(np.eye(3), [2.0, 1.0, 0.0])
    done = evaluate("rows.libsvm", f"{line}\n1 1:1\n", model)
    assert done.returncode == 0, done.stderr
    assert "evaluation:rmse=0.0" in done.stdout
    assert ("left out" in done.stderr) == ("4:9" in line)


def test_rows_that_lack_a_class_of_the_model_are_scored_as_classes(evaluate: Evaluate) -> None:
    rows = np.arange(12.0).reshape(12, 1)
    model = LogisticRegression(C=100).fit(rows, np.repeat(["a", "b", "c"], 4))
    done = evaluate("rows.csv", "b,5\nc,11\nc,10\n", model, predict_method="predict_proba")
    assert done.returncode == 0, done.stderr
    assert "evaluation:accuracy=1.0" in done.stdout
    assert "evaluation:log_loss=" in done.stdout


def test_answers_that_are_none_are_a_sentence(evaluate: Evaluate) -> None:
    code = (
        "def model_fn(model_dir):\n    return 0\n\n"
        "def transform_fn(model, data, content_type, accept):\n    return '[NaN, null]', 'application/json'\n"
    )
    done = evaluate("rows.csv", "1,2\n3,4\n", code=code)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Not evaluated: The model answers with other things than numbers or classes: [NaN, null]"
    )
    assert "Traceback" not in done.stderr


def test_model_that_does_not_answer_its_sample_is_not_evaluated(evaluate: Evaluate) -> None:
    code = (
        "import json\n\n\ndef model_fn(model_dir):\n    return 0\n\n"
        "def input_fn(body, content_type):\n    return body\n\n"
        "def predict_fn(body, model):\n    from io import BytesIO\n    import numpy\n"
        "    rows = numpy.load(BytesIO(body))\n    assert len(rows) > 3, 'too few'\n    return rows[:, 0].tolist()\n\n"
        "def output_fn(answers, accept):\n    return json.dumps(answers), accept\n"
    )
    done = evaluate("rows.csv", "1,2\n" * 5, code=code)
    assert done.returncode == 1
    assert done.stderr.startswith("Not evaluated: The model does not answer: ")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"no json", "no table in JSON: no json"),
        (b"\xff", "no table in JSON"),
        (b"[[1, 2], [3]]", "no table in JSON"),
        (b"[" * 100_000, "no table in JSON"),
        (b"[1, null]", "other things than numbers or classes"),
        (b'[{"a": 1}]', "other things than numbers or classes"),
        (b"7", "other things than numbers or classes"),
        (b"[1, NaN]", "a NaN, or an infinite number"),
        (b"[1, Infinity]", "a NaN, or an infinite number"),
    ],
)
def test_what_is_no_answer_is_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(PredictionFailed, match=sentence):
        answers_of(body)


def test_answers_are_rows_or_rows_of_columns() -> None:
    assert answers_of(b'{"predictions": [1, 0]}').tolist() == [1, 0]
    assert answers_of(b'[["a"], ["b"]]').shape == (2, 1)
