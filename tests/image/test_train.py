"""`docker run IMAGE train`, and what it has trained served by the same image."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.container import until

from .rig import once, readable_folder, running, started


def _lay_out(root: Path, hyperparameters: Mapping[str, str], rows: int = 200) -> None:
    generator = np.random.default_rng(0)
    table = generator.random((rows, 4))
    table[:, 0] = table[:, 1:].sum(axis=1) > 1.5
    for channel, part in (("train", table[: rows // 2]), ("validation", table[rows // 2 :])):
        folder = root / "input" / "data" / channel
        folder.mkdir(parents=True)
        np.savetxt(folder / "rows.csv", part, delimiter=",", header="answer,a,b,c", comments="", fmt="%.6g")
    config = root / "input" / "config"
    config.mkdir()
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {"ContentType": "text/csv"}, "validation": {}}))


@pytest.mark.parametrize("estimator", ["xgboost XGBClassifier", "sklearn RandomForestClassifier"])
def test_what_was_trained_is_served(estimator: str) -> None:
    framework, name = estimator.split()
    with readable_folder() as root:
        _lay_out(root, {"framework": framework, "estimator": name, "n_estimators": "20"})
        status, said, errors = once("train", volumes={root: "/opt/ml"})
        assert status == 0, said + errors
        assert "validation:accuracy=" in said
        assert not (root / "output" / "failure").exists()
        with running("serve", volumes={root / "model": "/opt/ml/model:ro"}) as box:
            body = json.dumps([{"a": 0.9, "b": 0.9, "c": 0.9}]).encode()
            answer = box.call("POST", "/invocations", body, {"Content-Type": "application/json"})
            assert answer.status == 200, answer
            assert answer.json == [1.0]
        scored = once("evaluate", "/opt/ml/model", "--data", "/opt/ml/input/data/validation", volumes={root: "/opt/ml"})
        assert scored[0] == 0, scored
        assert "evaluation:accuracy=" in scored[1]


def test_failed_training_says_why_and_ends_with_1() -> None:
    with readable_folder() as root:
        _lay_out(root, {"framework": "xgboost", "estimator": "XGBClassifier", "target": "nothing"})
        status, _, _ = once("train", volumes={root: "/opt/ml"})
        assert status == 1
        assert "no column 'nothing' to predict" in (root / "output" / "failure").read_text()


def test_sigterm_ends_a_training_at_once() -> None:
    with readable_folder() as root:
        _lay_out(root, {"framework": "xgboost", "estimator": "XGBClassifier", "n_estimators": "100000000"})
        with started("train", volumes={root: "/opt/ml"}) as box:
            until(lambda: any("Training XGBClassifier" in line for line in box.log()), "the training")
            assert box.stop(10) == 143
        assert not [*(root / "model").glob("*")]


def test_training_that_takes_all_memory_says_so() -> None:
    with readable_folder() as root:
        wide = {"framework": "sklearn", "estimator": "MLPRegressor", "hidden_layer_sizes": "[30000, 30000]"}
        _lay_out(root, wide)
        status, said, errors = once("train", options=("--memory=250m", "--memory-swap=250m"), volumes={root: "/opt/ml"})
        assert status == 1, said + errors
        assert "not enough memory" in (root / "output" / "failure").read_text()
