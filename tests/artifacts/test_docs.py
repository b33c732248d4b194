"""docs/frameworks.md: each way to save a model is run as it stands there, and what it wrote is served."""

import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serving import artifact
from serving.frames import Request
from serving.handler import Handler, Options
from tests.artifacts.test_torchscript import needs_torch

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
CODE = {
    name: found[1] for name, text in SECTIONS.items() if (found := re.search(r"```python\n(.*?)```", text, re.DOTALL))
}
ROWS, LABELS = load_wine(return_X_y=True)


def models() -> dict[str, Any]:
    import catboost
    import lightgbm
    import xgboost

    silent = {"iterations": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    quiet = {"verbose": -1, "num_threads": 1}
    return {
        "rows": ROWS,
        "sklearn_model": make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS),
        "booster": xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, LABELS), 3),
        "lightgbm_booster": lightgbm.train(quiet, lightgbm.Dataset(ROWS, LABELS), 3),
        "catboost_model": catboost.CatBoostClassifier(**silent).fit(ROWS, LABELS),
    }


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return models()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    before = os.getcwd()
    os.chdir(tmp_path)
    (tmp_path / "churn").mkdir()
    yield tmp_path
    os.chdir(before)


def test_every_section_with_code_is_tested() -> None:
    assert list(CODE) == ["XGBoost", "scikit-learn", "skops", "LightGBM", "CatBoost", "ONNX", "TorchScript"]


@pytest.mark.parametrize("section", [name for name in CODE if name != "TorchScript"])
def test_what_a_section_saves_is_served(here: Path, trained: dict[str, Any], section: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of converters, and of a file that is left open
        exec(CODE[section], dict(trained))
    answer = Handler("churn", here / "churn", Options()).respond(
        Request("1", {}, "application/json", json.dumps(ROWS[:3].tolist()).encode())
    )
    assert len(json.loads(answer.body)) == 3


@needs_torch
def test_what_the_torchscript_section_saves_is_served(here: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(CODE["TorchScript"], {"torch_module": torch.nn.Linear(13, 2)})
    handler = Handler("churn", here / "churn", Options())
    assert np.shape(json.loads(handler.respond(Request("1", {}, "text/csv", _csv())).body)) == (2, 2)


def _csv() -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in ROWS[:2].tolist()).encode()


def test_the_page_packs_from_python_and_from_the_command_line(here: Path, trained: dict[str, Any]) -> None:
    import shlex
    import subprocess
    import sys

    before = PAGE.partition("## XGBoost")[0]
    (python,) = re.findall(r"```python\n(.*?)```", before, re.DOTALL)
    exec(python, dict(trained))
    artifact.unpack(here / "churn.tar.gz", here / "out")
    assert json.loads((here / "out" / "medley.json").read_text())["framework"] == "sklearn"
    exec(CODE["scikit-learn"], dict(trained))
    (here / "row.csv").write_bytes(_csv())
    for command in re.findall(r"```sh\n(.*?)```", before, re.DOTALL):
        words = shlex.split(command)
        words[0] = str(Path(sys.executable).with_name("medley"))
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "churn.tar.gz" in done.stdout
